//! Commands of the team's own as a lever: four programs that stop, observe, route and resume.
//!
//! They are run as they are written, without a shell, each in a process group of its own under a time limit; what is
//! over it is killed with all its children. A command's exit code is its word; what counts is what `observe` prints after
//! it. The environment carries `SWITCHYARD_MIGRATION`, `SWITCHYARD_PHASE` and, for what changes something,
//! `SWITCHYARD_EPOCH` and `SWITCHYARD_POSITION`, by which a lever that remembers the highest can refuse a late one.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use async_trait::async_trait;
use journal::{Effect, EffectSpec, Evidence, Finding, Side, Step};
use rustix::fs::{Access, access};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

use super::{Served, Standing, as_one, does_not_answer};
use crate::seams::{Acted, Authority, Cause, EffectError, Examined, Lever, Probe, Receiver, TrafficState};

/// How much of a command's output is kept.
const KEPT: usize = 4096;

/// How long output is read after the program has ended: a child of it may hold the pipe open.
const TAIL: Duration = Duration::from_millis(300);

/// What the lever is made of.
#[derive(Debug)]
pub struct Settings {
    /// Holds the traffic.
    pub stop: Vec<String>,
    /// Prints how it stands.
    pub observe: Vec<String>,
    /// Points it at the side appended.
    pub route: Vec<String>,
    /// Lets it through.
    pub resume: Vec<String>,
    /// How long one may take.
    pub timeout: Duration,
    /// What it serves.
    pub served: Served,
}

/// A lever made of commands.
#[derive(Debug)]
pub struct CommandLever {
    settings: Settings,
}

/// How a command ended, if not well.
enum Failure {
    /// It could not be started: nothing was done.
    NotStarted(String),
    /// It ended by itself and said no.
    Refused(String),
    /// It was killed at its time limit, or could not be waited for.
    Unknown(String),
}

impl Failure {
    fn words(self) -> String {
        match self {
            Self::NotStarted(why) | Self::Refused(why) | Self::Unknown(why) => why,
        }
    }
}

/// Kills a whole group when it is dropped armed.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0.take()
            && let Err(error) = kill_process_group(group, Signal::KILL)
        {
            tracing::debug!(%error, "a command's process group was gone already");
        }
    }
}

impl CommandLever {
    /// A lever. Nothing is run yet.
    #[must_use]
    pub const fn new(settings: Settings) -> Self {
        Self { settings }
    }

    /// A program of the plan's: one with a slash in its name is a path, and relative to the plan's folder.
    fn program(&self, name: &str) -> PathBuf {
        if name.contains('/') { self.settings.served.folder.join(name) } else { name.into() }
    }

    async fn run(
        &self,
        argv: &[String],
        more: Option<&str>,
        under: Option<Authority>,
    ) -> Result<String, Failure> {
        let Some((program, rest)) = argv.split_first() else {
            return Err(Failure::NotStarted("the plan names no program".to_owned()));
        };
        let shown = self.settings.served.scrubber.scrub(&argv.join(" "));
        let mut command = Command::new(self.program(program));
        command.args(rest).args(more);
        command.env("SWITCHYARD_MIGRATION", self.settings.served.migration.as_str());
        command.env("SWITCHYARD_PHASE", self.settings.served.phase.as_str());
        // Always set, so that a script under `set -u` can name them; empty where only is looked.
        let (epoch, position) =
            under.map(|under| (under.epoch.to_string(), under.position.to_string())).unwrap_or_default();
        command.env("SWITCHYARD_EPOCH", epoch).env("SWITCHYARD_POSITION", position);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0).kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| {
            Failure::NotStarted(format!("the lever's command `{shown}` cannot be started: {error}"))
        })?;
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        let mut group = Group(id.and_then(Pid::from_raw));
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let running = async {
            let reading = async { tokio::join!(gather(stdout, &mut out), gather(stderr, &mut err)) };
            tokio::pin!(reading);
            tokio::select! {
                status = child.wait() => {
                    // What is not read by then belongs to a child that lives on.
                    let _in_time = tokio::time::timeout(TAIL, &mut reading).await.is_ok();
                    status
                }
                _ = &mut reading => child.wait().await,
            }
        };
        let ended: Result<std::io::Result<ExitStatus>, _> =
            tokio::time::timeout(self.settings.timeout, running).await;
        let status = match ended {
            Err(_) => {
                drop(group);
                let why =
                    format!("the lever's command `{shown}` was killed after {:?}", self.settings.timeout);
                return Err(Failure::Unknown(why));
            }
            Ok(Err(error)) => {
                return Err(Failure::Unknown(format!("the lever's command `{shown}` was lost: {error}")));
            }
            Ok(Ok(status)) => status,
        };
        // It ended: what it left running is its own affair.
        group.0 = None;
        let text = |bytes: &[u8]| self.settings.served.scrubber.scrub(String::from_utf8_lossy(bytes).trim());
        if status.success() {
            return Ok(text(&out));
        }
        let said = if err.is_empty() { text(&out) } else { text(&err) };
        Err(Failure::Refused(format!("the lever's command `{shown}` ended with {status}: {said}")))
    }

    async fn look(&self) -> Result<TrafficState, Cause> {
        let said =
            self.run(&self.settings.observe, None, None).await.map_err(|failure| Cause(failure.words()))?;
        state(&said).ok_or_else(|| {
            Cause(format!(
                "the lever's `observe` printed `{said}`: expected source, target, held source or held target"
            ))
        })
    }

    /// The programs that a switch will call, and that cannot be called from here.
    fn lacking(&self) -> Vec<(&'static str, Finding)> {
        let Settings { stop, observe, route, resume, served, .. } = &self.settings;
        let calls = [("stop", stop), ("observe", observe), ("route", route), ("resume", resume)];
        let mut found = Vec::new();
        for (key, argv) in calls {
            let program = argv.first().map(String::as_str).unwrap_or_default();
            if !is_callable(&self.program(program)) {
                let finding = Finding {
                    code: "SW-0513".to_owned(),
                    what: format!(
                        "the lever of phase {} cannot {key}: there is no program `{}` that this process may run",
                        served.phase,
                        served.scrubber.scrub(program)
                    ),
                    remedy: format!(
                        "Put it where the plan's `{key}` says, on the machine where the executor runs, or correct the plan; \
                         then `retry`."
                    ),
                };
                found.push((key, finding));
            }
        }
        found
    }

    async fn change(&self, argv: &[String], more: Option<&str>, under: Authority) -> Acted {
        let before = self.look().await.ok();
        match self.run(argv, more, Some(under)).await {
            Ok(said) => Acted::Done(Evidence::from([("said".to_owned(), said)])),
            Err(Failure::NotStarted(why)) => Acted::Definite(EffectError(why)),
            // No, and nothing has changed: that is definite. No, and something has: only a probe can tell.
            Err(Failure::Refused(why)) if before.is_some() && self.look().await.ok() == before => {
                Acted::Definite(EffectError(why))
            }
            Err(Failure::Refused(why) | Failure::Unknown(why)) => Acted::Unknown(EffectError(why)),
        }
    }
}

/// Whether a program is there and may be run, as the system looks for it.
fn is_callable(program: &Path) -> bool {
    let may = |path: &Path| path.is_file() && access(path, Access::EXEC_OK).is_ok();
    if program.components().count() > 1 {
        return may(program);
    }
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&folders).map(|folder: PathBuf| folder.join(program));
    !program.as_os_str().is_empty() && places.any(|path| may(&path))
}

fn state(said: &str) -> Option<TrafficState> {
    let words: Vec<&str> = said.split_whitespace().collect();
    match words.as_slice() {
        ["source"] => Some(TrafficState::Source),
        ["target"] => Some(TrafficState::Target),
        ["held", "source"] => Some(TrafficState::Held(Side::Source)),
        ["held", "target"] => Some(TrafficState::Held(Side::Target)),
        _ => None,
    }
}

/// Reads to the end and keeps the beginning, so that a talkative program neither blocks nor fills the memory.
async fn gather(pipe: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) {
    let Some(mut pipe) = pipe else { return };
    let mut buffer = vec![0; KEPT];
    while let Ok(read) = pipe.read(&mut buffer).await {
        if read == 0 {
            break;
        }
        let room = KEPT.saturating_sub(kept.len()).min(read);
        kept.extend(buffer.iter().take(room));
    }
}

#[async_trait]
impl Receiver for CommandLever {
    async fn probe(&self, spec: &EffectSpec, _under: Authority) -> Probe {
        // Before anything is stopped: what the undo would need must be there, too.
        if matches!(spec.effect, Effect::ObserveTraffic { .. })
            && spec.step != Step::Undo
            && let Some(finding) = as_one(self.lacking())
        {
            return Probe::Differs(finding);
        }
        match self.look().await {
            Ok(state) => Standing::of(state).probe(spec),
            Err(cause) => Probe::Unreachable(cause),
        }
    }

    fn by_hand(&self, spec: &EffectSpec) -> Option<String> {
        let Settings { route, resume, served, .. } = &self.settings;
        let call = |argv: &[String], more: &str| {
            served.scrubber.scrub(format!("`{} {more}", argv.join(" ")).trim_end()) + "`"
        };
        match &spec.effect {
            Effect::RouteTraffic { to } | Effect::ResumeTraffic { to } => Some(format!(
                "run {}, then {}: what you do is seen, and counts",
                call(route, to.word()),
                call(resume, "")
            )),
            _ => None,
        }
    }

    async fn act(&self, spec: &EffectSpec, under: Authority) -> Acted {
        match &spec.effect {
            Effect::HoldTraffic { .. } => self.change(&self.settings.stop, None, under).await,
            Effect::RouteTraffic { to } => self.change(&self.settings.route, Some(to.word()), under).await,
            Effect::ResumeTraffic { to } => match self.look().await {
                Ok(state) if Standing::of(state).at != *to => Acted::Definite(EffectError(format!(
                    "the lever points at the {}, not at the {to}: it must be routed before it is resumed",
                    Standing::of(state).at
                ))),
                Ok(_) => self.change(&self.settings.resume, None, under).await,
                Err(cause) => Acted::Unknown(EffectError(cause.0)),
            },
            _ => {
                self.settings.served.clock.sleep(Duration::from_millis(200)).await;
                Acted::Done(Evidence::new())
            }
        }
    }
}

#[async_trait]
impl Lever for CommandLever {
    async fn observe(&self) -> Result<TrafficState, Cause> {
        self.look().await
    }

    async fn examine(&self) -> Examined {
        let mut seen = Examined { problems: self.lacking(), ..Examined::default() };
        if !seen.problems.iter().any(|(key, _)| *key == "observe") {
            match self.look().await {
                Ok(state) => seen.state = Some(state),
                Err(cause) => seen
                    .problems
                    .push(("observe", does_not_answer(&self.settings.served.phase, &cause.to_string()))),
            }
        }
        seen
    }
}
