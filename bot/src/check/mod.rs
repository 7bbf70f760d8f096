//! Every credential of the bot's file, tried: what the platforms grant of what the bot needs, permission by permission.
//!
//! Nothing is written, in no place. A platform that cannot be reached, or asks to wait, is told apart from one that refuses:
//! the one says nothing about the credential, the other does. What stands behind a missing thing is not asked for, since the
//! answer would only be that the first one is missing.

mod ask;
mod discord;
mod github;
mod slack;

use journal::plan::Platform;
use journal::{Group, PersonId, Plan};
use runtime::Scrubber;
use serde::Serialize;

use crate::config::Config;
use crate::words;
use ask::Unreachable;

/// What came of a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is as it must be.
    Right,
    /// Something is missing, or is not what the bot's file says.
    Missing,
    /// The platform did not answer.
    Unreachable,
    /// Good to know.
    Note,
}

/// One look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// Whom was asked.
    pub platform: Platform,
    /// What for, for programs: `permission:issues`, `scope:chat:write`.
    pub about: String,
    /// What came of it.
    pub verdict: Verdict,
    /// What was seen, and what to do.
    pub told: String,
}

/// All looks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The version of this shape.
    pub v: u8,
    /// Whether nothing is missing and everybody answered.
    pub ok: bool,
    /// The looks, platform by platform.
    pub seen: Vec<Seen>,
}

impl Report {
    /// Whether any look came to this.
    #[must_use]
    pub fn has(&self, verdict: Verdict) -> bool {
        self.seen.iter().any(|seen| seen.verdict == verdict)
    }
}

/// The looks at one platform.
#[derive(Debug)]
struct Looks {
    platform: Platform,
    seen: Vec<Seen>,
}

impl Looks {
    const fn at(platform: Platform) -> Self {
        Self { platform, seen: Vec::new() }
    }

    fn note(&mut self, about: impl Into<String>, verdict: Verdict, told: impl Into<String>) {
        let (about, told) = (about.into(), told.into());
        self.seen.push(Seen { platform: self.platform, about, verdict, told });
    }

    fn right(&mut self, about: impl Into<String>, told: impl Into<String>) {
        self.note(about, Verdict::Right, told);
    }

    fn missing(&mut self, about: impl Into<String>, told: impl Into<String>) {
        self.note(about, Verdict::Missing, told);
    }

    /// A group of the plan: how many are in it, or why that cannot be asked.
    fn group(&mut self, group: &Group, members: Result<usize, String>) {
        let about = format!("group:{}", group.id);
        match members {
            Ok(members) => self.right(about, words::check::group_is(group, members)),
            Err(why) => self.missing(about, words::check::group_unread(group, &why)),
        }
    }

    fn ended(mut self, ended: Result<(), Unreachable>) -> Vec<Seen> {
        if let Err(Unreachable(why)) = ended {
            let told = words::check::unreachable(self.platform, &why);
            self.note("reach", Verdict::Unreachable, told);
        }
        self.seen
    }
}

/// The persons of a plan who have an account on a platform.
fn accounts(plan: Option<&Plan>, platform: Platform) -> Vec<(&PersonId, &str)> {
    let people = plan.into_iter().flat_map(|plan| plan.people.values());
    people.filter_map(|person| Some((&person.id, person.accounts.get(&platform)?.as_str()))).collect()
}

/// The groups of a plan that are on a platform.
fn groups(plan: Option<&Plan>, platform: Platform) -> Vec<&Group> {
    let groups = plan.into_iter().flat_map(|plan| plan.groups.iter());
    groups.filter(|group| group.platform == platform).collect()
}

/// Tries everything. With a plan, its people's accounts are looked for.
pub async fn run(config: &Config, plan: Option<&Plan>) -> Report {
    let scrubber = Scrubber::default();
    config.teach(&scrubber);
    let public_url = config.http.public_url.as_deref();
    let mut seen = Vec::new();
    if let Some(github) = &config.github {
        seen.extend(github::look(github, public_url, plan).await);
    }
    if let Some(slack) = &config.slack {
        seen.extend(slack::look(slack, plan).await);
    }
    if let Some(discord) = &config.discord {
        seen.extend(discord::look(discord, public_url, plan).await);
    }
    for each in &mut seen {
        each.told = scrubber.scrub(&each.told);
    }
    let is_bad = |seen: &Seen| matches!(seen.verdict, Verdict::Missing | Verdict::Unreachable);
    Report { v: 1, ok: !seen.iter().any(is_bad), seen }
}
