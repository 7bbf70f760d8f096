//! Bytes that nobody meant, for everything that reads what comes from outside. No input may make a reader panic, hang, or
//! accept what it does not write back.
//!
//! A run begins with texts that are right, and changes them: bits, pieces, words that the readers know. With
//! `FUZZ_SECONDS` set (`make fuzz`) each reader gets that long, under a seed of that run; without, a fixed number of inputs
//! under a fixed seed. It is not guided by coverage: what it cannot reach in its time it does not find. An input that fails
//! is left in a file, whose name is told and which `FUZZ_REPLAY=FILE` gives to all readers again.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::cast_possible_truncation,
    reason = "tests"
)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bot::language::{Dialect, read};
use journal::predicate::Predicate;
use journal::{Plan, Recorded, to_canonical};

/// No input of a few kilobytes takes a reader longer, on a machine that does other things besides.
const PATIENCE: Duration = Duration::from_secs(20);

/// Inputs of a short run: what the readers do with them takes a second or two each.
const SHORT_RUN: usize = 1500;

/// Longer inputs are cut: the readers' own limits are tried beside this.
const LONGEST: usize = 16_384;

/// Each reader, given bytes: whether it took them. It panics where it breaks its word.
type Reader = fn(&[u8]) -> bool;

fn text(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// What a plan's reader takes, it takes again, and it means the same.
fn plan(bytes: &[u8]) -> bool {
    let text = text(bytes);
    match (Plan::parse(&text), Plan::parse(&text)) {
        (Ok(one), Ok(other)) => {
            assert_eq!(one.hash(), other.hash());
            true
        }
        (Err(problems), Err(_)) => {
            assert!(!problems.0.is_empty(), "a refusal without a reason");
            false
        }
        (Ok(_), Err(_)) | (Err(_), Ok(_)) => panic!("the same text was read twice differently"),
    }
}

/// A filter that is taken is printed as one that is taken, and printed the same.
fn predicate(bytes: &[u8]) -> bool {
    let Ok(one) = Predicate::parse(&text(bytes)) else { return false };
    let printed = one.to_string();
    let again = Predicate::parse(&printed).expect("what is printed is read again");
    assert_eq!(again.to_string(), printed);
    true
}

/// Canonical bytes of a value are the canonical bytes of themselves.
fn canonical(bytes: &[u8]) -> bool {
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(bytes) else { return false };
    let Ok(one) = to_canonical(&value) else { return false };
    let again: serde_json::Value = serde_json::from_slice(&one).expect("canonical bytes are JSON");
    assert_eq!(to_canonical(&again).expect("and have canonical bytes"), one);
    true
}

/// An event that is taken from its canonical bytes is written as those bytes.
fn event(bytes: &[u8]) -> bool {
    let Ok(one) = Recorded::from_bytes(bytes) else { return false };
    let written = one.to_bytes().expect("what was read can be written");
    let again = Recorded::from_bytes(&written).expect("what was written can be read");
    assert_eq!(again, one);
    assert_eq!(again.to_bytes().expect("again"), written);
    true
}

/// A command is printed as the line that says it.
fn language(bytes: &[u8]) -> bool {
    let text = text(bytes);
    let mut taken = false;
    for dialect in [Dialect::Terminal, Dialect::Markdown] {
        for said in read(&text, dialect).into_iter().filter_map(|heard| heard.said.ok()) {
            let line = said.to_string();
            let again = read(&line, Dialect::Terminal).pop().expect("a printed command is heard").said;
            assert_eq!(again.as_ref(), Ok(&said), "{line}");
            taken = true;
        }
    }
    taken
}

const PREDICATES: &[&str] = &[
    "region = 'a'",
    "region IN ('a', 'b') AND id > 10",
    "tenant_id BETWEEN 1 AND 9 OR deleted_at IS NULL",
    "NOT (kind <> 'x' AND price <= 1.50)",
    "\"Odd Name\" = 'it''s'",
];
const VALUES: &[&str] = &[
    r#"{"b":"1","a":[true,null,"\u0000é\ud83d\ude00"],"":{"x":"18446744073709551615"}}"#,
    r#"[[[{"z":[],"y":{},"e":"\\\"\n"}]], "9007199254740993", false]"#,
];
const EVENTS: &[&str] = &[
    r#"{"actor":{"by":"person","name":"ana"},"body":{"expires_at":"2026-01-01T04:00:00.000Z","kind":"requested","not_before":"2026-01-01T02:00:00.000Z","operation":"cutover","plan_hash":"0000000000000000000000000000000000000000000000000000000000000000","reason":"r"},"command_id":"c","event_id":"e","migration":"shop","phase":"a","position":"2","recorded_at":"2026-01-01T00:00:00.000Z","schema_version":"1"}"#,
    r#"{"actor":{"by":"executor","name":"host/main"},"body":{"kind":"effect_intended","effect":"EFFECT","operation":"9","spec":{"kind":"open_gate","side":"target"},"step":"switch_traffic","consumes":["ana","ben"]},"command_id":"c","epoch":"3","event_id":"e","migration":"shop","phase":"a","position":"41","recorded_at":"2026-01-01T00:00:00.000Z","schema_version":"1"}"#,
    r#"{"actor":{"by":"person","name":"ben"},"body":{"kind":"glass_broken","plan_hash":"0000000000000000000000000000000000000000000000000000000000000000","reason":"it burns","request":"41","review_by":"2026-01-02T00:00:00.000Z"},"command_id":"c","event_id":"e","migration":"shop","phase":"a","position":"42","recorded_at":"2026-01-01T00:00:00.000Z","schema_version":"1"}"#,
];
const LINES: &[&str] = &[
    "/migrate region-a cutover --at 2026-12-01T22:00+01:00 --within 1h30m --reason \"the quiet hour\"",
    "text\n\n/migrate approve #41\n> /migrate deny #41\n```\n/migrate status\n```\n/migrate hold --reason=“it's late”",
    "break-glass #41 —reason 'it burns'",
    "region-a failback --target-lost --confirm \"3 rows\"",
];

/// Pieces that the readers look for.
const WORDS: &[&str] = &[
    "'",
    "\"",
    "\\",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "[[phase]]",
    "=",
    "\n",
    "\r\n",
    ",",
    ":",
    "--",
    "—",
    "“",
    "#",
    "`",
    "<!--",
    "-->",
    "\u{0}",
    "\u{feff}",
    "\u{10ffff}",
    "AND",
    "OR",
    "NOT",
    "NULL",
    "IN",
    "BETWEEN",
    "18446744073709551616",
    "-1",
    "1e999",
    "0x",
    "9999-12-31T23:59:59.999999999Z",
    "T",
    "Z",
    "+99:99",
    "null",
    "true",
    "\\ud800",
    "kind",
    "/migrate",
    "*",
    "..",
    "'''",
];

/// xorshift64*: enough to change texts by, and the same for everybody.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, most: usize) -> usize {
        (self.next() % most.max(1) as u64) as usize
    }

    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let from = self.below(length + 1);
        let most = 1 + self.below(64);
        from..(from + self.below(most + 1)).min(length)
    }
}

fn changed(dice: &mut Dice, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = corpus[dice.below(corpus.len())].clone();
    for _ in 0..=dice.below(6) {
        match dice.below(7) {
            0 if !bytes.is_empty() => {
                let at = dice.below(bytes.len());
                bytes[at] ^= 1 << dice.below(8);
            }
            1 => {
                let range = dice.range(bytes.len());
                bytes.drain(range);
            }
            2 => {
                let (at, word) = (dice.below(bytes.len() + 1), WORDS[dice.below(WORDS.len())]);
                bytes.splice(at..at, word.bytes());
            }
            3 => {
                let other = &corpus[dice.below(corpus.len())];
                let piece = other[dice.range(other.len())].to_vec();
                let range = dice.range(bytes.len());
                bytes.splice(range, piece);
            }
            4 => {
                let piece = bytes[dice.range(bytes.len())].to_vec();
                let at = dice.below(bytes.len() + 1);
                bytes.splice(at..at, piece.repeat(1 + dice.below(40)));
            }
            5 => {
                let at = dice.below(bytes.len() + 1);
                bytes.insert(at, dice.next() as u8);
            }
            _ => bytes.truncate(dice.below(bytes.len() + 1)),
        }
    }
    bytes.truncate(LONGEST);
    bytes
}

/// Keeps what failed, for `FUZZ_REPLAY`.
fn keep(name: &str, bytes: &[u8]) -> String {
    let file = std::env::temp_dir().join(format!("switchyard-fuzz-{name}-{}", std::process::id()));
    std::fs::write(&file, bytes).unwrap();
    file.display().to_string()
}

fn fuzz(name: &'static str, reader: Reader, corpus: Vec<Vec<u8>>) {
    let seconds =
        std::env::var("FUZZ_SECONDS").ok().map(|text| text.parse::<u64>().expect("FUZZ_SECONDS is a number"));
    let replay =
        std::env::var("FUZZ_REPLAY").ok().map(|file| std::fs::read(file).expect("FUZZ_REPLAY can be read"));
    for bytes in &corpus {
        assert!(reader(bytes), "{name}: what the run begins with is right: {}", text(bytes));
    }
    if let Some(bytes) = replay {
        reader(&bytes);
        return;
    }
    let seed = match seconds {
        Some(_) => SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64 | 1,
        None => 0x5eed,
    };
    // The reader has a thread of its own, so that one that hangs is seen.
    let (send, receive) = channel::<Vec<u8>>();
    let (answer, answers) = channel();
    let worker = std::thread::spawn(move || {
        for bytes in receive {
            let ended = catch_unwind(AssertUnwindSafe(|| reader(&bytes)));
            if answer.send(ended.ok()).is_err() {
                return;
            }
        }
    });
    let (mut dice, began) = (Dice(seed), Instant::now());
    let (mut tried, mut taken) = (0_usize, 0_usize);
    while seconds.map_or(tried < SHORT_RUN, |seconds| began.elapsed() < Duration::from_secs(seconds)) {
        let bytes = changed(&mut dice, &corpus);
        send.send(bytes.clone()).unwrap();
        match answers.recv_timeout(PATIENCE) {
            Ok(Some(is_taken)) => taken += usize::from(is_taken),
            Ok(None) => panic!("{name} panicked; the input is in {}", keep(name, &bytes)),
            Err(RecvTimeoutError::Timeout) => panic!("{name} hangs; the input is in {}", keep(name, &bytes)),
            Err(RecvTimeoutError::Disconnected) => {
                panic!("{name} died; the input is in {}", keep(name, &bytes))
            }
        }
        tried += 1;
    }
    drop(send);
    worker.join().unwrap();
    eprintln!("{name}: {tried} inputs, {taken} of them taken, seed {seed:#x}, {:?}", began.elapsed());
    assert!(tried > 0 && taken < tried, "{name}: something is refused");
}

fn texts(seeds: &[&str]) -> Vec<Vec<u8>> {
    seeds.iter().map(|seed| seed.as_bytes().to_vec()).collect()
}

#[test]
fn plans() {
    fuzz(
        "plan",
        plan,
        texts(&[include_str!("../../config/plan.example.toml"), include_str!("../../config/plan.full.toml")]),
    );
}

#[test]
fn predicates() {
    fuzz("predicate", predicate, texts(PREDICATES));
}

#[test]
fn canonical_json() {
    fuzz("canonical", canonical, texts(VALUES));
}

#[test]
fn events() {
    let id = journal::EffectId::of(b"an effect").to_string();
    let events: Vec<String> = EVENTS.iter().map(|event| event.replace("EFFECT", &id)).collect();
    fuzz("event", event, events.into_iter().map(String::into_bytes).collect());
}

#[test]
fn commands() {
    fuzz("language", language, texts(LINES));
}
