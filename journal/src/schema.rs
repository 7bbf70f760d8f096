//! Old events are read for ever: bodies of every schema version, from the stored bytes to today's facts.
//!
//! Stored bytes are never rewritten, and hashes are over them. So a changed body gets a new schema version, and one
//! upcast that makes a body of the version before into one of the new version. An event is read by its own version's
//! upcast and all after it. An optional field that old readers may pass over needs no version; anything else does.
//!
//! A program that is older than an event must not go on as if it had read it. It learns so from the event itself, and
//! before that from the barrier: the first thing that a newer program appends is a `version_barrier`, written as the
//! older ones write, which they read and stop at.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::canonical::from_plain;
use crate::command::Actor;
use crate::event::{DecodeError, Envelope, Fact, Recorded};
use crate::ids::{CommandId, Epoch, EventId, MigrationName, PhaseName, Position};
use crate::origin::Origin;
use crate::state::State;
use crate::time::Timestamp;

/// The schema that events are written by today.
pub const SCHEMA: Schema = Schema::new(&[]);

/// The schema version of bodies written today.
pub const SCHEMA_VERSION: u32 = SCHEMA.version();

/// Makes a body of one schema version into one of the next. The envelope is as it was stored.
///
/// # Errors
/// The body is not what that version wrote; the text says what is missing.
pub type Upcast = fn(envelope: &Envelope, body: Map<String, Value>) -> Result<Map<String, Value>, String>;

/// All versions of events: the first is 1, and each upcast leads to one more.
#[derive(Debug, Clone, Copy)]
pub struct Schema {
    upcasts: &'static [Upcast],
    version: u32,
}

impl Schema {
    /// The schema of which these upcasts lead to the newest version, the oldest first.
    #[must_use]
    pub const fn new(upcasts: &'static [Upcast]) -> Self {
        let mut version = 1;
        let mut rest = upcasts;
        while let [_, after @ ..] = rest {
            version += 1;
            rest = after;
        }
        Self { upcasts, version }
    }

    /// The version that is written.
    #[must_use]
    pub const fn version(self) -> u32 {
        self.version
    }

    /// Reads an event's stored bytes. The envelope keeps the version that they were written by.
    ///
    /// # Errors
    /// The bytes are not an event, or a newer version's, or a barrier before a newer version's.
    pub fn read(self, bytes: &[u8]) -> Result<Recorded, DecodeError> {
        match self.read_plain(bytes) {
            Some(event) => Ok(event),
            None => self.read_with_care(bytes),
        }
    }

    /// Nearly every event is of today's version and nothing in it is written in another way than it is meant.
    fn read_plain(self, bytes: &[u8]) -> Option<Recorded> {
        let stored: Stored<Fact> = from_plain(std::str::from_utf8(bytes).ok()?).ok()?;
        let (envelope, body) = stored.parts();
        let is_todays = self.known(&envelope.schema_version).is_ok_and(|found| found == self.version);
        let is_barrier = matches!(body, Fact::VersionBarrier { .. });
        (is_todays && !is_barrier).then_some(Recorded { envelope, body })
    }

    fn read_with_care(self, bytes: &[u8]) -> Result<Recorded, DecodeError> {
        let stored: Stored<&RawValue> =
            serde_json::from_slice(bytes).map_err(|error| self.malformed(bytes, error))?;
        let (envelope, raw) = stored.parts();
        let found = self.known(&envelope.schema_version)?;
        let body: Fact = if found == self.version {
            serde_json::from_str(raw.get())?
        } else {
            let mut body: Map<String, Value> = serde_json::from_str(raw.get())?;
            let done = usize::try_from(found - 1).unwrap_or(usize::MAX);
            for (upcast, from) in self.upcasts.iter().skip(done).zip(found..) {
                body = upcast(&envelope, body).map_err(|why| DecodeError::NotOfItsVersion { from, why })?;
            }
            serde_json::from_value(Value::Object(body))?
        };
        if let Fact::VersionBarrier { to } = &body {
            self.known(to)?;
        }
        Ok(Recorded { envelope, body })
    }

    /// A version's number, if this program reads it.
    fn known(self, text: &str) -> Result<u32, DecodeError> {
        // Not `parse` alone: `+1` and `01` are no versions that anything writes.
        match text.parse::<u32>() {
            Ok(found) if found > self.version => Err(self.newer(text)),
            Ok(found) if found > 0 && found.to_string() == text => Ok(found),
            Ok(_) | Err(_) => Err(DecodeError::NoVersion { found: text.to_owned() }),
        }
    }

    fn newer(self, found: &str) -> DecodeError {
        DecodeError::Newer { found: found.to_owned(), known: self.version }
    }

    /// A newer version's envelope may be one that this version cannot read: then its version is what there is to say.
    fn malformed(self, bytes: &[u8], error: serde_json::Error) -> DecodeError {
        #[derive(Deserialize)]
        struct Version {
            schema_version: String,
        }
        match serde_json::from_slice::<Version>(bytes) {
            Ok(version) if version.schema_version.parse::<u32>().is_ok_and(|found| found > self.version) => {
                self.newer(&version.schema_version)
            }
            Ok(_) | Err(_) => error.into(),
        }
    }
}

/// The barrier that has to be appended before the first event of this schema version, and the version that it is
/// written by itself; none where one stands already.
#[must_use]
pub fn barrier(state: &State, version: u32) -> Option<(Fact, u32)> {
    let written_by = state.schema_version();
    (written_by < version).then(|| (Fact::VersionBarrier { to: version.to_string() }, written_by))
}

/// An event as it is stored: the envelope's fields, and the body as a fact or unread. The fields are [`Envelope`]'s, which
/// cannot be flattened into it without a copy of everything.
#[derive(Deserialize)]
struct Stored<B> {
    position: Position,
    migration: MigrationName,
    #[serde(default)]
    phase: Option<PhaseName>,
    event_id: EventId,
    schema_version: String,
    actor: Actor,
    recorded_at: Timestamp,
    command_id: CommandId,
    #[serde(default)]
    epoch: Option<Epoch>,
    #[serde(default)]
    origin: Option<Origin>,
    body: B,
}

impl<B> Stored<B> {
    fn parts(self) -> (Envelope, B) {
        let envelope = Envelope {
            position: self.position,
            migration: self.migration,
            phase: self.phase,
            event_id: self.event_id,
            schema_version: self.schema_version,
            actor: self.actor,
            recorded_at: self.recorded_at,
            command_id: self.command_id,
            epoch: self.epoch,
            origin: self.origin,
        };
        (envelope, self.body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN: [&str; 2] =
        [include_str!("../tests/golden/v1.jsonl"), include_str!("../tests/golden/v1.shapes.jsonl")];

    #[test]
    fn most_events_are_plain_and_read_as_with_care() {
        let (mut all, mut plain) = (0, 0);
        for line in GOLDEN.iter().flat_map(|file| file.lines()) {
            all += 1;
            if let Some(event) = SCHEMA.read_plain(line.as_bytes()) {
                plain += 1;
                assert_eq!(event, SCHEMA.read_with_care(line.as_bytes()).unwrap(), "{line}");
            }
        }
        assert!(plain * 10 > all * 8, "{plain} of {all}");
    }

    /// Whatever somebody makes of an event: what is read as plain is read with care, and as the same.
    #[test]
    fn nothing_is_plain_that_is_none_with_care() {
        let mut read = 0;
        for (number, line) in GOLDEN.iter().flat_map(|file| file.lines()).enumerate() {
            for place in (number % 5..line.len()).step_by(5) {
                let with = b"\"\\ {}[],:0n\x1f\x7fz\xc3";
                let mut changed = line.as_bytes().to_vec();
                let byte = with.get((place + number) % with.len()).copied().unwrap();
                match place % 3 {
                    0 => *changed.get_mut(place).unwrap() = byte,
                    1 => changed.insert(place, byte),
                    _ => drop(changed.remove(place)),
                }
                if let Some(event) = SCHEMA.read_plain(&changed) {
                    read += 1;
                    let text = String::from_utf8_lossy(&changed).into_owned();
                    assert_eq!(
                        event,
                        SCHEMA.read_with_care(&changed).unwrap_or_else(|error| panic!("{error}: {text}"))
                    );
                }
            }
        }
        assert!(read > 100, "only {read} of the changes left a plain event");
    }
}
