//! What GitHub knows: people, one repository, its commits, pull requests, comments, reviews, checks and deployments.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest as _, Sha256};

/// Files of a commit, by path.
pub type Files = BTreeMap<String, String>;

/// An account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its number, for ever.
    pub id: u64,
    /// Its name, for now.
    pub login: String,
    /// `User`, `Bot`, `Organization`.
    pub kind: &'static str,
}

/// A commit.
#[derive(Debug, Clone)]
pub struct Commit {
    /// Everything in it.
    pub files: Files,
    /// Whose.
    pub author: u64,
    /// What it follows.
    pub parent: Option<String>,
}

/// A pull request.
#[derive(Debug, Clone)]
pub struct Pull {
    /// Its number.
    pub number: u64,
    /// Its title.
    pub title: String,
    /// Who opened it.
    pub author: u64,
    /// The newest commit.
    pub head: String,
    /// The branch it comes from.
    pub head_branch: String,
    /// The repository it comes from; none: it is gone.
    pub head_repository: Option<String>,
    /// The commit it began from.
    pub base: String,
    /// Whether it is open.
    pub is_open: bool,
    /// Whether it is a draft.
    pub is_draft: bool,
    /// Who merged it, and the commit that this made.
    pub merged: Option<(u64, String)>,
    /// When it was opened.
    pub created_at: String,
    /// When it last changed.
    pub updated_at: String,
}

/// Where a comment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Thread {
    /// In a pull request's conversation.
    Pull(u64),
    /// In an issue.
    Issue(u64),
    /// At a line of a pull request's diff.
    Diff(u64),
}

impl Thread {
    /// Its issue's or pull request's number.
    #[must_use]
    pub const fn number(self) -> u64 {
        match self {
            Self::Pull(number) | Self::Issue(number) | Self::Diff(number) => number,
        }
    }
}

/// A comment.
#[derive(Debug, Clone)]
pub struct Comment {
    /// Its number.
    pub id: u64,
    /// Where it stands.
    pub thread: Thread,
    /// Whose; none: the account was deleted.
    pub author: Option<u64>,
    /// What it says.
    pub body: String,
    /// When it was written.
    pub created_at: String,
    /// When it last changed.
    pub updated_at: String,
    /// Why it was minimised.
    pub minimized: Option<String>,
    /// Everything it ever said, oldest first, and when by the rig's clock.
    pub versions: Vec<(std::time::Instant, String)>,
    /// Whether the test expected it.
    pub is_expected: bool,
}

/// A review.
#[derive(Debug, Clone)]
pub struct Review {
    /// Its number.
    pub id: u64,
    /// Of which pull request.
    pub number: u64,
    /// Whose.
    pub author: u64,
    /// `APPROVED`, `CHANGES_REQUESTED`, `COMMENTED`, `DISMISSED`.
    pub state: &'static str,
    /// Its text.
    pub body: String,
    /// The commit it is about.
    pub commit: String,
    /// When.
    pub submitted_at: String,
}

/// A button of a check run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    /// What is on it.
    pub label: String,
    /// What it is called when it is pressed.
    pub identifier: String,
}

/// A check run.
#[derive(Debug, Clone)]
pub struct Check {
    /// Its number.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// The commit.
    pub head: String,
    /// The App's own id for it.
    pub external_id: String,
    /// `queued`, `in_progress`, `completed`.
    pub status: String,
    /// How it ended.
    pub conclusion: Option<String>,
    /// Title of its output.
    pub title: String,
    /// Summary of its output.
    pub summary: String,
    /// Text of its output.
    pub text: String,
    /// Its buttons.
    pub actions: Vec<Action>,
    /// The states it was in, oldest first: status or conclusion, and title.
    pub states: Vec<(String, String)>,
}

/// A deployment.
#[derive(Debug, Clone)]
pub struct Deployment {
    /// Its number.
    pub id: u64,
    /// The commit.
    pub sha: String,
    /// The environment.
    pub environment: String,
    /// What it is.
    pub task: String,
    /// What it says of itself.
    pub description: String,
    /// The App's own data.
    pub payload: serde_json::Value,
    /// Whether people use the environment.
    pub is_production: bool,
    /// States, oldest first: state and description.
    pub statuses: Vec<(String, String)>,
}

/// Everything.
#[derive(Debug)]
pub struct World {
    /// `owner/name`.
    pub repository: String,
    /// What it was called before.
    pub former_name: Option<String>,
    /// The repository's number.
    pub repository_id: u64,
    /// Everybody.
    pub users: BTreeMap<u64, User>,
    /// `admin`, `write`, `read`; nobody else has a permission.
    pub collaborators: BTreeMap<u64, &'static str>,
    /// The organisation's teams, by slug: their numbers and members.
    pub teams: BTreeMap<String, (u64, BTreeSet<u64>)>,
    /// All commits.
    pub commits: BTreeMap<String, Commit>,
    /// The newest commit of `main`.
    pub main: String,
    /// Pull requests by number.
    pub pulls: BTreeMap<u64, Pull>,
    /// Issues that are none.
    pub issues: BTreeSet<u64>,
    /// Comments by number.
    pub comments: BTreeMap<u64, Comment>,
    /// Reviews by number.
    pub reviews: BTreeMap<u64, Review>,
    /// Check runs by number.
    pub checks: BTreeMap<u64, Check>,
    /// Deployments by number.
    pub deployments: BTreeMap<u64, Deployment>,
    /// Comments that lists have whatever time is asked for: the list was late, or the bot was away for long.
    pub listed_late: BTreeSet<u64>,
    /// What the bot did that the real one would not take, or that a good client does not do.
    pub violations: Vec<String>,
    next: u64,
    next_number: u64,
}

/// The App's own account.
pub const APP_USER: u64 = 41_898_282;

impl World {
    /// A repository with these files in `main`.
    #[must_use]
    pub fn new(repository: &str, files: Files) -> Self {
        let mut world = Self {
            repository: repository.to_owned(),
            former_name: None,
            repository_id: 700_100,
            users: BTreeMap::new(),
            collaborators: BTreeMap::new(),
            teams: BTreeMap::new(),
            commits: BTreeMap::new(),
            main: String::new(),
            pulls: BTreeMap::new(),
            issues: BTreeSet::new(),
            comments: BTreeMap::new(),
            reviews: BTreeMap::new(),
            checks: BTreeMap::new(),
            deployments: BTreeMap::new(),
            listed_late: BTreeSet::new(),
            violations: Vec::new(),
            next: 9_000_000_000,
            next_number: 0,
        };
        let app = User { id: APP_USER, login: "switchyard[bot]".to_owned(), kind: "Bot" };
        world.users.insert(APP_USER, app);
        world.main = world.commit(APP_USER, None, files);
        world
    }

    /// A number that nothing else has. Larger than 32 bits, as the real ones are.
    pub fn number(&mut self) -> u64 {
        self.next += 17;
        self.next
    }

    /// The number of the next issue or pull request.
    pub fn issue_number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// Makes a commit.
    pub fn commit(&mut self, author: u64, parent: Option<&str>, files: Files) -> String {
        let mut digest = Sha256::new();
        digest.update(format!("{author} {parent:?} {} {files:?}", self.commits.len()));
        let sha: String = hex::encode(digest.finalize()).chars().take(40).collect();
        self.commits.insert(sha.clone(), Commit { files, author, parent: parent.map(str::to_owned) });
        sha
    }

    /// Commits of a pull request, oldest first.
    #[must_use]
    pub fn commits_of(&self, pull: &Pull) -> Vec<String> {
        let mut found = Vec::new();
        let mut at = Some(pull.head.clone());
        while let Some(sha) = at.filter(|sha| *sha != pull.base) {
            at = self.commits.get(&sha).and_then(|commit| commit.parent.clone());
            found.push(sha);
        }
        found.reverse();
        found
    }

    /// The commit that a `ref` of a request names: a commit, the main branch, a pull request's ref.
    #[must_use]
    pub fn resolve(&self, reference: Option<&str>) -> Option<String> {
        let name = reference.unwrap_or("main");
        let name = name.strip_prefix("refs/").unwrap_or(name);
        let name = name.strip_prefix("heads/").unwrap_or(name);
        if self.commits.contains_key(name) {
            return Some(name.to_owned());
        }
        if name == "main" {
            return Some(self.main.clone());
        }
        let number = name.strip_prefix("pull/").and_then(|rest| rest.strip_suffix("/head"));
        match number.and_then(|number| number.parse::<u64>().ok()) {
            Some(number) => self.pulls.get(&number).map(|pull| pull.head.clone()),
            None => self.pulls.values().find(|pull| pull.head_branch == name).map(|pull| pull.head.clone()),
        }
    }

    /// The paths that a pull request changes.
    #[must_use]
    pub fn changed(&self, pull: &Pull) -> Vec<(String, &'static str)> {
        let files = |sha: &str| self.commits.get(sha).map(|commit| commit.files.clone()).unwrap_or_default();
        let (before, after) = (files(&pull.base), files(&pull.head));
        let mut paths: BTreeSet<&String> = before.keys().collect();
        paths.extend(after.keys());
        let status = |path: &String| match (before.get(path), after.get(path)) {
            (None, Some(_)) => Some("added"),
            (Some(_), None) => Some("removed"),
            (old, new) if old != new => Some("modified"),
            _ => None,
        };
        paths.into_iter().filter_map(|path| Some((path.clone(), status(path)?))).collect()
    }
}
