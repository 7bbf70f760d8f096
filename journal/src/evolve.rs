//! Replaying events.
use crate::{event::Recorded, state::State};

/// Replays one event. Total and deterministic.
pub fn evolve(state: &mut State, event: &Recorded) {
    state.head = event.envelope.position;
}

/// Replays a journal from its beginning.
pub fn replay<'e>(events: impl IntoIterator<Item = &'e Recorded>) -> State {
    let mut state = State::default();
    for event in events {
        evolve(&mut state, event);
    }
    state
}
