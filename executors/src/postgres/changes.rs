//! PostgreSQL's change stream: messages of a slot, grouped into whole transactions.
//!
//! Borders: the end of one transaction's commit record is at or before the beginning of the next one's. A transaction is
//! so known to be applied already by its very first message: its commit record begins before the checkpoint. A
//! keepalive between transactions says that everything that committed before its place was sent.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use journal::{Finding, Lsn, StreamSpec, TableName};
use runtime::Clock;

use crate::native::{
    Cell, Change, ChangeStream, Changes, Checkpoint, Durable, Row, StreamError, StreamItem, TableShape,
    Transaction,
};
use crate::postgres::database::{Database, chain};
use crate::postgres::feed::{Feed, FeedError, Sent};
use crate::postgres::marker;
use crate::postgres::pgoutput::{Field, Message, Old, Relation, decode};
use crate::postgres::wire::{ReplicationConnection, StartAt, StartError};
use crate::postgres::{anew, catalog};
use crate::seams::Cause;

/// A running change stream.
#[derive(Debug)]
pub struct PgChanges {
    feed: Feed,
    stream: String,
    opposite_origin: String,
    /// Transactions that ended at or before it are skipped.
    from: Lsn,
    /// Transactions that end after it are not read: for a fill.
    until: Option<Lsn>,
    shapes: Shapes,
    relations: HashMap<u32, Known>,
    open: Option<Open>,
    /// The server waits for how far we have come.
    is_asked: bool,
}

/// A table as the stream describes it, and once it was checked how its columns travel.
#[derive(Debug)]
struct Known {
    relation: Relation,
    mapped: Option<Mapped>,
    /// The columns of its newest change, and the transaction that it was in.
    newest: Option<(Vec<String>, Lsn)>,
}

#[derive(Debug, Clone)]
struct Mapped {
    shape: Arc<TableShape>,
    /// For each column of the shape, its place in the stream's tuples.
    places: Arc<Vec<usize>>,
}

/// A transaction whose end has not come yet.
#[derive(Debug)]
struct Open {
    committed_ms: i64,
    commit: Lsn,
    origin: Option<String>,
    changes: Changes,
    markers: Vec<String>,
    /// It is applied already, or carries our own mark.
    is_skipped: bool,
    is_applied: bool,
}

/// What a person does where a stream cannot go on from its place.
pub(super) const BEGIN_ANEW: &str = "While the phase starts, say `abort`, then `start`. While the source is the writer, say `retire`, \
                          then `start`, which loads it anew. While the target is the writer the way back is lost: the \
                          target goes on, and `complete` ends the move.";

fn stopped(code: &str, what: String, remedy: &str) -> StreamError {
    StreamError::Stopped(Finding { code: code.to_owned(), what, remedy: remedy.to_owned() })
}

impl PgChanges {
    /// Begins to read a stream after a checkpoint. Shapes are taken from the side read, as its tables are now.
    ///
    /// # Errors
    /// The slot is lost or not there: stopped. Anything else: lost.
    pub async fn connect(
        home: &Database,
        spec: &StreamSpec,
        from: Lsn,
        clock: &dyn Clock,
    ) -> Result<Self, StreamError> {
        let shapes = shapes(home, spec).await?;
        let connection = ReplicationConnection::connect(home).await.map_err(StreamError::Lost)?;
        anew::check_timeline(home.side(), spec, connection.timeline())?;
        check_slot(home, spec, from).await?;
        let at = StartAt { slot: &spec.slot, publication: &spec.publication, from };
        let feed = connection.start(at, clock).await.map_err(|error| match error {
            StartError::NoSlot => stopped(
                "SW-0301",
                format!(
                    "the slot {} of {} is not there any more at the {}",
                    spec.slot,
                    spec.name,
                    home.side()
                ),
                &format!("Changes since its checkpoint cannot be had. {BEGIN_ANEW}"),
            ),
            StartError::Invalidated(cause) => stopped(
                "SW-0302",
                format!("the slot {} of {} cannot be read any more: {cause}", spec.slot, spec.name),
                &format!("If its log was removed (max_slot_wal_keep_size), changes are lost. {BEGIN_ANEW}"),
            ),
            StartError::Other(cause) => StreamError::Lost(cause),
        })?;
        Ok(Self {
            feed,
            stream: spec.name.to_string(),
            opposite_origin: spec.opposite_origin.clone(),
            from,
            until: None,
            shapes,
            relations: HashMap::new(),
            open: None,
            is_asked: false,
        })
    }

    /// Reads no transaction that ends after this place.
    pub const fn end_at(&mut self, until: Lsn) {
        self.until = Some(until);
    }

    /// An item that needs no waiting, if there is one.
    pub fn ready(&mut self) -> Option<Result<StreamItem, StreamError>> {
        loop {
            let sent = match self.feed.ready()? {
                Ok(sent) => sent,
                Err(error) => return Some(Err(self.ended(error))),
            };
            match self.take(sent) {
                Ok(None) => {}
                Ok(Some(item)) => return Some(Ok(item)),
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// When the transaction was committed, in milliseconds since 1970 by the server's clock, of which a part was received.
    pub(crate) fn receiving(&self) -> Option<i64> {
        let open = self.open.as_ref()?;
        (!open.is_skipped).then_some(open.committed_ms)
    }

    /// Asks the server how far it has come; the answer is an item.
    pub fn ask(&self) {
        self.feed.ask();
    }

    /// Whether the server waits for how far we have come, since this was asked last.
    pub(crate) fn take_asked(&mut self) -> bool {
        std::mem::take(&mut self.is_asked)
    }

    /// Confirms a place up to which everything is durable on the other side or needs nothing there.
    pub(crate) fn confirm_at(&self, at: Lsn) {
        self.feed.confirm(at);
    }

    fn ended(&self, error: FeedError) -> StreamError {
        match error {
            FeedError::Lost(cause) => StreamError::Lost(cause),
            // The publication is not there, or was not where the stream is; the slot's log is gone.
            FeedError::Refused(error) if ["42704", "55000"].contains(&error.code.as_str()) => stopped(
                "SW-0309",
                format!("the server refuses the stream {}: {error}", self.stream),
                &format!("Put back what is missing: it goes on by itself. Else: {BEGIN_ANEW}"),
            ),
            FeedError::Refused(error) => {
                StreamError::Lost(Cause(format!("the server ended the stream {}: {error}", self.stream)))
            }
        }
    }

    fn take(&mut self, sent: Sent) -> Result<Option<StreamItem>, StreamError> {
        let bytes = match sent {
            Sent::Message(bytes) => bytes,
            Sent::Alive { at, asks } if self.open.is_none() => {
                self.is_asked |= asks;
                return Ok(Some(StreamItem::Idle(Checkpoint::Lsn(at))));
            }
            Sent::Alive { .. } => return Ok(None),
        };
        let broken = |what: &dyn std::fmt::Display| {
            StreamError::Lost(Cause(format!("the stream {} cannot be read: {what}", self.stream)))
        };
        let message = decode(bytes).map_err(|error| broken(&error))?;
        match message {
            Message::Begin { commit, committed_ms } => {
                let is_applied = commit < self.from;
                let (changes, markers) = (Changes::default(), Vec::new());
                self.open = Some(Open {
                    committed_ms,
                    commit,
                    origin: None,
                    changes,
                    markers,
                    is_skipped: is_applied,
                    is_applied,
                });
                if self.until.is_some_and(|until| commit >= until) {
                    // It ends after the place: everything before was given.
                    return Ok(Some(StreamItem::Idle(Checkpoint::Lsn(commit))));
                }
            }
            Message::Commit { end } => {
                let open = self.open.take().ok_or_else(|| broken(&"an end without its beginning"))?;
                if !open.is_applied {
                    return Ok(Some(StreamItem::Transaction(Transaction {
                        end: Checkpoint::Lsn(end),
                        committed_ms: open.committed_ms,
                        origin: open.origin,
                        changes: open.changes,
                        markers: open.markers,
                    })));
                }
            }
            Message::Origin { name } => {
                let open = self.open.as_mut().ok_or_else(|| broken(&"an origin outside a transaction"))?;
                open.is_skipped |= name == self.opposite_origin;
                open.origin = Some(name);
            }
            Message::Relation(relation) => {
                let newest = self.relations.remove(&relation.oid).and_then(|known| known.newest);
                self.relations.insert(relation.oid, Known { relation, mapped: None, newest });
            }
            Message::Type => {}
            Message::Insert { oid, new } => self.change(oid, |mapped, stream| {
                let new = row(mapped, new, stream)?;
                Ok(Change::Insert { shape: Arc::clone(&mapped.shape), new })
            })?,
            Message::Update { oid, old, new } => {
                self.change(oid, |mapped, stream| update(mapped, old, new, stream))?;
            }
            Message::Delete { oid, old } => self.change(oid, |mapped, stream| {
                let (Old::Key(fields) | Old::Row(fields)) = old;
                let key = key_of(&mapped.shape, &row(mapped, fields, stream)?);
                Ok(Change::Delete { shape: Arc::clone(&mapped.shape), key })
            })?,
            Message::Truncate { oids } => self.truncated(&oids)?,
            Message::Logical { transactional, prefix, content } => {
                if transactional && prefix == marker::PREFIX {
                    let open = self.open.as_mut().ok_or_else(|| broken(&"a marker outside a transaction"))?;
                    open.markers.push(String::from_utf8_lossy(&content).into_owned());
                }
            }
        }
        Ok(None)
    }

    fn change(
        &mut self,
        oid: u32,
        make: impl FnOnce(&Mapped, &str) -> Result<Change, StreamError>,
    ) -> Result<(), StreamError> {
        let lost = |what: &str| {
            StreamError::Lost(Cause(format!("the stream {} cannot be read: {what}", self.stream)))
        };
        let open = self.open.as_mut().ok_or_else(|| lost("a change outside a transaction"))?;
        if open.is_skipped {
            return Ok(());
        }
        let known = self.relations.get_mut(&oid).ok_or_else(|| lost("a change of an undescribed table"))?;
        let mapped = match &known.mapped {
            Some(mapped) => mapped,
            None => {
                let mapped = map(&known.relation, &self.shapes, open.commit)?;
                if let Some((columns, last)) = &known.newest
                    && *columns != mapped.shape.columns
                {
                    return Err(other_columns(&mapped.shape.table, *last, open.commit));
                }
                known.mapped.insert(mapped)
            }
        };
        match &mut known.newest {
            Some((_, last)) => *last = open.commit,
            newest => *newest = Some((mapped.shape.columns.clone(), open.commit)),
        }
        let change = make(mapped, &self.stream)?;
        open.changes.push(change).map_err(|error| {
            StreamError::Lost(Cause(format!(
                "a large transaction of the stream {} could not be put away in the temporary folder ({}): {error}; \
                 make room there, or point TMPDIR elsewhere",
                self.stream,
                std::env::temp_dir().display()
            )))
        })
    }

    fn truncated(&self, oids: &[u32]) -> Result<(), StreamError> {
        let Some(open) = self.open.as_ref().filter(|open| !open.is_skipped) else { return Ok(()) };
        let names: Vec<String> = oids
            .iter()
            .map(|oid| match self.relations.get(oid) {
                Some(known) => format!("{}.{}", known.relation.schema, known.relation.table),
                None => format!("table with oid {oid}"),
            })
            .collect();
        Err(stopped(
            "SW-0310",
            format!(
                "TRUNCATE of {} at {} in the stream {}: it is never applied",
                names.join(", "),
                open.commit,
                self.stream
            ),
            &format!("Nothing was removed on the other side. {BEGIN_ANEW}"),
        ))
    }
}

/// What a slot has let go must be on the other side: a server begins there without a word, however early a place is asked
/// for. The other side may have lost what it had, by a failover or a restore.
async fn check_slot(home: &Database, spec: &StreamSpec, from: Lsn) -> Result<(), StreamError> {
    let session = home.session().await.map_err(StreamError::Lost)?;
    let sql = "select confirmed_flush_lsn::text from pg_replication_slots \
               where slot_name::text = $1 and database = current_database()";
    let row = session.query_opt(sql, &[&spec.slot]).await;
    let row = row.map_err(|error| StreamError::Lost(home.cause("does not show a slot", &error)))?;
    session.done();
    let confirmed: Option<Lsn> = row.and_then(|row| row.get::<_, Option<&str>>(0)?.parse().ok());
    match confirmed.filter(|confirmed| *confirmed > from) {
        None => Ok(()),
        Some(confirmed) => Err(stopped(
            "SW-0319",
            format!(
                "the {} stands at {from} in {}, and the slot {} has let everything go up to {confirmed}: what lies between \
                 was on the {0} and is lost there",
                home.side().other(),
                spec.name,
                spec.slot
            ),
            &format!("It was restored, or failed over without its newest writes. {BEGIN_ANEW}"),
        )),
    }
}

/// The tables of a publication as they are now.
#[derive(Debug)]
struct Shapes {
    by_name: HashMap<TableName, Arc<TableShape>>,
    /// The names of those that are the phase's, by their oids.
    names: HashMap<u32, TableName>,
}

impl Shapes {
    /// The table that a stream describes by the name that it had at the time: who took another table's name is that one, and
    /// who is the phase's again under its own name was it under another one too.
    fn of(&self, relation: &Relation, name: &TableName) -> Option<&Arc<TableShape>> {
        self.by_name.get(name).or_else(|| self.by_name.get(self.names.get(&relation.oid)?))
    }
}

async fn shapes(home: &Database, spec: &StreamSpec) -> Result<Shapes, StreamError> {
    let session = home.session().await.map_err(StreamError::Lost)?;
    let sql = "select p.schemaname::text, p.tablename::text, c.oid from pg_publication_tables p \
               join pg_namespace n on n.nspname = p.schemaname \
               join pg_class c on c.relnamespace = n.oid and c.relname = p.tablename where p.pubname = $1";
    let rows = session.query(sql, &[&spec.publication]).await.map_err(|error| {
        StreamError::Lost(Cause(home.scrub(&format!(
            "the {} does not show the publication {}: {}",
            home.side(),
            spec.publication,
            chain(&error)
        ))))
    })?;
    let tables: Vec<TableName> =
        rows.iter().map(|row| TableName { schema: row.get(0), table: row.get(1) }).collect();
    let shapes = catalog::shapes(&*session, &tables).await.map_err(StreamError::Lost)?;
    session.done();
    let names = rows
        .iter()
        .map(|row| row.get(2))
        .zip(tables)
        .filter(|(_, table)| spec.tables.contains(table))
        .collect();
    let by_name = shapes.into_iter().map(|shape| (shape.table.clone(), Arc::new(shape))).collect();
    Ok(Shapes { by_name, names })
}

/// Changes of one table under two lists of columns are not written together: what came before is written, and the stream
/// begun anew from there. Inside one transaction there is no place between them.
fn other_columns(table: &TableName, last: Lsn, now: Lsn) -> StreamError {
    if last != now {
        return StreamError::Lost(Cause(format!(
            "the columns of {table} changed before {now}: it is read anew from there"
        )));
    }
    let what = format!(
        "the columns of {table} changed inside the transaction at {now}, between two changes of its rows"
    );
    stopped("SW-0306", what, &format!("Such a transaction cannot be carried. {BEGIN_ANEW}"))
}

/// Holds the stream's description of a table against the catalog's. Column order may differ. A column that the table has now
/// and had not then is left to its default.
fn map(relation: &Relation, shapes: &Shapes, at: Lsn) -> Result<Mapped, StreamError> {
    let name = TableName { schema: relation.schema.clone(), table: relation.table.clone() };
    let Some(shape) = shapes.of(relation, &name) else {
        let what =
            format!("a change at {at} of {name}, which the publication did not hold when the stream began");
        let remedy = format!(
            "If a table of the phase was renamed or moved, give it its name back: the stream goes on by itself, with what was \
             written meanwhile. Else: {BEGIN_ANEW}"
        );
        return Err(stopped("SW-0306", what, &remedy));
    };
    let place = |column: &String| relation.columns.iter().position(|sent| &sent.name == column);
    let places: Vec<Option<usize>> = shape.columns.iter().map(place).collect();
    let missing: Vec<&str> = shape
        .columns
        .iter()
        .zip(&places)
        .filter(|(_, place)| place.is_none())
        .map(|(name, _)| name.as_str())
        .collect();
    let added: Vec<&str> = relation
        .columns
        .iter()
        .map(|sent| sent.name.as_str())
        .filter(|sent| !shape.columns.iter().any(|column| column == sent))
        .collect();
    let kept: Vec<usize> =
        (0..places.len()).filter(|at| places.get(*at).is_some_and(Option::is_some)).collect();
    let narrowed = shape.narrowed(&kept).filter(|_| added.is_empty());
    let Some(shape) = narrowed else {
        let list = |names: &[&str]| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        let what = format!(
            "the columns of {name} in the stream at {at} are not those of the table now: only in the stream {}; \
             only in the table {}",
            list(&added),
            list(&missing)
        );
        let remedy = format!(
            "DDL is under way. When both sides have the columns that the stream has, it goes on by itself. What was written \
             under columns that will not be there again, as while one had another name, cannot be carried: {BEGIN_ANEW}"
        );
        return Err(stopped("SW-0306", what, &remedy));
    };
    let places: Vec<usize> = places.into_iter().flatten().collect();
    let in_identity = |column: &usize| {
        places
            .get(*column)
            .and_then(|place| relation.columns.get(*place))
            .is_some_and(|sent| sent.in_identity)
    };
    if !shape.key.iter().all(in_identity) {
        return Err(stopped(
            "SW-0307",
            format!("the replica identity of {name} does not hold its primary key"),
            &format!("Set `replica identity default` or `full` on the table. {BEGIN_ANEW}"),
        ));
    }
    Ok(Mapped { shape: Arc::new(shape), places: Arc::new(places) })
}

/// A tuple in the shape's order.
fn row(mapped: &Mapped, mut fields: Vec<Field>, stream: &str) -> Result<Row, StreamError> {
    let lost = |what| StreamError::Lost(Cause(format!("the stream {stream} cannot be read: {what}")));
    let mut cells = Vec::with_capacity(mapped.places.len());
    for place in mapped.places.iter() {
        let field = fields.get_mut(*place).ok_or_else(|| lost("a row with too few columns"))?;
        cells.push(match std::mem::replace(field, Field::Null) {
            Field::Null => Cell::Null,
            Field::Text(text) => {
                if std::str::from_utf8(&text).is_err() {
                    return Err(stopped(
                        "SW-0308",
                        format!("a value of {} in the stream {stream} is not UTF-8", mapped.shape.table),
                        &format!("The database's encoding cannot be moved: repair the value. {BEGIN_ANEW}"),
                    ));
                }
                Cell::Text(text)
            }
            Field::Binary(_) => return Err(lost("a binary value that nobody asked for")),
            Field::Unchanged => Cell::Unchanged,
        });
    }
    Ok(cells)
}

/// The cells of the key, in key order.
fn key_of(shape: &TableShape, row: &Row) -> Row {
    shape.key.iter().filter_map(|at| row.get(*at).cloned()).collect()
}

fn update(mapped: &Mapped, old: Option<Old>, new: Vec<Field>, stream: &str) -> Result<Change, StreamError> {
    let shape = Arc::clone(&mapped.shape);
    let mut new = row(mapped, new, stream)?;
    let (old, is_full) = match old {
        None => return Ok(Change::Update { shape, old_key: None, new }),
        Some(Old::Key(fields)) => (row(mapped, fields, stream)?, false),
        Some(Old::Row(fields)) => (row(mapped, fields, stream)?, true),
    };
    // What did not change is in the old image: all of it, or of the key alone.
    for (at, (cell, before)) in new.iter_mut().zip(&old).enumerate() {
        if *cell == Cell::Unchanged && (is_full || shape.key.contains(&at)) {
            *cell = before.clone();
        }
    }
    let (old_key, new_key) = (key_of(&shape, &old), key_of(&shape, &new));
    let old_key = (old_key != new_key).then_some(old_key);
    Ok(Change::Update { shape, old_key, new })
}

#[async_trait]
impl ChangeStream for PgChanges {
    async fn next(&mut self) -> Result<StreamItem, StreamError> {
        loop {
            // Taking a message changes nothing before it is there: so a dropped call loses none.
            let sent = match self.feed.next().await {
                Ok(sent) => sent,
                Err(error) => return Err(self.ended(error)),
            };
            if let Some(item) = self.take(sent)? {
                return Ok(item);
            }
        }
    }

    async fn confirm(&mut self, at: Durable<Checkpoint>) -> Result<(), StreamError> {
        let Checkpoint::Lsn(at) = at.get();
        self.confirm_at(at);
        Ok(())
    }
}
