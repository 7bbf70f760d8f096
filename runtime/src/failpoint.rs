//! Places where the process kills itself, so that a test can see it resume.
//!
//! `SWITCHYARD_FAILPOINT=name` kills at the first passage of that name. `SWITCHYARD_FAILPOINT=each:FILE` kills at every
//! name that FILE does not list yet, and lists it first: a process restarted in a loop dies once at each place.
//! `each:FILE:PREFIX` does so for names with the prefix alone. The death is a real SIGKILL of the real process.
//! `stop:name` stops the process at the first passage of that name (SIGSTOP), until somebody lets it go on: a
//! process that was thought dead and comes back. It stops in no write of another of its threads to an SQLite file, which
//! would keep everybody else out for as long, and its log ends with `stopped at name`.

use std::fs::OpenOptions;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use rustix::process::{Signal, getpid, kill_process};

/// The environment variable that arms failpoints.
pub const VARIABLE: &str = "SWITCHYARD_FAILPOINT";

enum Armed {
    Never,
    At(String),
    Stop(String),
    Each { file: String, prefix: String },
}

fn armed() -> &'static Armed {
    static ARMED: OnceLock<Armed> = OnceLock::new();
    ARMED.get_or_init(|| match std::env::var(VARIABLE) {
        Ok(text) => match text.strip_prefix("each:") {
            Some(rest) => {
                let (file, prefix) = rest.split_once(':').unwrap_or((rest, ""));
                Armed::Each { file: file.to_owned(), prefix: prefix.to_owned() }
            }
            None => match text.strip_prefix("stop:") {
                Some(name) => Armed::Stop(name.to_owned()),
                None => Armed::At(text),
            },
        },
        Err(_) => Armed::Never,
    })
}

/// A place where the process may be killed. Free when nothing is armed.
pub fn hit(name: &str) {
    match armed() {
        Armed::Never => {}
        Armed::At(at) if at == name => die(),
        Armed::Stop(at) if at == name => stop_once(name),
        Armed::At(_) | Armed::Stop(_) => {}
        Armed::Each { file, prefix } => {
            // One place at a time: while one thread dies, another must not list a place that nobody died at.
            static ONE: Mutex<()> = Mutex::new(());
            let _held = ONE.lock().unwrap_or_else(PoisonError::into_inner);
            let seen = std::fs::read_to_string(file).unwrap_or_default();
            if name.starts_with(prefix.as_str()) && !seen.lines().any(|line| line == name) {
                let listed =
                    OpenOptions::new().create(true).append(true).open(file).and_then(|mut opened| {
                        writeln!(opened, "{name}")?;
                        opened.sync_all()
                    });
                if listed.is_ok() {
                    die();
                }
            }
        }
    }
}

/// Whether failpoints are armed at all, so that callers build a name only then.
#[must_use]
pub fn is_armed() -> bool {
    !matches!(armed(), Armed::Never)
}

fn stop_once(name: &str) {
    static STOPPED: AtomicBool = AtomicBool::new(false);
    if !STOPPED.swap(true, Ordering::SeqCst) {
        // Another process does it: only from outside can be seen whether all threads stand still and hold no lock.
        let pid = getpid().as_raw_nonzero().to_string();
        let stopper =
            Command::new("sh").args(["-c", STOPPER, "sh", &pid, name]).stdin(Stdio::null()).status();
        if !stopper.is_ok_and(|ended| ended.success()) {
            die();
        }
    }
}

/// Stops the process `$1`, and lets it go on for a moment as often as it stood in a lock to write, as SQLite takes one.
/// Says in the log when it stands for good.
const STOPPER: &str = r#"
while kill -STOP "$1"; do
    while grep -L '^State:[[:space:]]*T' "/proc/$1/task/"*/status | grep -q .; do :; done
    if ! grep -Eq "POSIX +[A-Z]+ +WRITE +$1 " /proc/locks; then
        echo "stopped at $2" >&2
        exit 0
    fi
    kill -CONT "$1"
    sleep 0.005
done
exit 1
"#;

fn die() {
    let _sent = kill_process(getpid(), Signal::KILL).is_ok();
    std::process::abort();
}
