//! One effect through probe, act, probe.
//!
//! The race: whatever is sent to a receiver may arrive, or not, or later. So the intent is in the journal before any of
//! this runs; a probe comes before the act, also on the first attempt, since nobody can know that it is the first; and a
//! probe comes after it, since an answer that was lost says nothing. A turn changes nothing in the journal: it may be
//! dropped at any await, by a lost lease, a deadline, a person's abort, and what it was doing is then unknown, which the
//! next turn finds out as it finds out everything, by a probe. Recovery is this very function.
//!
//! Unreachable is never absent; a timeout is never failed; an act that says it is done, and whose probe does not see it,
//! is unknown.

use journal::{EffectClass, EffectSpec, Evidence, Finding, Step};

use crate::seams::{Acted, Authority, Cause, EffectError, Probe, Receiver};

/// What one turn came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It is there, and ours.
    Succeeded {
        /// Whether it was there before this turn acted.
        adopted: bool,
        /// What was seen.
        evidence: Evidence,
    },
    /// It is definitely not there, and will not be by itself.
    Failed(Finding),
    /// Nobody knows: only a probe leaves this.
    Unknown(EffectError),
    /// The receiver cannot be probed: wait.
    Unreachable(Cause),
    /// A pure observation does not hold yet: look at the journal, then again.
    Waiting,
}

/// Takes an intended effect one turn further. Cancellation safe: what is dropped is unknown.
pub(crate) async fn turn<R: Receiver + ?Sized>(receiver: &R, spec: &EffectSpec, under: Authority) -> Turn {
    let observes = spec.effect.class() == EffectClass::Observation;
    match receiver.probe(spec, under).await {
        // What was only observed was not there "before": there is nothing of ours to adopt.
        Probe::Ours(evidence) => return Turn::Succeeded { adopted: !observes, evidence },
        Probe::Absent => {}
        other => return stopped(spec, other),
    }
    let said = match receiver.act(spec, under).await {
        Acted::Done(evidence) => evidence,
        Acted::Definite(error) => return Turn::Failed(refused(spec, &error)),
        Acted::Unknown(error) => return Turn::Unknown(error),
    };
    match receiver.probe(spec, under).await {
        Probe::Ours(seen) => {
            // The probe has the last word; what only the act could measure, as durations, is kept beside it.
            let mut evidence = said;
            evidence.extend(seen);
            Turn::Succeeded { adopted: false, evidence }
        }
        Probe::Absent if observes => Turn::Waiting,
        Probe::Absent => Turn::Unknown(EffectError(format!(
            "{} was said to be done, and a probe does not see it",
            spec.effect.label()
        ))),
        other => stopped(spec, other),
    }
}

/// Asks whether an opening is there, once the downtime is over: nothing is done any more. What is proven absent has
/// failed, and may be undone; what cannot be probed may still come, and is waited for.
pub(crate) async fn settle<R: Receiver + ?Sized>(receiver: &R, spec: &EffectSpec, under: Authority) -> Turn {
    match receiver.probe(spec, under).await {
        Probe::Ours(evidence) => Turn::Succeeded { adopted: true, evidence },
        Probe::Absent => Turn::Failed(Finding {
            code: "SW-0505".to_owned(),
            what: format!(
                "{} of phase {} was not there when the downtime was over",
                spec.effect.label(),
                spec.phase
            ),
            remedy: "The attempt is undone. Look for what held it up, then ask again.".to_owned(),
        }),
        other => stopped(spec, other),
    }
}

fn stopped(spec: &EffectSpec, probe: Probe) -> Turn {
    match probe {
        Probe::Differs(finding) => Turn::Failed(finding),
        Probe::Foreign(owner) => Turn::Failed(Finding {
            code: "SW-0295".to_owned(),
            what: format!(
                "{} of phase {} meets what is not Switchyard's: it belongs to {}",
                spec.effect.label(),
                spec.phase,
                owner.0
            ),
            remedy: format!("Rename or remove it with its owner, then say `retry`{}.", or_abort(spec)),
        }),
        Probe::Unreachable(cause) => Turn::Unreachable(cause),
        Probe::Ours(_) | Probe::Absent => Turn::Waiting,
    }
}

fn refused(spec: &EffectSpec, error: &EffectError) -> Finding {
    Finding {
        code: "SW-0294".to_owned(),
        what: format!("{} of phase {} was refused: {}", spec.effect.label(), spec.phase, error.0),
        remedy: format!("Remove the cause, then say `retry`{}.", or_abort(spec)),
    }
}

/// The other way out of a blocked step: there is none where its operation drops things for good.
const fn or_abort(spec: &EffectSpec) -> &'static str {
    match spec.step {
        Step::StopFailback | Step::CleanUp => ": it cannot be aborted, since something was dropped for good",
        _ => "; or say `abort`",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;

    use async_trait::async_trait;
    use journal::{Effect, EffectId, Epoch, Position, Side};

    use super::*;
    use crate::seams::Owner;

    /// A receiver that answers by a script and notes what it was asked.
    #[derive(Debug, Default)]
    struct Scripted {
        probes: Mutex<VecDeque<Probe>>,
        acts: Mutex<VecDeque<Acted>>,
        asked: Mutex<Vec<&'static str>>,
    }

    impl Scripted {
        fn new(probes: impl IntoIterator<Item = Probe>, acts: impl IntoIterator<Item = Acted>) -> Self {
            Self {
                probes: Mutex::new(probes.into_iter().collect()),
                acts: Mutex::new(acts.into_iter().collect()),
                asked: Mutex::default(),
            }
        }

        fn asked(&self) -> Vec<&'static str> {
            self.asked.lock().unwrap().clone()
        }
    }

    #[async_trait]
    impl Receiver for Scripted {
        async fn probe(&self, _spec: &EffectSpec, _under: Authority) -> Probe {
            self.asked.lock().unwrap().push("probe");
            self.probes.lock().unwrap().pop_front().expect("one probe too many")
        }

        async fn act(&self, _spec: &EffectSpec, _under: Authority) -> Acted {
            self.asked.lock().unwrap().push("act");
            self.acts.lock().unwrap().pop_front().expect("one act too many")
        }
    }

    fn evidence(text: &str) -> Evidence {
        [("seen".to_owned(), text.to_owned())].into()
    }

    fn spec(effect: Effect) -> EffectSpec {
        EffectSpec {
            id: EffectId::of(b"one"),
            phase: "region-a".parse().unwrap(),
            step: Step::FenceSource,
            effect,
        }
    }

    fn gate() -> EffectSpec {
        spec(Effect::CloseGate { side: Side::Source })
    }

    fn look() -> EffectSpec {
        spec(Effect::ObserveTraffic { at: Side::Source })
    }

    const UNDER: Authority = Authority { epoch: Epoch::new(1), position: Position::new(7) };

    #[tokio::test]
    async fn what_is_there_and_ours_is_adopted_without_acting() {
        let receiver = Scripted::new([Probe::Ours(evidence("there"))], []);
        let came_to = turn(&receiver, &gate(), UNDER).await;
        assert_eq!(came_to, Turn::Succeeded { adopted: true, evidence: evidence("there") });
        assert_eq!(receiver.asked(), ["probe"]);
    }

    #[tokio::test]
    async fn what_is_absent_is_done_and_probed_again() {
        let done = Acted::Done([("took_ms".to_owned(), "3".to_owned())].into());
        let receiver = Scripted::new([Probe::Absent, Probe::Ours(evidence("there"))], [done]);
        let Turn::Succeeded { adopted, evidence } = turn(&receiver, &gate(), UNDER).await else {
            panic!("not done")
        };
        assert!(!adopted);
        assert_eq!(evidence.keys().collect::<Vec<_>>(), ["seen", "took_ms"]);
        assert_eq!(receiver.asked(), ["probe", "act", "probe"]);
    }

    #[tokio::test]
    async fn an_act_without_an_answer_is_unknown_and_the_next_turn_begins_with_a_probe() {
        let lost = EffectError("connection closed".to_owned());
        let receiver =
            Scripted::new([Probe::Absent, Probe::Ours(evidence("late"))], [Acted::Unknown(lost.clone())]);
        assert_eq!(turn(&receiver, &gate(), UNDER).await, Turn::Unknown(lost));
        let again = turn(&receiver, &gate(), UNDER).await;
        assert_eq!(again, Turn::Succeeded { adopted: true, evidence: evidence("late") });
        assert_eq!(receiver.asked(), ["probe", "act", "probe"]);
    }

    #[tokio::test]
    async fn an_act_that_is_done_and_not_seen_is_unknown() {
        let receiver = Scripted::new([Probe::Absent, Probe::Absent], [Acted::Done(Evidence::default())]);
        assert!(matches!(turn(&receiver, &gate(), UNDER).await, Turn::Unknown(_)));
    }

    #[tokio::test]
    async fn an_observation_that_does_not_hold_yet_waits() {
        let receiver = Scripted::new([Probe::Absent, Probe::Absent], [Acted::Done(Evidence::default())]);
        assert_eq!(turn(&receiver, &look(), UNDER).await, Turn::Waiting);
        let receiver = Scripted::new([Probe::Ours(evidence("held"))], []);
        let held = turn(&receiver, &look(), UNDER).await;
        assert_eq!(held, Turn::Succeeded { adopted: false, evidence: evidence("held") });
    }

    #[tokio::test]
    async fn what_cannot_be_probed_is_never_acted_upon() {
        let away = Cause("the target cannot be reached".to_owned());
        let receiver = Scripted::new([Probe::Unreachable(away.clone())], []);
        assert_eq!(turn(&receiver, &gate(), UNDER).await, Turn::Unreachable(away.clone()));
        assert_eq!(receiver.asked(), ["probe"]);
        let receiver = Scripted::new(
            [Probe::Absent, Probe::Unreachable(away.clone())],
            [Acted::Done(Evidence::default())],
        );
        assert_eq!(turn(&receiver, &gate(), UNDER).await, Turn::Unreachable(away));
    }

    #[tokio::test]
    async fn a_difference_an_owner_and_a_definite_no_are_findings() {
        let difference = Finding {
            code: "SW-0401".to_owned(),
            what: "shop.orders differs".to_owned(),
            remedy: "Look.".to_owned(),
        };
        let receiver = Scripted::new([Probe::Differs(difference.clone())], []);
        assert_eq!(turn(&receiver, &gate(), UNDER).await, Turn::Failed(difference));
        let receiver = Scripted::new([Probe::Foreign(Owner("debezium".to_owned()))], []);
        let Turn::Failed(finding) = turn(&receiver, &gate(), UNDER).await else { panic!("not failed") };
        assert!(finding.what.contains("debezium"), "{finding}");
        let no = Acted::Definite(EffectError("permission denied (42501)".to_owned()));
        let receiver = Scripted::new([Probe::Absent], [no]);
        let Turn::Failed(finding) = turn(&receiver, &gate(), UNDER).await else { panic!("not failed") };
        assert!(finding.what.contains("permission denied"), "{finding}");
        assert_eq!(receiver.asked(), ["probe", "act"]);
    }
}
