//! The state machine, model-checked: two executors that die, are paused and take over from each other, statements that
//! arrive late, people who approve, revoke and change the plan, a deadline. The journal is the real one: every move goes
//! through `decide`, `evolve` and `due`. Each guard is taken away once, and what it guards is seen to break.

mod world;

use std::sync::Arc;
use std::time::Duration;

use crate::support::{phase, plan};
use journal::*;
use stateright::{Checker, Model, Property};
use world::{Guard, Left, Log, Message, World, gate_of, index, plan_text};

const PEOPLE: [&str; 3] = ["ana", "ben", "cy"];

/// More states than this are not looked at; each takes a few kilobytes.
const MOST_STATES: usize = 400_000;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Move {
    /// An executor takes the lease.
    Take(usize),
    /// An executor does what is due, up to the next thing that somebody else could meddle with.
    Go(usize),
    /// An executor's look at the gate says that the opening is not there; the statement is still under way.
    Absent(usize),
    /// An executor tries what is not due: to begin, to open, to undo.
    Hasty(usize),
    Deliver(Message),
    Ask,
    Approve(usize),
    Revoke(usize),
    Adopt,
    Deadline,
}

struct Migration {
    guard: Guard,
    left: Left,
    /// Whether the people's words are moves of their own; else a request comes with two approvals.
    votes: bool,
}

fn by(number: usize) -> Actor {
    crate::support::person(PEOPLE[number])
}

fn executor(number: usize) -> Actor {
    Actor::Executor(Holder::new(format!("host/{number}")).unwrap())
}

impl Migration {
    /// Whether an executor's appends are taken: the store checks its lease.
    fn has_lease(&self, world: &World, number: usize) -> bool {
        let epoch = world.epochs[number];
        epoch > 0 && (epoch == world.newest_epoch() || self.guard == Guard::Claim)
    }

    fn append(&self, world: &World, number: usize, body: CommandBody) -> Option<World> {
        world.append(self.guard, executor(number), body, Some(world.epochs[number]))
    }

    /// What is due, as an executor sees it.
    fn due(&self, world: &World) -> Due {
        let due = due(&world.log.state, &phase(), world.log.now);
        match (&due, world.run()) {
            (Due::BeginUndo(UndoCause::StepFailed { finding, .. }), Some(run))
                if self.guard.overlooks_lapses() && finding.code == "SW-0521" =>
            {
                let open = run.effects.iter().find(|record| record.status == EffectStatus::Intended);
                open.map_or(Due::Plan(run.step), |open| Due::Effect(open.id))
            }
            _ => due,
        }
    }

    /// Does what is due until a gate is concerned, a person is needed, or an operation begins, is undone or ends.
    fn go(&self, world: &World, number: usize) -> Option<World> {
        let mut now = world.clone();
        let mut moved = false;
        for _ in 0..80 {
            let phase = phase();
            let next = match self.due(&now) {
                Due::Idle | Due::Blocked(_) | Due::Paused | Due::AwaitWitness => break,
                Due::VoidStale => return self.append(&now, number, CommandBody::VoidStale { phase }),
                Due::Begin(request) => {
                    return self.append(&now, number, CommandBody::Begin { phase, request });
                }
                Due::BeginUndo(cause) => {
                    return self.append(
                        &now,
                        number,
                        CommandBody::BeginUndo { phase, cause, answered: Evidence::new() },
                    );
                }
                Due::CallPerson(finding) => {
                    let step = now.run()?.step;
                    return self.append(&now, number, CommandBody::Block { phase, step, finding });
                }
                Due::Effect(id) => {
                    let record = now.run()?.effect(id)?.clone();
                    if gate_of(&record.effect).is_some() {
                        return self.attend(&now, number, &record).or_else(|| moved.then_some(now));
                    }
                    self.conclude(&now, number, id)?
                }
                Due::Plan(step) => {
                    let run = now.run()?;
                    let is_done = |effect: &Effect| {
                        let same = |record: &&EffectRecord| record.effect == *effect && record.step == step;
                        let record = run.effects.iter().find(same);
                        record.is_some_and(|record| matches!(record.status, EffectStatus::Succeeded(_)))
                    };
                    match plan(run.operation, step).into_iter().find(|effect| !is_done(effect)) {
                        Some(effect) if gate_of(&effect).is_some() => {
                            return self.intend(&now, number, step, effect).or_else(|| moved.then_some(now));
                        }
                        Some(effect) => {
                            let undo = plan(run.operation, Step::Undo);
                            let intended =
                                self.append(&now, number, CommandBody::Intend { phase, step, effect, undo });
                            match intended {
                                Some(next) => next,
                                None => break,
                            }
                        }
                        None => match self.append(&now, number, CommandBody::FinishStep { phase, step }) {
                            Some(next) if next.run().is_none() => return Some(next),
                            Some(next) => next,
                            None => break,
                        },
                    }
                }
            };
            now = next;
            moved = true;
        }
        moved.then_some(now)
    }

    fn conclude(&self, world: &World, number: usize, effect: EffectId) -> Option<World> {
        let outcome = EffectOutcome::Succeeded { adopted: false, evidence: Evidence::new() };
        self.append(world, number, CommandBody::Conclude { phase: phase(), effect, outcome })
    }

    fn intend(&self, world: &World, number: usize, step: Step, effect: Effect) -> Option<World> {
        let (side, open) = gate_of(&effect)?;
        if self.guard == Guard::IntentFirst {
            let mut world = world.clone();
            let position = world.log.state.head.next().get();
            send(&mut world, number, side, open, position);
            return Some(world);
        }
        let body = CommandBody::Intend { phase: phase(), step, effect, undo: vec![] };
        let mut next = self.append(world, number, body)?;
        let position = next.log.state.head.get();
        send(&mut next, number, side, open, position);
        Some(next)
    }

    /// Looks at the gate under its row's lock: ours is adopted; what is not there is sent, if it is not under way.
    fn attend(&self, world: &World, number: usize, record: &EffectRecord) -> Option<World> {
        let (side, open) = gate_of(&record.effect)?;
        let position = record.intent.get();
        if world.gates[index(side)].position == position {
            return self.conclude(world, number, record.id);
        }
        let epoch = world.epochs[number];
        let is_sent = world.network.contains(&Message { side, open, epoch, position });
        if is_sent {
            return None;
        }
        let mut world = world.clone();
        send(&mut world, number, side, open, position);
        Some(world)
    }

    /// The opening that is open in the journal, and its message.
    fn absent(&self, world: &World, number: usize) -> Option<World> {
        let Due::Effect(id) = self.due(world) else { return None };
        let run = world.run()?;
        let record = run.effect(id).filter(|record| record.step != Step::Undo)?;
        let (side, open) = gate_of(&record.effect)?;
        let position = record.intent.get();
        let is_under_way = world.network.iter().any(|message| message.position == position);
        if !open || !is_under_way || world.gates[index(side)].position == position {
            return None;
        }
        let finding =
            Finding { code: "SW-0000".to_owned(), what: "absent".to_owned(), remedy: "none".to_owned() };
        let outcome = EffectOutcome::Failed { finding };
        let mut next =
            self.append(world, number, CommandBody::Conclude { phase: phase(), effect: id, outcome })?;
        next.left.absents = next.left.absents.checked_sub(1)?;
        Some(next)
    }

    /// What an executor with a mistake, or with an old look at the journal, would try.
    fn hasty(&self, world: &World, number: usize) -> Option<World> {
        let Some(run) = world.run() else {
            let unfinished = |request: &&Request| {
                request.status == RequestStatus::Open
                    || self.guard == Guard::UsedOnce
                    || self.guard == Guard::Binding
            };
            let request = world.log.state.requests.values().filter(unfinished).find_map(|request| {
                let body = CommandBody::Begin { phase: phase(), request: request.position };
                let is_switch = request.operation.opens().is_some();
                is_switch.then(|| self.append(world, number, body)).flatten()
            });
            return request;
        };
        if run.undo.is_none() && run.opening.is_some() {
            let body = CommandBody::BeginUndo {
                phase: phase(),
                cause: UndoCause::Deadline,
                answered: Evidence::new(),
            };
            return self.append(world, number, body);
        }
        let to = run.operation.opens()?;
        let side = if run.undo.is_some() { to.other() } else { to };
        if run.undo.is_none() && run.stopped.is_none() {
            return None;
        }
        self.intend(world, number, run.step, Effect::OpenGate { side })
    }

    fn people(&self, world: &World, of: &Move) -> Option<World> {
        let mut left = world.left.clone();
        let (actor, body) = match of {
            Move::Ask => {
                left.asks = left.asks.checked_sub(1)?;
                let operation = match world.phase().status {
                    PhaseStatus::Replicating => Operation::Cutover,
                    _ => Operation::Failback,
                };
                let options = RequestOptions::default();
                (by(0), CommandBody::Request { phase: phase(), operation, options })
            }
            Move::Approve(number) => {
                let request = open_request(world).filter(|request| {
                    request.words.values().filter(|word| word.word == ApprovalWord::Approved).count() < 2
                })?;
                (by(*number), CommandBody::Approve { request: request.position, reason: None })
            }
            Move::Revoke(number) => {
                left.revokes = left.revokes.checked_sub(1)?;
                let run = world.run().map(|run| run.request);
                let request = run.or_else(|| open_request(world).map(|request| request.position))?;
                (by(*number), CommandBody::Revoke { request })
            }
            Move::Adopt => {
                left.plans = left.plans.checked_sub(1)?;
                (by(0), CommandBody::AdoptPlan { text: plan_text(60 + left.plans + 1), authors: Vec::new() })
            }
            _ => return None,
        };
        let mut next = world.append(self.guard, actor, body, None)?;
        next.left = left;
        if *of == Move::Ask && !self.votes {
            for number in 0..2 {
                let request = open_request(&next)?.position;
                next = next.append(
                    self.guard,
                    by(number),
                    CommandBody::Approve { request, reason: None },
                    None,
                )?;
            }
        }
        Some(next)
    }
}

fn open_request(world: &World) -> Option<&Request> {
    world.log.state.requests.values().find(|request| request.status == RequestStatus::Open)
}

/// An executor sends a statement. Before one that opens it raises the epoch at both sides.
fn send(world: &mut World, number: usize, side: Side, open: bool, position: u64) {
    let epoch = world.epochs[number];
    if open {
        world.gates.iter_mut().for_each(|gate| gate.raise(epoch));
    }
    world.network.insert(Message { side, open, epoch, position });
}

impl Model for Migration {
    type State = World;
    type Action = Move;

    fn init_states(&self) -> Vec<World> {
        vec![World::replicating(self.left.clone())]
    }

    fn actions(&self, world: &World, moves: &mut Vec<Move>) {
        // A state in which an invariant is broken is an end.
        if !world.log.broken.is_empty() {
            return;
        }
        for number in 0..2 {
            // Whoever takes the lease again has died in between: all it knew is in the journal.
            let is_next = world.newest_epoch() % 2 == u64::try_from(number).unwrap();
            if world.left.takes > 0 && is_next {
                moves.push(Move::Take(number));
            }
            if self.has_lease(world, number) {
                moves.extend([Move::Go(number), Move::Absent(number), Move::Hasty(number)]);
            }
        }
        moves.extend(world.network.iter().cloned().map(Move::Deliver));
        if world.run().is_none() && open_request(world).is_none() && world.left.asks > 0 {
            moves.push(Move::Ask);
        }
        let is_asked = self.votes && open_request(world).is_some();
        moves.extend((0..PEOPLE.len()).filter(|_| is_asked).map(Move::Approve));
        if world.left.revokes > 0 {
            moves.extend((0..2).map(Move::Revoke));
        }
        if world.left.plans > 0 {
            moves.push(Move::Adopt);
        }
        if world.left.deadlines > 0 && world.run().is_some_and(|run| run.stopped.is_some()) {
            moves.push(Move::Deadline);
        }
    }

    fn next_state(&self, world: &World, action: Move) -> Option<World> {
        let next = match action {
            Move::Take(number) => {
                let epoch = Epoch::new(world.newest_epoch() + 1);
                let holder = Holder::new(format!("host/{number}")).unwrap();
                let body = CommandBody::TakeLease { phase: phase(), epoch, holder };
                let mut next = world.append(Guard::None, executor(number), body, None)?;
                next.epochs[number] = epoch.get();
                next.left.takes -= 1;
                Some(next)
            }
            Move::Go(number) => self.go(world, number),
            Move::Absent(number) => self.absent(world, number),
            Move::Hasty(number) => self.hasty(world, number),
            Move::Deliver(message) => Some(world.deliver(self.guard, &message)),
            Move::Deadline => {
                let mut next = world.clone();
                let log = Log { now: world.log.now.plus(Duration::from_secs(61)), ..Log::clone(&world.log) };
                next.log = Arc::new(log);
                next.left.deadlines -= 1;
                Some(next)
            }
            people => self.people(world, &people),
        }?;
        Some(next.forget_refused(self.guard))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        fn kept(world: &World, name: &str) -> bool {
            !world.log.broken.contains(name)
        }
        vec![
            Property::always(ONE_WRITER, |_, world: &World| !(world.gates[0].open && world.gates[1].open)),
            Property::always(PROVEN, |_, world| kept(world, PROVEN)),
            Property::always(APPROVED, |_, world| kept(world, APPROVED)),
            Property::always(INTENDED, |_, world| kept(world, INTENDED)),
            Property::always(HIGHEST, |_, world| kept(world, HIGHEST)),
            Property::always(LEASED, |_, world| kept(world, LEASED)),
            Property::always(NO_RETURN, |_, world| kept(world, NO_RETURN)),
            Property::sometimes("cut over", |_, world| rests(world, PhaseStatus::OnTarget, 2)),
            Property::sometimes("failed back", |_, world| rests(world, PhaseStatus::Replicating, 3)),
            Property::sometimes("cut over again", |_, world| rests(world, PhaseStatus::OnTarget, 4)),
            Property::sometimes("undone at the deadline", |_, world| {
                undone(world, |cause| matches!(cause, UndoCause::Deadline))
            }),
            Property::sometimes("undone by a revocation", |_, world| {
                undone(world, |cause| matches!(cause, UndoCause::ApprovalLost { .. }))
            }),
            Property::sometimes("an opening that failed is undone", |_, world| {
                undone(world, |_| true) && world.run().is_some_and(|run| run.opening_failed)
            }),
        ]
    }
}

const ONE_WRITER: &str = "never both sides open";
const PROVEN: &str = "a side opens when the other is fenced, drained and verified";
const APPROVED: &str = "a side opens by two persons' approvals of this plan, used once";
const INTENDED: &str = "no effect without its intent";
const HIGHEST: &str = "what a gate took carries the highest epoch it has seen";
const LEASED: &str = "an old lease appends nothing";
const NO_RETURN: &str = "nothing is undone from the opening on";

fn rests(world: &World, status: PhaseStatus, completed: usize) -> bool {
    world.run().is_none() && world.phase().status == status && world.completed() == completed
}

/// Whether an undo has brought the source back, by the gates themselves.
fn undone(world: &World, cause: fn(&UndoCause) -> bool) -> bool {
    let undoing = world.run().and_then(|run| run.undo.as_ref()).is_some_and(|undo| cause(&undo.cause));
    undoing && world.gates[0].open && !world.gates[1].open && world.gates[0].position > 0
}

/// Executors that take over from each other, openings that fail, a deadline: cutover, failback, cutover.
const NIGHT: Left = Left { takes: 3, absents: 2, deadlines: 1, revokes: 0, plans: 0, asks: 3 };

/// People who say yes, take it back, and change the plan.
const DAY: Left = Left { takes: 1, absents: 0, deadlines: 1, revokes: 1, plans: 1, asks: 2 };

/// A world in which one guard is away, which may be smaller.
const SMALL: Left = Left { takes: 2, absents: 1, deadlines: 0, revokes: 0, plans: 0, asks: 1 };

fn check(guard: Guard, votes: bool, left: Left) -> impl Checker<Migration> {
    let checker = Migration { guard, left, votes }
        .checker()
        .threads(2)
        .target_state_count(MOST_STATES)
        .spawn_bfs()
        .join();
    let states = checker.unique_state_count();
    assert!(checker.is_done() && states < MOST_STATES, "the model was not looked at to its end");
    checker
}

fn holds(checker: &impl Checker<Migration>) {
    for invariant in [ONE_WRITER, PROVEN, APPROVED, INTENDED, HIGHEST, LEASED, NO_RETURN] {
        checker.assert_no_discovery(invariant);
    }
}

#[test]
fn the_invariants_hold_whatever_executors_and_networks_do_and_the_good_ends_are_reached() {
    let checker = check(Guard::None, false, NIGHT);
    holds(&checker);
    for end in [
        "cut over",
        "failed back",
        "cut over again",
        "undone at the deadline",
        "an opening that failed is undone",
    ] {
        checker.assert_any_discovery(end);
    }
}

#[test]
fn the_invariants_hold_whatever_people_say_and_the_good_ends_are_reached() {
    let checker = check(Guard::None, true, DAY);
    holds(&checker);
    for end in ["cut over", "failed back", "undone by a revocation"] {
        checker.assert_any_discovery(end);
    }
}

/// Without the guard, the model must find what it keeps from happening: else it would not see it with the guard either.
fn breaks(guard: Guard, votes: bool, left: Left, invariant: &'static str) {
    check(guard, votes, left).assert_any_discovery(invariant);
}

#[test]
fn without_the_gates_positions_both_sides_open() {
    breaks(Guard::ReceiverPosition, false, SMALL, ONE_WRITER);
}

#[test]
fn without_the_gates_epochs_an_old_executor_is_obeyed() {
    breaks(Guard::ReceiverEpoch, false, SMALL, HIGHEST);
}

#[test]
fn without_the_claim_an_old_lease_appends() {
    breaks(Guard::Claim, false, SMALL, LEASED);
}

#[test]
fn without_the_intent_first_an_effect_has_none() {
    breaks(Guard::IntentFirst, false, SMALL, INTENDED);
}

#[test]
fn without_the_quorum_a_side_opens_without_it() {
    breaks(Guard::Quorum, true, SMALL, APPROVED);
}

#[test]
fn without_the_binding_a_side_opens_under_another_plan() {
    breaks(Guard::Binding, false, Left { plans: 1, ..SMALL }, APPROVED);
}

#[test]
fn without_the_use_approvals_open_twice() {
    breaks(Guard::UsedOnce, false, Left { asks: 2, takes: 1, ..SMALL }, APPROVED);
}

#[test]
fn without_the_proofs_a_side_opens_too_early() {
    breaks(Guard::Proofs, false, SMALL, PROVEN);
}

#[test]
fn without_closing_first_a_late_opening_makes_two_writers() {
    breaks(Guard::CloseFirst, false, SMALL, ONE_WRITER);
}

#[test]
fn without_the_point_of_no_return_an_opened_side_is_undone() {
    breaks(Guard::NoReturn, false, SMALL, NO_RETURN);
}
