//! Whether a connection that is silent still works for us.
//!
//! No wait on a server is without an end or without a word. A statement may take hours, so no time limit tells a long one from
//! a dead link; the server does, asked over another connection about the process of the silent one. While it works, people
//! read for whom we wait and what that one waits for. When it has answered long ago, or knows of no question, or is itself
//! not heard any more, the connection is given up: what was under way is unknown, and found out by a probe.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use runtime::{Clock as _, SystemClock};
use tokio::sync::Mutex as Turn;
use tokio_postgres::Client;

use crate::postgres::address::ConnectError;
use crate::postgres::database::{Database, chain};
use crate::postgres::line::Pulse;

/// How often a connection is looked at.
const LOOK: Duration = Duration::from_secs(2);

/// A silence of this length is looked into, and said.
const SILENT: Duration = Duration::from_secs(5);

/// From this length on a connection is given up whose server does nothing for it.
const DEAD: Duration = Duration::from_secs(10);

/// The same where the server waits for more from us, which may be slow to come.
const UNFED: Duration = Duration::from_secs(60);

/// The same of a server that is not heard over another connection either: it may be busy.
const UNHEARD: Duration = Duration::from_secs(30);

/// The same where there is no way to the server.
const CUT_OFF: Duration = Duration::from_secs(12);

/// How long a server may take to say what it does.
const ANSWER: Duration = Duration::from_secs(4);

/// What is waited for in silence on one side. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Silences {
    said: Arc<Mutex<BTreeMap<u64, (Instant, String)>>>,
    /// Who asks the server, one at a time, and when it last did not answer.
    asking: Arc<Turn<Asking>>,
}

#[derive(Debug, Default)]
struct Asking {
    client: Option<Client>,
    unanswered: Option<(Instant, Word)>,
}

impl Silences {
    /// The longest, in words.
    pub(crate) fn longest(&self) -> Option<String> {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, what) = said.values().min_by_key(|(since, _)| *since)?;
        Some(format!("{what}, for {} s now", since.elapsed().as_secs()))
    }
}

/// One silence, as long as it lasts.
struct Said {
    silences: Silences,
    id: u64,
}

impl Said {
    fn new(silences: Silences, since: Instant, what: String) -> Self {
        let mut said = silences.said.lock().unwrap_or_else(PoisonError::into_inner);
        let id = said.last_key_value().map_or(0, |(last, _)| last + 1);
        said.insert(id, (since, what));
        drop(said);
        Self { silences, id }
    }
}

impl Drop for Said {
    fn drop(&mut self) {
        self.silences.said.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

/// What a server says of one of its processes.
#[derive(Debug, Clone)]
enum Word {
    /// It is at work, or waits for somebody; in words.
    Works(String),
    /// It has nothing to do for it; in words.
    Rests(String),
    /// It waits for more from us.
    Hungers,
    /// It does not answer; why.
    Unheard(String),
    /// Nothing gets there; why.
    CutOff(String),
}

/// Watches a connection and completes when it has to be given up, with why, for people. Whoever drives the connection
/// drops it then.
pub(crate) async fn watch(home: Database, pulse: Pulse, process: Arc<OnceLock<i32>>) -> String {
    let mut said = None;
    loop {
        SystemClock.sleep(LOOK).await;
        // While it is being made there is a time limit, and no process to ask about.
        let (Some(silent), Some(pid)) = (pulse.silent().filter(|silent| *silent >= SILENT), process.get())
        else {
            said = None;
            continue;
        };
        let word = ask(&home, *pid).await;
        // It may have come meanwhile.
        let Some(since) = pulse.silent().filter(|now| *now >= silent) else {
            said = None;
            continue;
        };
        let (limit, what) = match word {
            Word::Works(what) => (None, what),
            Word::Rests(what) => (Some(DEAD), what),
            Word::Hungers => (Some(UNFED), format!("{} waits for more data", home.named())),
            Word::Unheard(why) => (Some(UNHEARD), why),
            Word::CutOff(why) => (Some(CUT_OFF), why),
        };
        if limit.is_some_and(|limit| since >= limit) {
            return format!("{what}, and nothing was heard for {} s", since.as_secs());
        }
        drop(said.take());
        let began = Instant::now().checked_sub(since).unwrap_or_else(Instant::now);
        said = Some(Said::new(home.silences().clone(), began, what));
    }
}

async fn ask(home: &Database, pid: i32) -> Word {
    let mut asking = home.silences().asking.lock().await;
    if let Some((_, word)) = asking.unanswered.as_ref().filter(|(at, _)| at.elapsed() < ANSWER) {
        return word.clone();
    }
    let kept = asking.client.take().filter(|client| !client.is_closed());
    let asked = tokio::time::timeout(ANSWER, async {
        let client = match kept {
            Some(client) => client,
            None => connect(home).await?,
        };
        let word = look(home, &client, pid).await?;
        Ok::<_, Word>((client, word))
    });
    let word = match asked.await {
        Ok(Ok((client, word))) => {
            (asking.client, asking.unanswered) = (Some(client), None);
            return word;
        }
        Ok(Err(word)) => word,
        Err(_) => Word::Unheard(format!("{} answers no other connection either", home.named())),
    };
    asking.unanswered = Some((Instant::now(), word.clone()));
    word
}

async fn connect(home: &Database) -> Result<Client, Word> {
    let (client, connection, _) = home.line().await.map_err(|error| {
        let why = home.unreached(&error);
        match error {
            // It refuses, and so it lives: it may have as many connections as it takes.
            ConnectError::Server(error) if error.code().is_some() => Word::Works(why),
            ConnectError::Io(_) => Word::CutOff(why),
            ConnectError::Server(_) | ConnectError::Refused(_) => Word::Unheard(why),
        }
    })?;
    let home = home.clone();
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(error = %home.scrub(&chain(&error)), "the connection that asks ended");
        }
    });
    Ok(client)
}

async fn look(home: &Database, client: &Client, pid: i32) -> Result<Word, Word> {
    let sql = "select a.state, a.wait_event_type, a.wait_event, \
                      (select string_agg(format('process %s (%s)', b.pid, \
                                         coalesce(nullif(b.application_name, ''), 'unnamed')), ', ') \
                         from pg_stat_activity b where b.pid = any(pg_blocking_pids(a.pid))) \
                 from pg_stat_activity a where a.pid = $1";
    let named = home.named();
    let row = match client.query_opt(sql, &[&pid]).await {
        Ok(row) => row,
        // It answers, and does not tell: it lives.
        Err(error) if error.code().is_some() => {
            return Ok(Word::Works(home.cause("does not say what it does", &error).0));
        }
        Err(error) => return Err(Word::Unheard(home.cause("is not heard", &error).0)),
    };
    let Some(row) = row else { return Ok(Word::Rests(format!("{named} has lost the connection"))) };
    let [state, kind, event, blockers]: [Option<String>; 4] = [0, 1, 2, 3].map(|at| row.get(at));
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    Ok(match (text(&state).as_str(), text(&kind).as_str(), text(&event).as_str()) {
        ("active" | "fastpath function call", "Client", "ClientRead") => Word::Hungers,
        ("active", "Client", "ClientWrite") => {
            Word::Rests(format!("{named} has answered, and it does not arrive"))
        }
        ("active" | "fastpath function call", "Lock", _) => Word::Works(match blockers {
            Some(blockers) => format!("{named} waits for a lock of {blockers}"),
            None => format!("{named} waits for a lock"),
        }),
        ("active" | "fastpath function call", ..) => Word::Works(format!("{named} works on it")),
        (state, ..) if state.starts_with("idle") => {
            Word::Rests(format!("{named} has nothing to do for the connection"))
        }
        // A role that may not see it, or a server that does not track it.
        _ => Word::Works(format!("{named} does not say what it does")),
    })
}
