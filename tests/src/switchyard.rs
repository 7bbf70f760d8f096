//! The product: its binary, started, killed, stopped and asked from outside.

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::Signal;
use serde_json::Value;

use crate::events::Journal;
use crate::process::{Process, tail};
use crate::wait::{Seen, wait_until};

/// The variable that arms the product's failpoints.
const FAILPOINT: &str = "SWITCHYARD_FAILPOINT";

/// An instance, and what its socket and its log are called.
#[derive(Clone, Copy)]
struct Name<'n> {
    instance: &'n str,
    called: &'n str,
}

impl<'n> Name<'n> {
    const fn of(instance: &'n str) -> Self {
        Self { instance, called: instance }
    }
}

/// What `chat` answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Whether it exited with 0.
    pub accepted: bool,
    /// What it printed, both outputs.
    pub text: String,
}

/// The product, with its plan and its secrets' environment.
#[derive(Debug)]
pub struct Product {
    binary: PathBuf,
    dir: PathBuf,
    environment: Vec<(String, String)>,
    /// The bot's file that `serve` is started with.
    bot: Option<PathBuf>,
    /// The instance that people speak to.
    spoken_to: Mutex<String>,
    /// The journal as it was last exported, and what its file was like before that.
    exported: Mutex<Option<(FileMark, Journal)>>,
}

/// What a SQLite file and its write-ahead log are like: their lengths, and when they were written.
type FileMark = [Option<(u64, SystemTime)>; 2];

/// Within one tick of a file system's clock a file may be written twice.
const TICK: Duration = Duration::from_millis(30);

/// Where the binary is: beside the tests that run.
///
/// # Errors
/// It was not built.
pub fn binary() -> Result<PathBuf> {
    let here = std::env::current_exe()?;
    let found =
        here.ancestors().skip(1).take(3).map(|dir| dir.join("switchyard")).find(|file| file.is_file());
    found.context("the binary `switchyard` is missing beside the tests: run `cargo build -p bot`")
}

impl Product {
    /// The product in a directory that holds `plan.toml`; the journal and the socket will be there too.
    ///
    /// # Errors
    /// The binary was not built.
    pub fn new(dir: &Path, environment: Vec<(String, String)>) -> Result<Self> {
        let spoken_to = Mutex::new("a".to_owned());
        let exported = Mutex::new(None);
        Ok(Self { binary: binary()?, dir: dir.to_owned(), environment, bot: None, spoken_to, exported })
    }

    /// From now on `serve` hears the platforms of a bot's file.
    pub fn hear_with(&mut self, bot: PathBuf) {
        self.bot = Some(bot);
    }

    /// The plan's file.
    #[must_use]
    pub fn plan(&self) -> PathBuf {
        self.dir.join("plan.toml")
    }

    /// What a variable of its environment is set to.
    #[must_use]
    pub fn environment(&self, name: &str) -> Option<&str> {
        self.environment.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Has two variables of its environment change their values.
    pub fn swap(&mut self, one: &str, other: &str) {
        for (key, _) in &mut self.environment {
            if key == one {
                other.clone_into(key);
            } else if key == other {
                one.clone_into(key);
            }
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command.current_dir(&self.dir).envs(self.environment.iter().map(|(key, value)| (key, value)));
        command
    }

    /// Starts `serve` as an instance, armed with a failpoint or not.
    ///
    /// # Errors
    /// It cannot be started at all.
    pub fn serve(&self, instance: &str, failpoint: Option<&str>) -> Result<Serve> {
        self.serve_plan(instance, failpoint, &self.plan())
    }

    /// The same with another plan file.
    ///
    /// # Errors
    /// It cannot be started at all.
    pub fn serve_plan(&self, instance: &str, failpoint: Option<&str>, plan: &Path) -> Result<Serve> {
        self.start(Name::of(instance), failpoint, plan, &[])
    }

    /// The same with more arguments.
    ///
    /// # Errors
    /// It cannot be started at all.
    pub fn serve_with(&self, instance: &str, failpoint: Option<&str>, more: &[&str]) -> Result<Serve> {
        self.start(Name::of(instance), failpoint, &self.plan(), more)
    }

    /// The same instance once more, with a socket and a log of another name, as on another machine.
    ///
    /// # Errors
    /// It cannot be started at all.
    pub fn serve_as(&self, instance: &str, called: &str) -> Result<Serve> {
        self.start(Name { instance, called }, None, &self.plan(), &[])
    }

    fn start(&self, name: Name<'_>, failpoint: Option<&str>, plan: &Path, more: &[&str]) -> Result<Serve> {
        let Name { instance, called } = name;
        let socket = self.socket(called);
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(&self.binary).arg("serve");
        command.arg("--plan").arg(plan).args(["--instance", instance]);
        command.arg("--socket").arg(&socket).args(more);
        if let Some(bot) = &self.bot {
            command.arg("--bot").arg(bot);
        }
        command.current_dir(&self.dir).envs(self.environment.iter().map(|(key, value)| (key, value)));
        command.env("SWITCHYARD_LOG", std::env::var("SWITCHYARD_LOG").unwrap_or_else(|_| "info".to_owned()));
        if let Some(failpoint) = failpoint {
            command.env(FAILPOINT, failpoint);
        }
        let log = self.dir.join(format!("serve-{called}.log"));
        let process = Process::spawn(command, &format!("switchyard serve ({instance})"), &log, Signal::TERM)?;
        Ok(Serve { process, socket })
    }

    fn socket(&self, instance: &str) -> PathBuf {
        if instance == "a" {
            self.dir.join("switchyard.sock")
        } else {
            self.dir.join(format!("{instance}.sock"))
        }
    }

    async fn run(&self, mut command: Command) -> Result<(bool, String, String)> {
        command.stdin(Stdio::null());
        let what = format!("{command:?}");
        let mut command = tokio::process::Command::from(command);
        command.kill_on_drop(true);
        let output = tokio::time::timeout(Duration::from_secs(60), command.output())
            .await
            .with_context(|| format!("no end in 60 s: {what}"))??;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok((output.status.success(), text(&output.stdout), text(&output.stderr)))
    }

    /// Says something as a person.
    ///
    /// # Errors
    /// The client cannot be run.
    pub async fn chat(&self, person: &str, words: &str) -> Result<Answer> {
        self.chat_with(person, &token(person), words).await
    }

    /// Says something as a person, with any token.
    ///
    /// # Errors
    /// The client cannot be run.
    pub async fn chat_with(&self, person: &str, token: &str, words: &str) -> Result<Answer> {
        let instance = self.spoken_to.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut command = self.command();
        command.args(["chat", "--as", person, "--plan"]).arg(self.plan());
        command.arg("--socket").arg(self.socket(&instance)).arg(words);
        command.env("SWITCHYARD_TOKEN", token);
        let (accepted, out, err) = self.run(command).await?;
        Ok(Answer { accepted, text: format!("{out}{err}") })
    }

    /// Says something as a person and follows what it leads to: whether it ended as it was meant, and all that was told.
    ///
    /// # Errors
    /// The client cannot be run.
    pub async fn say_and_wait(&self, person: &str, words: &str) -> Result<(bool, String)> {
        let instance = self.spoken_to.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut command = self.command();
        command.args(["chat", "--wait", "--as", person, "--plan"]).arg(self.plan());
        command.arg("--socket").arg(self.socket(&instance)).arg(words);
        command.env("SWITCHYARD_TOKEN", token(person));
        let (accepted, out, err) = self.run(command).await?;
        Ok((accepted, format!("{out}{err}")))
    }

    /// From now on people speak to this instance.
    pub fn speak_to(&self, instance: &str) {
        instance.clone_into(&mut self.spoken_to.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// What `status --json` says.
    ///
    /// # Errors
    /// It fails, or prints no JSON.
    pub async fn status(&self) -> Result<Value> {
        let mut command = self.command();
        command.args(["status", "--json", "--plan"]).arg(self.plan());
        let (accepted, out, err) = self.run(command).await?;
        ensure!(accepted, "status failed: {out}{err}");
        serde_json::from_str(&out).with_context(|| format!("status printed {out}"))
    }

    /// What `doctor --json` says, and whether nothing disagrees.
    ///
    /// # Errors
    /// It prints no JSON.
    pub async fn doctor(&self) -> Result<(bool, Value)> {
        let mut command = self.command();
        command.args(["doctor", "--json", "--plan"]).arg(self.plan());
        let (in_order, out, err) = self.run(command).await?;
        Ok((in_order, serde_json::from_str(&out).with_context(|| format!("doctor printed {out}{err}"))?))
    }

    /// The whole journal. Who waits for an event looks often: a file that nobody has written since is not exported again.
    ///
    /// # Errors
    /// The export fails.
    pub async fn journal(&self) -> Result<Journal> {
        let mark = self.mark();
        if let (Some(mark), Some((known, journal))) = (mark, self.exported().as_ref())
            && mark == *known
        {
            return Ok(journal.clone());
        }
        let mut command = self.command();
        command.args(["journal", "export", "-", "--plan"]).arg(self.plan());
        let (accepted, out, err) = self.run(command).await?;
        ensure!(accepted, "journal export failed: {out}{err}");
        let journal = Journal::parse(&out)?;
        *self.exported() = mark.map(|mark| (mark, journal.clone()));
        Ok(journal)
    }

    fn exported(&self) -> MutexGuard<'_, Option<(FileMark, Journal)>> {
        self.exported.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// None where the journal is in no file, or was written just now.
    fn mark(&self) -> Option<FileMark> {
        let mark = ["journal.db", "journal.db-wal"].map(|name| {
            let file = std::fs::metadata(self.dir.join(name)).ok()?;
            Some((file.len(), file.modified().ok()?))
        });
        let newest = mark.iter().flatten().map(|(_, written)| *written).max()?;
        newest.elapsed().is_ok_and(|since| since > TICK).then_some(mark)
    }

    /// Makes the key that signs log checkpoints, where the plan says.
    ///
    /// # Errors
    /// It cannot be made.
    pub async fn make_key(&self) -> Result<()> {
        let mut command = self.command();
        command.args(["journal", "key", "new", "--name", "shop.switchyard", "-o", "journal.key"]);
        let (accepted, out, err) = self.run(command).await?;
        ensure!(accepted, "no key was made: {out}{err}");
        Ok(())
    }

    /// Holds the journal against every log checkpoint of the witness file; gives what is said when all agree.
    ///
    /// # Errors
    /// Something does not agree.
    pub async fn check_journal(&self) -> Result<String> {
        let mut command = self.command();
        command.args(["journal", "check", "--plan"]).arg(self.plan());
        let (accepted, out, err) = self.run(command).await?;
        ensure!(accepted, "the journal does not agree with its witness: {out}{err}");
        Ok(out.trim().to_owned())
    }

    /// Runs a verb with the plan, and with more in its environment: whether it ended with 0, and both its outputs.
    ///
    /// # Errors
    /// It cannot be run.
    pub async fn verb(&self, words: &[&str], environment: &[(&str, &str)]) -> Result<(bool, String)> {
        let mut command = self.command();
        command.args(words).arg("--plan").arg(self.plan());
        command.envs(environment.iter().copied());
        let (accepted, out, err) = self.run(command).await?;
        Ok((accepted, format!("{out}{err}")))
    }

    /// Adopts the plan file as it is now.
    ///
    /// # Errors
    /// It is refused.
    pub async fn adopt_plan(&self, person: &str) -> Result<()> {
        let mut command = self.command();
        command.args(["plan", "adopt"]).arg(self.plan());
        command.env("SWITCHYARD_AS", person).env("SWITCHYARD_TOKEN", token(person));
        let (accepted, out, err) = self.run(command).await?;
        ensure!(accepted, "the plan was not adopted: {out}{err}");
        Ok(())
    }

    /// The last lines of an instance's log.
    #[must_use]
    pub fn log_tail(&self, instance: &str, lines: usize) -> String {
        tail(&self.dir.join(format!("serve-{instance}.log")), lines)
    }

    /// Everything the product has printed and kept: logs and the exported journal, to be searched for secrets.
    ///
    /// # Errors
    /// The export fails.
    pub async fn everything_written(&self) -> Result<String> {
        let mut all = String::new();
        for entry in std::fs::read_dir(&self.dir)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "log") {
                all.push_str(&String::from_utf8_lossy(&std::fs::read(path)?));
            }
        }
        for event in self.journal().await?.events() {
            all.push_str(&event.value().to_string());
        }
        Ok(all)
    }
}

/// A person's token at the terminal.
#[must_use]
pub fn token(person: &str) -> String {
    format!("token-of-{person}-LEAK")
}

/// A running `switchyard serve`, ended when dropped.
#[derive(Debug)]
pub struct Serve {
    process: Process,
    socket: PathBuf,
}

impl Serve {
    /// Waits until it listens.
    ///
    /// # Errors
    /// It ended, or does not listen in time.
    pub async fn ready(&mut self) -> Result<()> {
        let socket = self.socket.clone();
        wait_until(Duration::from_secs(30), "`serve` to listen", async || {
            if let Some(status) = self.process.exited()? {
                bail!("`serve` ended with {status}:\n{}", self.process.log_tail(20));
            }
            Ok(match tokio::net::UnixStream::connect(&socket).await {
                Ok(_connection) => Seen::Done(()),
                Err(error) => Seen::NotYet(format!("{error}; its log ends:\n{}", self.process.log_tail(5))),
            })
        })
        .await
    }

    /// Kills it with SIGKILL, as a power cut would.
    ///
    /// # Errors
    /// It had already ended otherwise.
    pub async fn kill9(mut self) -> Result<()> {
        self.process.signal(Signal::KILL)?;
        let status = self.process.ended(Duration::from_secs(5)).await?;
        ensure!(status.signal() == Some(9), "ended with {status}, not by SIGKILL");
        Ok(())
    }

    /// Waits until a failpoint has killed it.
    ///
    /// # Errors
    /// It lives on, or ended otherwise.
    pub async fn killed_itself(mut self, within: Duration) -> Result<()> {
        let status = self.process.ended(within).await?;
        ensure!(
            status.signal() == Some(9),
            "ended with {status}, not by SIGKILL:\n{}",
            self.process.log_tail(30)
        );
        Ok(())
    }

    /// Stops it without ending it (SIGSTOP), in no write to the journal's file: everybody else would be kept out of it.
    ///
    /// # Errors
    /// It has ended, or writes without an end.
    pub async fn freeze(&self) -> Result<()> {
        const SETTLED: Duration = Duration::from_millis(5);
        wait_until(Duration::from_secs(10), "`serve` to stand still between two writes", async || {
            self.process.signal(Signal::STOP)?;
            tokio::time::sleep(SETTLED).await;
            if !self.process.writes_a_file()? {
                return Ok(Seen::Done(()));
            }
            self.process.signal(Signal::CONT)?;
            Ok(Seen::NotYet("it stood in a write".to_owned()))
        })
        .await
    }

    /// Lets it go on (SIGCONT).
    ///
    /// # Errors
    /// It has ended.
    pub fn thaw(&self) -> Result<()> {
        self.process.signal(Signal::CONT)
    }

    /// Waits until a failpoint has stopped it.
    ///
    /// # Errors
    /// It runs on, or ended.
    pub async fn stopped_itself(&mut self, within: Duration) -> Result<()> {
        wait_until(within, "`serve` to stop itself", async || {
            if let Some(status) = self.process.exited()? {
                bail!("`serve` ended with {status}:\n{}", self.process.log_tail(20));
            }
            let stands = self.process.log_tail(1).starts_with("stopped at ");
            Ok(if stands { Seen::Done(()) } else { Seen::NotYet(self.process.log_tail(10)) })
        })
        .await
    }

    /// Its exit status, if it has ended.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn exited(&mut self) -> Result<Option<ExitStatus>> {
        self.process.exited()
    }

    /// The last lines it wrote.
    #[must_use]
    pub fn log_tail(&self, lines: usize) -> String {
        self.process.log_tail(lines)
    }

    /// Asks it to end (SIGTERM), and waits until it has.
    ///
    /// # Errors
    /// It does not end in time.
    pub async fn end(mut self) -> Result<()> {
        self.process.signal(Signal::TERM)?;
        self.process.ended(Duration::from_secs(15)).await.map(drop)
    }
}
