//! The first contact with a target that was given up for lost.
//!
//! Its gate is closed, under the position of the `loss_declared`, which is the standing intent for it. Only then is the rest
//! of its stream read, up to where its log is with nobody writing, into a file for people: one change a line. Nothing of it
//! is applied, and nothing is confirmed to its slot, so that it can be read again. A file under its final name is whole.

use std::io::{BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use journal::{
    Direction, Effect, EffectSpec, Found, Lsn, PhaseName, Quarantine, Side, Step, StreamMode, StreamName,
    StreamSpec, TableName, Timestamp, origin_name,
};
use serde_json::{Map, Value, json};

use crate::native::available::barrier;
use crate::native::plane::Plane;
use crate::native::{
    Cell, Change, ChangeStream as _, Checkpoint, Row, StreamError, StreamItem, TableShape, Transaction,
};
use crate::postgres::changes::PgChanges;
use crate::postgres::gate;
use crate::protocol::{Turn, turn};
use crate::seams::{Authority, Cause, Receiver};

/// How long the stream may be silent.
const SILENCE: Duration = Duration::from_secs(30);

/// What a first contact is made with.
pub(crate) struct Contact<'c> {
    pub(crate) plane: &'c Plane,
    pub(crate) receiver: &'c dyn Receiver,
    pub(crate) phase: &'c PhaseName,
    pub(crate) tables: &'c [TableName],
    /// Where files for people go.
    pub(crate) directory: &'c Path,
}

impl Contact<'_> {
    /// Does the next thing that is to be done with a quarantined target.
    pub(crate) async fn make(&self, known: &Quarantine, under: Authority) -> Result<Found, Cause> {
        if known.is_closed { self.read(known).await } else { self.close(known, under).await }
    }

    async fn close(&self, known: &Quarantine, under: Authority) -> Result<Found, Cause> {
        let effect = Effect::CloseGate { side: Side::Target };
        let spec = EffectSpec::new(known.plan_hash, self.phase, known.operation, Step::DeclareLoss, effect);
        match turn(self.receiver, &spec, under).await {
            Turn::Succeeded { evidence, .. } => Ok(Found::Closed { evidence }),
            Turn::Unknown(error) => Err(Cause(error.0)),
            Turn::Unreachable(cause) => Err(cause),
            Turn::Waiting => Err(Cause("its gate is being changed".to_owned())),
            // A later intent of the same operation may have closed it, and its answer was lost.
            Turn::Failed(finding) => match gate::mode(&self.plane.target, self.phase).await? {
                Some(journal::GateMode::Open) => Err(Cause(finding.to_string())),
                Some(journal::GateMode::Closed) | None => {
                    Ok(Found::Closed { evidence: [("mode".to_owned(), "closed".to_owned())].into() })
                }
            },
        }
    }

    async fn read(&self, known: &Quarantine) -> Result<Found, Cause> {
        let Some(stream) = &known.stream else {
            return Err(Cause("its stream is not known".to_owned()));
        };
        let target = &self.plane.target;
        let Some(until) = barrier(target, self.tables).await? else {
            return Err(Cause("transactions are still open on its tables".to_owned()));
        };
        let migration = &self.plane.migration;
        let spec = StreamSpec {
            name: StreamName { phase: self.phase.clone(), direction: Direction::Failback },
            mode: StreamMode::Guard,
            slot: stream.slot.clone(),
            publication: stream.publication.clone(),
            origin: stream.origin.clone(),
            opposite_origin: origin_name(migration, self.phase, Direction::Forward, 0),
            from: known.checkpoint,
            // On whatever timeline it came back: it is only read.
            timelines: [None, None],
            since: None,
            tables: Vec::new(),
        };
        let mut file =
            PeopleFile::begin(self.directory, &format!("{migration}-{}-{}", self.phase, known.position))?;
        let ended = self.copy(&spec, (known.checkpoint, until), &mut file).await;
        match ended {
            Ok(()) => {
                let changes = file.changes;
                Ok(Found::Read { file: file.finish()?.display().to_string(), changes })
            }
            Err(StreamError::Stopped(mut finding)) => {
                let changes = file.changes;
                if changes > 0 {
                    let kept = file.finish()?;
                    finding.what = format!(
                        "{} What was read before it, {changes} changes, is in {}.",
                        finding.what,
                        kept.display()
                    );
                }
                Ok(Found::Unread { finding })
            }
            Err(StreamError::Lost(cause)) => Err(cause),
            Err(StreamError::Superseded) => Err(Cause("its stream is being read elsewhere".to_owned())),
        }
    }

    async fn copy(
        &self,
        spec: &StreamSpec,
        (from, until): (Lsn, Lsn),
        file: &mut PeopleFile,
    ) -> Result<(), StreamError> {
        let clock = &*self.plane.clock;
        let mut changes = PgChanges::connect(&self.plane.target, spec, from, clock).await?;
        changes.ask();
        loop {
            let item = tokio::time::timeout(SILENCE, changes.next())
                .await
                .map_err(|_| StreamError::Lost(Cause("the rest of its stream does not come".to_owned())))??;
            match item {
                StreamItem::Transaction(transaction) => {
                    let Checkpoint::Lsn(end) = transaction.end;
                    if transaction.origin.as_deref() != Some(spec.opposite_origin.as_str()) {
                        file.add(&transaction).map_err(|error| StreamError::Lost(file.cause(&error)))?;
                    }
                    if end >= until {
                        return Ok(());
                    }
                }
                StreamItem::Idle(Checkpoint::Lsn(at)) if at >= until => return Ok(()),
                StreamItem::Idle(_) => changes.ask(),
            }
        }
    }
}

/// A file for people that has its name once it is whole. Only its owner reads it: it holds rows.
struct PeopleFile {
    out: BufWriter<std::fs::File>,
    part: PathBuf,
    path: PathBuf,
    changes: u64,
}

impl PeopleFile {
    fn begin(directory: &Path, name: &str) -> Result<Self, Cause> {
        let path = directory.join(format!("{name}.lost.jsonl"));
        let part = directory.join(format!("{name}.lost.jsonl.part"));
        let opened =
            std::fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&part);
        match opened {
            Ok(file) => Ok(Self { out: BufWriter::new(file), part, path, changes: 0 }),
            Err(error) => Err(Cause(format!("{} cannot be written: {error}", part.display()))),
        }
    }

    fn cause(&self, error: &std::io::Error) -> Cause {
        Cause(format!("{} cannot be written: {error}", self.part.display()))
    }

    fn add(&mut self, transaction: &Transaction) -> std::io::Result<()> {
        for window in transaction.changes.windows() {
            for change in window?.iter() {
                serde_json::to_writer(&mut self.out, &line(transaction, change))?;
                self.out.write_all(b"\n")?;
                self.changes += 1;
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<PathBuf, Cause> {
        let Self { out, part, path, .. } = self;
        let written = (|| {
            let file = out.into_inner().map_err(std::io::IntoInnerError::into_error)?;
            file.sync_all()?;
            std::fs::rename(&part, &path)?;
            std::fs::File::open(path.parent().unwrap_or_else(|| Path::new(".")))?.sync_all()
        })();
        match written {
            Ok(()) => Ok(path),
            Err(error) => Err(Cause(format!("{} cannot be written: {error}", path.display()))),
        }
    }
}

/// One change as a line has it: values as the database's own text, `null` for NULL; columns whose value was not sent, since
/// it did not change, are named and have none.
fn line(transaction: &Transaction, change: &Change) -> Value {
    let Checkpoint::Lsn(end) = transaction.end;
    let mut line = Map::new();
    line.insert("lsn".to_owned(), json!(end.to_string()));
    line.insert(
        "committed_at".to_owned(),
        json!(Timestamp::from_millis(transaction.committed_ms).to_string()),
    );
    let (shape, word) = match change {
        Change::Insert { shape, .. } => (shape, "insert"),
        Change::Update { shape, .. } => (shape, "update"),
        Change::Delete { shape, .. } => (shape, "delete"),
    };
    line.insert("table".to_owned(), json!(shape.table.to_string()));
    line.insert("change".to_owned(), json!(word));
    match change {
        Change::Insert { new, .. } => row(&mut line, shape, new),
        Change::Update { old_key, new, .. } => {
            if let Some(old) = old_key {
                line.insert("old_key".to_owned(), key(shape, old));
            }
            row(&mut line, shape, new);
        }
        Change::Delete { key: cells, .. } => {
            line.insert("key".to_owned(), key(shape, cells));
        }
    }
    Value::Object(line)
}

fn text(cell: &Cell) -> Value {
    match cell {
        Cell::Text(bytes) => Value::String(String::from_utf8_lossy(bytes).into_owned()),
        Cell::Null | Cell::Unchanged => Value::Null,
    }
}

fn key(shape: &TableShape, cells: &Row) -> Value {
    let names = shape.key.iter().filter_map(|at| shape.columns.get(*at));
    Value::Object(names.cloned().zip(cells.iter().map(text)).collect())
}

fn row(line: &mut Map<String, Value>, shape: &TableShape, cells: &Row) {
    let named = || shape.columns.iter().zip(cells);
    let sent = named().filter(|(_, cell)| **cell != Cell::Unchanged);
    line.insert(
        "row".to_owned(),
        Value::Object(sent.map(|(name, cell)| (name.clone(), text(cell))).collect()),
    );
    let unchanged: Vec<Value> =
        named().filter(|(_, cell)| **cell == Cell::Unchanged).map(|(name, _)| json!(name)).collect();
    if !unchanged.is_empty() {
        line.insert("unchanged".to_owned(), Value::Array(unchanged));
    }
}
