//! Child processes that never outlive the test that started them.
//!
//! What can go wrong: a test panics, or is itself killed, and its servers stay. A [`Process`] is stopped when it is
//! dropped (which a panic does), and asks the kernel to be signalled when its parent dies (which covers the rest).

use std::fs::{File, OpenOptions};
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};

/// Whether the rig runs as root, which PostgreSQL and pgbouncer refuse to do.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A command that runs as the servers' user and is signalled when the rig dies.
pub(crate) fn server_command(program: &Path, death: &str, dir: &Path) -> Command {
    let mut command = Command::new("setpriv");
    if is_root() {
        command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]);
    }
    command.arg("--pdeathsig").arg(death).arg("--").arg(program).current_dir(dir).env("LC_ALL", "C.UTF-8");
    command
}

/// A directory of its own that the servers' user may write.
pub(crate) fn server_dir(name: &str) -> Result<tempfile::TempDir> {
    let dir = tempfile::Builder::new().prefix(&format!("switchyard-{name}-")).tempdir()?;
    if is_root() {
        give(dir.path())?;
    }
    Ok(dir)
}

/// Makes a path the servers' user's own, when the rig runs as root.
pub(crate) fn give(path: &Path) -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let passwd = std::fs::read_to_string("/etc/passwd").context("/etc/passwd")?;
    let line = passwd
        .lines()
        .find(|line| line.starts_with("postgres:"))
        .ok_or_else(|| anyhow!("there is no user postgres: run `make setup`"))?;
    let mut fields = line.split(':').skip(2);
    let mut id = || fields.next().and_then(|text| text.parse::<u32>().ok());
    let (uid, gid) = (id(), id());
    std::os::unix::fs::chown(path, uid, gid).with_context(|| format!("chown {}", path.display()))
}

/// A port that nobody listens on, with three behind it that are this caller's too.
///
/// Scenarios run side by side, and a server binds its port later than it is chosen. So it is none of those that the kernel
/// gives to outgoing connections, every process has a stretch of its own, and no number is given twice.
pub(crate) fn free_port() -> Result<u16> {
    const FIRST: u16 = 10_000;
    const STRETCH: u16 = 250;
    const STRETCHES: u32 = 88;
    static GIVEN: AtomicU16 = AtomicU16::new(0);
    let stretch = u16::try_from(std::process::id() % STRETCHES)?;
    for _ in 0..STRETCH {
        let port = FIRST + stretch * STRETCH + GIVEN.fetch_add(4, Ordering::Relaxed) % STRETCH;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("all ports from {} on are taken", FIRST + stretch * STRETCH)
}

/// A program by name, in the usual places.
///
/// # Errors
/// It is not installed.
pub fn find_program(name: &str) -> Result<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let places = ["/usr/lib/postgresql/15/bin", "/usr/sbin", "/usr/bin", "/usr/local/bin"];
    places
        .into_iter()
        .chain(path.split(':'))
        .map(|place| Path::new(place).join(name))
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| anyhow!("`{name}` is missing: run `make setup`"))
}

/// A running child.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
    stop: Signal,
    log: PathBuf,
}

impl Process {
    /// Starts a child in a process group of its own; both its outputs go to the log, at its end.
    pub(crate) fn spawn(mut command: Command, name: &str, log: &Path, stop: Signal) -> Result<Self> {
        let out: File = OpenOptions::new().create(true).append(true).open(log)?;
        let err = out.try_clone()?;
        let child = command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        Ok(Self { child, name: name.to_owned(), stop, log: log.to_owned() })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its exit status, if it has ended.
    pub fn exited(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("waiting for {}", self.name))
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| anyhow!("{} has no process id", self.name))?;
        kill_process(pid, signal).with_context(|| format!("signalling {}", self.name))
    }

    /// Sends it and its own children a signal.
    pub(crate) fn signal_all(&self, signal: Signal) -> Result<()> {
        let children = children_of(self.child.id());
        self.signal(signal)?;
        for child in children.into_iter().filter_map(|child| Pid::from_raw(i32::try_from(child).ok()?)) {
            // It may have gone with its parent.
            kill_process(child, signal).ok();
        }
        Ok(())
    }

    /// Whether it holds a lock to write a file, as SQLite takes one.
    pub(crate) fn writes_a_file(&self) -> Result<bool> {
        let pid = self.child.id().to_string();
        Ok(std::fs::read_to_string("/proc/locks")?.lines().any(|line| {
            let mut words = line.split_whitespace();
            words.any(|word| word == "POSIX") && words.nth(1) == Some("WRITE") && words.next() == Some(&pid)
        }))
    }

    /// Waits for its end.
    pub async fn ended(&mut self, within: Duration) -> Result<ExitStatus> {
        let until = Instant::now() + within;
        loop {
            if let Some(status) = self.exited()? {
                return Ok(status);
            }
            if Instant::now() > until {
                bail!("{} still runs after {within:?}; its log ends:\n{}", self.name, self.log_tail(30));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The last lines it wrote.
    #[must_use]
    pub fn log_tail(&self, lines: usize) -> String {
        tail(&self.log, lines)
    }
}

/// The last lines of a file.
pub(crate) fn tail(file: &Path, lines: usize) -> String {
    let text =
        std::fs::read(file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all.get(all.len().saturating_sub(lines)..).unwrap_or_default().join("\n")
}

/// The children of a process, by `/proc`.
fn children_of(pid: u32) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter(|candidate| {
            let stat = std::fs::read_to_string(format!("/proc/{candidate}/stat")).unwrap_or_default();
            // The name in parentheses may hold anything; what follows it is: state, parent.
            let parent = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1));
            parent.and_then(|text| text.parse::<u32>().ok()) == Some(pid)
        })
        .collect()
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        // A stopped process acts on nothing but SIGKILL.
        self.signal(Signal::CONT).ok();
        self.signal(self.stop).ok();
        let until = Instant::now() + Duration::from_secs(4);
        while Instant::now() < until {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        for child in children_of(self.child.id()) {
            if let Some(pid) = i32::try_from(child).ok().and_then(Pid::from_raw) {
                kill_process(pid, Signal::KILL).ok();
            }
        }
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
