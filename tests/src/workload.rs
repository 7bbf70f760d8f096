//! An application at work: transactions of every kind through pgbouncer, each remembered.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::cluster::open;
use crate::records::{Records, Stamp, Verdict, Write};
use crate::shop::{Size, Table};
use crate::wait::{Seen, wait_until};

/// How the application works.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Sessions side by side.
    pub sessions: usize,
    /// Transactions a second, all sessions together.
    pub rate: u32,
}

impl Pace {
    /// For a small shop on a busy machine.
    pub const GENTLE: Self = Self { sessions: 4, rate: 60 };
    /// A few hundred transactions a second.
    pub const BRISK: Self = Self { sessions: 8, rate: 300 };
}

#[derive(Debug)]
struct Shared {
    url: String,
    size: Size,
    pace: Pace,
    records: Mutex<Records>,
    resting: AtomicBool,
    stopping: AtomicBool,
    busy: AtomicUsize,
}

impl Shared {
    fn records(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running application. Dropping it ends its sessions.
#[derive(Debug)]
pub struct Workload {
    shared: Arc<Shared>,
    sessions: JoinSet<()>,
}

impl Workload {
    /// Starts the application.
    #[must_use]
    pub fn start(url: String, size: Size, pace: Pace) -> Self {
        let shared = Arc::new(Shared {
            url,
            size,
            pace,
            records: Mutex::new(Records::new(size)),
            resting: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            busy: AtomicUsize::new(0),
        });
        let mut sessions = JoinSet::new();
        for number in 0..pace.sessions {
            sessions.spawn(Session::new(number, Arc::clone(&shared)).run());
        }
        Self { shared, sessions }
    }

    /// What it remembers.
    pub fn records(&self) -> MutexGuard<'_, Records> {
        self.shared.records()
    }

    /// Compares what it remembers with what a database holds. The application must rest.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn judge(&self, client: &Client) -> Result<Verdict> {
        // No lock is held over the queries: the memory is taken out and put back.
        let records = std::mem::replace(&mut *self.records(), Records::new(self.shared.size));
        let verdict = records.check(client).await;
        *self.records() = records;
        verdict
    }

    /// Begins no more transactions and waits for those under way.
    ///
    /// # Errors
    /// A transaction does not end in time.
    pub async fn rest(&self, within: Duration) -> Result<()> {
        self.shared.resting.store(true, Ordering::SeqCst);
        wait_until(within, "the application's transactions to end", async || {
            Ok(match self.shared.busy.load(Ordering::SeqCst) {
                0 => Seen::Done(()),
                busy => Seen::NotYet(format!("{busy} under way")),
            })
        })
        .await
    }

    /// Goes on after a rest.
    pub fn go_on(&self) {
        self.shared.resting.store(false, Ordering::SeqCst);
    }

    /// Waits until so many more transactions are acknowledged.
    ///
    /// # Errors
    /// They are not in time; the message names the errors met.
    pub async fn acknowledged(&self, count: usize, within: Duration) -> Result<()> {
        let since = Instant::now();
        wait_until(within, &format!("{count} more acknowledged transactions"), async || {
            let records = self.records();
            let seen = records.acknowledged_since(since);
            Ok(if seen >= count {
                Seen::Done(())
            } else {
                Seen::NotYet(format!("{seen}; errors so far: {:?}", records.failed))
            })
        })
        .await
    }

    /// Ends the application, its transactions first.
    pub async fn stop(mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        let ended = async { while self.sessions.join_next().await.is_some() {} };
        tokio::time::timeout(Duration::from_secs(10), ended).await.ok();
    }
}

/// A transaction to be made: its SQL, and what it writes if it commits.
#[derive(Debug)]
struct Planned {
    sql: String,
    writes: Vec<Write>,
    /// Writes whose key is the returned number, with a suffix.
    inserts: Vec<(Table, &'static str, String)>,
    then: Then,
}

/// What the session remembers of its own rows when the transaction is acknowledged.
#[derive(Debug, Clone, Copy)]
enum Then {
    Nothing,
    OwnOrder,
    OwnNote,
}

enum Ended {
    Acknowledged(Option<i64>),
    Failed(String),
    Unknown(String),
}

/// One session: rows it may write are its own, so that "the last acknowledged value" has one meaning.
#[derive(Debug)]
struct Session {
    number: usize,
    shared: Arc<Shared>,
    random: u64,
    seq: u64,
    orders: Vec<i64>,
    notes: Vec<i64>,
    /// Own products, and whether their price is in EUR at the moment.
    prices: Vec<(u32, bool)>,
    client: Option<Client>,
}

impl Session {
    fn new(number: usize, shared: Arc<Shared>) -> Self {
        let own = |count: u32| {
            let sessions = shared.pace.sessions.max(1);
            (1..=count).filter(move |id| usize::try_from(*id).is_ok_and(|id| id % sessions == number))
        };
        let prices = own(shared.size.products).map(|id| (id, true)).collect();
        let notes = own(shared.size.notes).map(i64::from).collect();
        let seed = 0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(u64::try_from(number).unwrap_or(0) + 1);
        Self { number, shared, random: seed, seq: 0, orders: Vec::new(), notes, prices, client: None }
    }

    fn next(&mut self, below: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        usize::try_from(self.random % u64::try_from(below.max(1)).unwrap_or(1)).unwrap_or(0)
    }

    async fn run(mut self) {
        let sessions = u32::try_from(self.shared.pace.sessions).unwrap_or(1);
        let period = Duration::from_secs(1) * sessions / self.shared.pace.rate.max(1);
        let mut tick = tokio::time::interval(period);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            if self.shared.stopping.load(Ordering::SeqCst) {
                return;
            }
            // Busy before the look at `resting`: a rest that saw nobody busy must not be overtaken.
            self.shared.busy.fetch_add(1, Ordering::SeqCst);
            if !self.shared.resting.load(Ordering::SeqCst) {
                self.transact().await;
            }
            self.shared.busy.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// One transaction, tried until it is acknowledged, its outcome is lost, or the application is to rest.
    async fn transact(&mut self) {
        let planned = self.plan();
        loop {
            let ended = self.attempt(&planned.sql).await;
            match ended {
                Ended::Acknowledged(id) => return self.acknowledged(planned, id),
                Ended::Unknown(error) => {
                    self.client = None;
                    return self.lost_track(planned, &error);
                }
                Ended::Failed(error) => {
                    self.shared.records().fail(&error);
                    if let Some(client) = self.client.take()
                        && client.batch_execute("rollback").await.is_ok()
                    {
                        self.client = Some(client);
                    }
                    if self.shared.stopping.load(Ordering::SeqCst)
                        || self.shared.resting.load(Ordering::SeqCst)
                    {
                        return self.given_up(&planned);
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
    }

    async fn attempt(&mut self, sql: &str) -> Ended {
        let client = match self.client.take() {
            Some(client) if !client.is_closed() => client,
            _ => match open(&self.shared.url).await {
                Ok(client) => client,
                Err(error) => return Ended::Failed(format!("connect: {error:#}")),
            },
        };
        let answer = tokio::time::timeout(Duration::from_secs(120), client.simple_query(sql)).await;
        let ended = match answer {
            Err(_) => return Ended::Unknown("no answer in 120 s".to_owned()),
            Ok(Ok(messages)) => Ended::Acknowledged(messages.iter().find_map(|message| match message {
                SimpleQueryMessage::Row(row) => row.get(0).and_then(|text| text.parse().ok()),
                _ => None,
            })),
            Ok(Err(error)) => match error.as_db_error() {
                // An error of class 57 or 08 may hide a commit that happened; any other was said before it.
                Some(said)
                    if !said.code().code().starts_with("57P") && !said.code().code().starts_with("08") =>
                {
                    Ended::Failed(format!("{} {}", said.code().code(), said.message()))
                }
                Some(said) => Ended::Unknown(format!("{} {}", said.code().code(), said.message())),
                None => Ended::Unknown(error.to_string()),
            },
        };
        self.client = Some(client);
        ended
    }

    fn acknowledged(&mut self, planned: Planned, id: Option<i64>) {
        let mut writes = planned.writes;
        if let Some(id) = id {
            writes.extend(planned.inserts.into_iter().map(|(table, suffix, stamp)| Write {
                table,
                key: format!("{id}{suffix}"),
                stamp: Some(stamp),
            }));
            match planned.then {
                Then::Nothing => {}
                Then::OwnOrder => self.orders.push(id),
                Then::OwnNote => self.notes.push(id),
            }
        }
        self.shared.records().acknowledge(writes);
    }

    fn lost_track(&mut self, planned: Planned, error: &str) {
        self.given_up(&planned);
        let seeded = |write: &Write| -> Stamp {
            let seeds = self.shared.size.keys(write.table);
            seeds.contains(&write.key).then(|| "seed".to_owned())
        };
        let inserted = planned.inserts.into_iter().map(|(_, _, stamp)| stamp).collect();
        let mut records = self.shared.records();
        records.fail(&format!("unknown outcome: {error}"));
        records.lose_track(planned.writes, inserted, seeded);
    }

    /// Rows of a transaction that may yet commit are never written again, so their last value stays one of two.
    fn given_up(&mut self, planned: &Planned) {
        for write in &planned.writes {
            match write.table {
                Table::Orders => self.orders.retain(|id| id.to_string() != write.key),
                Table::Notes => self.notes.retain(|id| id.to_string() != write.key),
                Table::Prices => {
                    self.prices.retain(|(id, _)| !write.key.starts_with(&format!("{id}/")));
                }
                Table::Customers | Table::Products | Table::OrderItems | Table::Events => {}
            }
        }
    }

    fn body(&mut self) -> String {
        let mut text = String::new();
        while text.len() < 6_000 {
            self.next(2);
            text.push_str(&format!("{:016x}", self.random));
        }
        text
    }

    fn plan(&mut self) -> Planned {
        self.seq += 1;
        let stamp = format!("w{}-{}", self.number, self.seq);
        let worker = self.number;
        let seq = self.seq;
        let choice = self.next(100);
        let size = self.shared.size;
        let mut planned =
            Planned { sql: String::new(), writes: Vec::new(), inserts: Vec::new(), then: Then::Nothing };
        let write = |table, key: String| Write { table, key, stamp: Some(stamp.clone()) };
        let (kind, body) = match choice {
            0..30 => {
                let customer = 1 + self.next(usize::try_from(size.customers).unwrap_or(1));
                let product = 1 + self.next(usize::try_from(size.products).unwrap_or(1));
                for (table, suffix) in
                    [(Table::Orders, ""), (Table::OrderItems, "/1"), (Table::OrderItems, "/2")]
                {
                    planned.inserts.push((table, suffix, stamp.clone()));
                }
                planned.then = Then::OwnOrder;
                (
                    "placed",
                    format!(
                        "with o as (insert into shop.orders (customer_id, total, stamp) values ({customer}, {seq}.50, '{stamp}') returning id), \
                         i as (insert into shop.order_items select o.id, l, {product}, l, '{stamp}' from o, generate_series(1, 2) l) \
                         select id from o"
                    ),
                )
            }
            30..50 if !self.orders.is_empty() => {
                let at = self.next(self.orders.len());
                let order = self.orders.get(at).copied().unwrap_or_default();
                planned.writes.push(write(Table::Orders, order.to_string()));
                (
                    "paid",
                    format!(
                        "update shop.orders set status = 'paid', total = total + 1, remark = nullif('{}', '0'), stamp = '{stamp}' where id = {order}",
                        seq % 3
                    ),
                )
            }
            50..58 if self.orders.len() > 20 => {
                let at = self.next(self.orders.len());
                let order = self.orders.swap_remove(at);
                let gone = |table, key| Write { table, key, stamp: None };
                planned.writes.push(gone(Table::Orders, order.to_string()));
                planned.writes.push(gone(Table::OrderItems, format!("{order}/1")));
                planned.writes.push(gone(Table::OrderItems, format!("{order}/2")));
                ("deleted", format!("delete from shop.orders where id = {order}"))
            }
            58..64 => {
                let body = self.body();
                planned.inserts.push((Table::Notes, "", stamp.clone()));
                planned.then = Then::OwnNote;
                (
                    "noted",
                    format!("insert into shop.notes (body, stamp) values ('{body}', '{stamp}') returning id"),
                )
            }
            64..80 if !self.notes.is_empty() => {
                let at = self.next(self.notes.len());
                let note = self.notes.get(at).copied().unwrap_or_default();
                planned.writes.push(write(Table::Notes, note.to_string()));
                let change = if choice < 68 {
                    let body = self.body();
                    format!("body = '{body}'")
                } else {
                    // The big text stays as it is: it travels as "unchanged".
                    "pinned = not pinned".to_owned()
                };
                ("annotated", format!("update shop.notes set {change}, stamp = '{stamp}' where id = {note}"))
            }
            80..88 if !self.prices.is_empty() => {
                let at = self.next(self.prices.len());
                let (product, in_euro) = self.prices.get(at).copied().unwrap_or_default();
                if let Some(price) = self.prices.get_mut(at) {
                    price.1 = !in_euro;
                }
                let (from, to) = if in_euro { ("EUR", "CHF") } else { ("CHF", "EUR") };
                planned.writes.push(Write {
                    table: Table::Prices,
                    key: format!("{product}/{from}"),
                    stamp: None,
                });
                planned.writes.push(write(Table::Prices, format!("{product}/{to}")));
                (
                    "priced",
                    format!(
                        "update shop.prices set currency = '{to}', amount = amount + 0.0001, stamp = '{stamp}' where product_id = {product} and currency = '{from}'"
                    ),
                )
            }
            _ => {
                planned.inserts.push((Table::Customers, "", stamp.clone()));
                (
                    "joined",
                    format!(
                        "insert into shop.customers (email, name, profile, tags, stamp) values ('{stamp}@example.test', 'New {stamp}', '{{\"seq\": {seq}}}', array['new', null], '{stamp}') returning id"
                    ),
                )
            }
        };
        planned.writes.push(write(Table::Events, format!("{worker}/{seq}")));
        planned.sql = format!(
            "begin; {body}; insert into shop.events (worker, seq, kind, stamp) values ({worker}, {seq}, '{kind}', '{stamp}'); commit"
        );
        planned
    }
}
