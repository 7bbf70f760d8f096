//! What GitHub knows of the repository, read at the time of use.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use journal::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::client::{Client, Failure};

/// An account.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct User {
    /// Its number.
    pub id: u64,
    /// Its name, for now.
    pub login: String,
    /// `User`, `Bot`, `Organization`.
    #[serde(rename = "type")]
    pub kind: String,
}

impl User {
    /// Whether a human speaks by it.
    #[must_use]
    pub fn is_human(&self) -> bool {
        self.kind == "User"
    }
}

/// A pull request.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Pull {
    /// Its number.
    pub number: u64,
    state: String,
    merged_at: Option<String>,
    /// Who merged it.
    pub merged_by: Option<User>,
    /// The commit that merging made.
    pub merge_commit_sha: Option<String>,
    /// Who opened it.
    pub user: Option<User>,
    head: Side,
    base: Side,
    /// When it last changed.
    pub updated_at: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Side {
    sha: String,
    #[serde(rename = "ref")]
    name: String,
    repo: Option<Repository>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Repository {
    default_branch: Option<String>,
    html_url: Option<String>,
}

impl Pull {
    /// The newest commit.
    #[must_use]
    pub fn head(&self) -> &str {
        &self.head.sha
    }

    /// Whether it was merged.
    #[must_use]
    pub const fn is_merged(&self) -> bool {
        self.merged_at.is_some()
    }

    /// When it was merged.
    #[must_use]
    pub fn merged_at(&self) -> Option<Timestamp> {
        self.merged_at.as_deref().and_then(moment)
    }

    /// Whether it was closed without being merged.
    #[must_use]
    pub fn is_dropped(&self) -> bool {
        self.state == "closed" && !self.is_merged()
    }

    /// Whether it is open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.state == "open"
    }

    /// The repository's default branch, if that is what merging it changes.
    #[must_use]
    pub fn default_branch(&self) -> Option<&str> {
        let default = self.base.repo.as_ref()?.default_branch.as_deref()?;
        (default == self.base.name).then_some(default)
    }

    /// A link to a file at its head, in Markdown.
    #[must_use]
    pub fn link(&self, path: &str) -> Option<String> {
        let repository = self.base.repo.as_ref()?.html_url.as_deref()?;
        let head = self.head();
        let short: String = head.chars().take(8).collect();
        let encoded: String = path.chars().map(encoded).collect();
        Some(format!("[`{path}` at `{short}`]({repository}/blob/{head}/{encoded})"))
    }
}

/// A review.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Review {
    /// Its number.
    pub id: u64,
    /// Whose; none: the account is gone.
    pub user: Option<User>,
    /// `APPROVED`, `CHANGES_REQUESTED`, `COMMENTED`, `DISMISSED`, `PENDING`.
    pub state: String,
    /// Its text.
    pub body: Option<String>,
    /// The commit it is about.
    pub commit_id: Option<String>,
    /// When.
    pub submitted_at: Option<String>,
}

/// A comment.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Comment {
    /// Its number.
    pub id: u64,
    /// GraphQL's name of it.
    pub node_id: String,
    /// Whose; none: the account is gone.
    pub user: Option<User>,
    /// What it says.
    pub body: Option<String>,
    /// When it was written.
    pub created_at: String,
    /// When it last changed.
    pub updated_at: String,
    html_url: String,
}

impl Comment {
    /// The number of its pull request; none if it stands in an issue.
    #[must_use]
    pub fn pull_number(&self) -> Option<u64> {
        let (_, rest) = self.html_url.rsplit_once("/pull/")?;
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok()
    }
}

/// A moment as GitHub writes it.
#[must_use]
pub fn moment(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

fn shaped<T: DeserializeOwned>(value: Value) -> Result<T, Failure> {
    serde_json::from_value(value).map_err(|error| Failure::Later {
        wait: None,
        why: format!("GitHub's answer is not as documented: {error}"),
    })
}

fn all<T: DeserializeOwned>(values: Vec<Value>) -> Result<Vec<T>, Failure> {
    values.into_iter().map(shaped).collect()
}

/// None for what is not there.
fn if_there<T>(read: Result<T, Failure>) -> Result<Option<T>, Failure> {
    match read {
        Ok(found) => Ok(Some(found)),
        Err(Failure::Missing) => Ok(None),
        Err(other) => Err(other),
    }
}

impl Client {
    /// A pull request.
    ///
    /// # Errors
    /// It cannot be read now.
    pub async fn pull(&self, number: u64) -> Result<Option<Pull>, Failure> {
        if_there(self.of_repository(&format!("/pulls/{number}")).await.and_then(shaped))
    }

    /// Reviews of a pull request, oldest first; none of a pull request that is gone.
    ///
    /// # Errors
    /// They cannot be read now.
    pub async fn reviews(&self, number: u64) -> Result<Vec<Review>, Failure> {
        let found = self.list(&format!("/pulls/{number}/reviews?direction=asc")).await.and_then(all);
        Ok(if_there(found)?.unwrap_or_default())
    }

    /// A file at a commit, never at a branch.
    ///
    /// # Errors
    /// It cannot be read now.
    pub async fn file(&self, path: &str, commit: &str) -> Result<Option<String>, Failure> {
        let encoded: String = path.chars().map(encoded).collect();
        let Some(found) = if_there(self.of_repository(&format!("/contents/{encoded}?ref={commit}")).await)?
        else {
            return Ok(None);
        };
        let content = found.get("content").and_then(Value::as_str).unwrap_or_default();
        let bytes: String = content.chars().filter(|c| !c.is_whitespace()).collect();
        let is_file = found.get("encoding").and_then(Value::as_str) == Some("base64");
        let text = STANDARD.decode(bytes).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        match text.filter(|_| is_file) {
            Some(text) => Ok(Some(text)),
            None => {
                Err(Failure::Refused(format!("{path} at {commit} is no text file of less than a megabyte")))
            }
        }
    }

    /// The newest commit of a branch.
    ///
    /// # Errors
    /// It cannot be read now.
    pub async fn newest(&self, branch: &str) -> Result<Option<String>, Failure> {
        let branch: String = branch.chars().map(encoded).collect();
        let found = match self.of_repository(&format!("/commits/{branch}")).await {
            // A branch that is not there is unprocessable.
            Err(Failure::Refused(_)) => None,
            other => if_there(other)?,
        };
        Ok(found.and_then(|commit| commit.get("sha")?.as_str().map(str::to_owned)))
    }

    /// Whether a pull request touches a file.
    ///
    /// # Errors
    /// It cannot be read now.
    pub async fn touches(&self, number: u64, path: &str) -> Result<bool, Failure> {
        let files = if_there(self.list(&format!("/pulls/{number}/files?")).await)?.unwrap_or_default();
        let is = |file: &Value, key: &str| file.get(key).and_then(Value::as_str) == Some(path);
        Ok(files.iter().any(|file| is(file, "filename") || is(file, "previous_filename")))
    }

    /// The accounts that wrote a pull request's commits, as far as GitHub knows them.
    ///
    /// # Errors
    /// They cannot be read now.
    pub async fn authors(&self, number: u64) -> Result<Vec<u64>, Failure> {
        let commits = if_there(self.list(&format!("/pulls/{number}/commits?")).await)?.unwrap_or_default();
        let mut authors: Vec<u64> =
            commits.iter().filter_map(|commit| commit.pointer("/author/id")?.as_u64()).collect();
        authors.sort_unstable();
        authors.dedup();
        Ok(authors)
    }

    /// A comment of a conversation, or of a line of a diff.
    ///
    /// # Errors
    /// It cannot be read now.
    pub async fn comment(&self, id: u64, is_on_diff: bool) -> Result<Option<Comment>, Failure> {
        let kind = if is_on_diff { "pulls" } else { "issues" };
        if_there(self.of_repository(&format!("/{kind}/comments/{id}")).await.and_then(shaped))
    }

    /// Comments that changed since a moment, of conversations or of diffs, the least recently changed first.
    ///
    /// # Errors
    /// They cannot be read now.
    pub async fn comments_since(
        &self,
        since: Timestamp,
        are_on_diffs: bool,
    ) -> Result<Vec<Comment>, Failure> {
        let kind = if are_on_diffs { "pulls" } else { "issues" };
        let rest = format!("/{kind}/comments?since={since}&sort=updated&direction=asc");
        self.list(&rest).await.and_then(all)
    }

    /// Comments in a pull request's conversation that changed since a moment.
    ///
    /// # Errors
    /// They cannot be read now.
    pub async fn conversation_since(&self, number: u64, since: Timestamp) -> Result<Vec<Comment>, Failure> {
        self.list(&format!("/issues/{number}/comments?since={since}")).await.and_then(all)
    }

    /// Pull requests that changed since a moment, whatever their state.
    ///
    /// # Errors
    /// They cannot be read now.
    pub async fn pulls_since(&self, since: Timestamp) -> Result<Vec<Pull>, Failure> {
        let mut found = Vec::new();
        for page in 1..=20 {
            let rest = format!("/pulls?state=all&sort=updated&direction=desc&per_page=100&page={page}");
            let pulls: Vec<Pull> = shaped(self.of_repository(&rest).await?)?;
            let is_last = pulls.len() < 100;
            let before = found.len();
            found.extend(
                pulls.into_iter().filter(|pull| moment(&pull.updated_at).is_none_or(|at| at >= since)),
            );
            if is_last || found.len() - before < 100 {
                break;
            }
        }
        Ok(found)
    }
}

/// A character of a path in an address.
fn encoded(c: char) -> String {
    if c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_' | '.' | '~') {
        return c.to_string();
    }
    let mut bytes = [0; 4];
    c.encode_utf8(&mut bytes).bytes().map(|byte| format!("%{byte:02X}")).collect()
}
