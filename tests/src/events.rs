//! The journal as `switchyard journal export` prints it, and the invariants that hold in every journal.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// The four places of an effect where the process can be killed.
pub const POINTS: [&str; 4] = ["before_intent", "after_intent", "after_effect", "after_outcome"];

/// One event.
#[derive(Debug, Clone)]
pub struct Event(Value);

impl Event {
    /// Its position.
    #[must_use]
    pub fn position(&self) -> u64 {
        number(self.0.get("position"))
    }

    /// Its epoch, for what an executor appended.
    #[must_use]
    pub fn epoch(&self) -> Option<u64> {
        self.0.get("epoch").map(|epoch| number(Some(epoch)))
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.text("kind")
    }

    /// A field of its body.
    #[must_use]
    pub fn field(&self, name: &str) -> &Value {
        self.0.get("body").and_then(|body| body.get(name)).unwrap_or(&Value::Null)
    }

    /// A text of its body; empty if there is none.
    #[must_use]
    pub fn text(&self, name: &str) -> &str {
        self.field(name).as_str().unwrap_or_default()
    }

    /// A number of its body, which travels as text.
    #[must_use]
    pub fn number(&self, name: &str) -> u64 {
        number(Some(self.field(name)))
    }

    /// The whole event.
    #[must_use]
    pub const fn value(&self) -> &Value {
        &self.0
    }

    /// The person who made it, if one did.
    #[must_use]
    pub fn actor(&self) -> String {
        self.0.get("actor").map(ToString::to_string).unwrap_or_default()
    }
}

fn number(value: Option<&Value>) -> u64 {
    match value {
        Some(Value::String(text)) => text.parse().unwrap_or(0),
        Some(Value::Number(number)) => number.as_u64().unwrap_or(0),
        _ => 0,
    }
}

/// A whole journal. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Journal(Arc<[Event]>);

impl Journal {
    /// Reads an export: one event a line.
    ///
    /// # Errors
    /// A line is not JSON.
    pub fn parse(text: &str) -> Result<Self> {
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        let events = lines.map(|line| {
            let value: Value = serde_json::from_str(line).with_context(|| format!("journal line {line}"))?;
            Ok(Event(value))
        });
        Ok(Self(events.collect::<Result<_>>()?))
    }

    /// All events.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.0
    }

    /// Those of a kind.
    pub fn of<'j>(&'j self, kind: &'j str) -> impl DoubleEndedIterator<Item = &'j Event> {
        self.0.iter().filter(move |event| event.kind() == kind)
    }

    /// Who approved, denied or revoked what, in their order: kind, person, request.
    #[must_use]
    pub fn words(&self) -> Vec<(String, String, u64)> {
        let said = |kind: &str| matches!(kind, "approved" | "denied" | "revoked");
        let person = |event: &Event| {
            let name = event.value().pointer("/actor/name").and_then(Value::as_str);
            name.unwrap_or_default().to_owned()
        };
        let words = self.0.iter().filter(|event| said(event.kind()));
        words.map(|event| (event.kind().to_owned(), person(event), event.number("request"))).collect()
    }

    /// The newest position.
    #[must_use]
    pub fn head(&self) -> u64 {
        self.0.last().map_or(0, Event::position)
    }

    /// The newest request for an operation.
    #[must_use]
    pub fn request(&self, operation: &str) -> Option<u64> {
        let key = operation.replace(" --", "_").replace('-', "_");
        self.of("requested").rev().find(|event| event.text("operation") == key).map(Event::position)
    }

    /// The operation that a request began, if it has.
    #[must_use]
    pub fn operation_of(&self, request: u64) -> Option<u64> {
        self.of("operation_started").find(|event| event.number("request") == request).map(Event::position)
    }

    /// How a request's operation ended: `completed` or `undone`.
    #[must_use]
    pub fn outcome_of(&self, request: u64) -> Option<String> {
        let operation = self.operation_of(request)?;
        self.of("operation_finished")
            .find(|event| event.number("operation") == operation)
            .map(|event| event.text("outcome").to_owned())
    }

    /// What an operation is called.
    #[must_use]
    pub fn operation_name(&self, operation: u64) -> String {
        self.of("operation_started")
            .find(|event| event.position() == operation)
            .map(|event| event.text("operation").to_owned())
            .unwrap_or_default()
    }

    /// The step and effect that were under way in the end: the newest intent without an outcome, or the newest
    /// intent at all.
    #[must_use]
    pub fn under_way(&self) -> Option<(String, String)> {
        let done = |id: &str| {
            self.0.iter().any(|event| {
                matches!(event.kind(), "effect_succeeded" | "effect_failed") && event.text("effect") == id
            })
        };
        let newest = self.of("effect_intended").next_back()?;
        let open =
            self.of("effect_intended").rev().find(|event| !done(event.text("effect"))).unwrap_or(newest);
        let kind = open.field("spec").get("kind").and_then(Value::as_str).unwrap_or_default();
        Some((open.text("step").to_owned(), kind.to_owned()))
    }

    /// The last events in short, for messages.
    #[must_use]
    pub fn tail(&self, count: usize) -> String {
        let from = self.0.len().saturating_sub(count);
        let last = self.0.get(from..).unwrap_or_default();
        let short = |event: &Event| {
            let body = event.value().get("body").map(ToString::to_string).unwrap_or_default();
            format!("#{} {}", event.position(), body.chars().take(400).collect::<String>())
        };
        last.iter().map(short).collect::<Vec<_>>().join("\n")
    }

    /// Holds in every journal: dense positions, epochs that never fall, an intent before each outcome, each effect
    /// done once, and two distinct approvers reserved for each switch, used once.
    ///
    /// # Errors
    /// One of them does not hold.
    pub fn check(&self) -> Result<()> {
        let mut epochs: BTreeMap<String, u64> = BTreeMap::new();
        let mut intended: BTreeMap<String, u64> = BTreeMap::new();
        let mut succeeded: BTreeMap<String, u64> = BTreeMap::new();
        let mut spent: BTreeMap<u64, u64> = BTreeMap::new();
        for (place, event) in (1_u64..).zip(self.0.iter()) {
            ensure!(event.position() == place, "position {} stands at place {place}", event.position());
            if let Some(epoch) = event.epoch() {
                let phase = event.value().get("phase").and_then(Value::as_str).unwrap_or_default().to_owned();
                let highest = epochs.entry(phase).or_default();
                ensure!(epoch >= *highest, "#{place} carries epoch {epoch} after {highest}");
                *highest = epoch;
            }
            let effect = event.text("effect").to_owned();
            match event.kind() {
                "effect_intended" => *intended.entry(effect).or_default() += 1,
                "effect_succeeded" => {
                    ensure!(intended.contains_key(&effect), "#{place}: an outcome without an intent");
                    let times = succeeded.entry(effect.clone()).or_default();
                    *times += 1;
                    ensure!(*times == 1, "#{place}: the effect {effect} succeeded {times} times");
                }
                "operation_started" => {
                    let request = event.number("request");
                    let times = spent.entry(request).or_default();
                    *times += 1;
                    ensure!(*times == 1, "#{place}: the request #{request} began {times} operations");
                    self.check_quorum(event, request)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn check_quorum(&self, started: &Event, request: u64) -> Result<()> {
        let operation = started.text("operation");
        if matches!(operation, "start" | "verify") {
            return Ok(());
        }
        let mut approvers: Vec<String> = self
            .of("approved")
            .filter(|event| event.number("request") == request && event.position() < started.position())
            .map(Event::actor)
            .collect();
        approvers.sort();
        approvers.dedup();
        ensure!(
            approvers.len() >= 2,
            "#{}: {operation} began with the approvals of {approvers:?}",
            started.position()
        );
        Ok(())
    }
}
