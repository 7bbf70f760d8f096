//! What people do on GitHub. Each act changes what it knows, and sends the webhook for it.

use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use super::hooks::{Attempt, Delivering, Hook, deliver};
use super::world::{Comment, Files, Pull, Review, Thread, User, World};
use super::{Github, SECRET, Shared};

/// What a reviewer chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReviewState {
    /// Approve.
    Approved,
    /// Request changes.
    ChangesRequested,
    /// Comment.
    Commented,
}

impl ReviewState {
    const fn word(self) -> &'static str {
        match self {
            Self::Approved => "APPROVED",
            Self::ChangesRequested => "CHANGES_REQUESTED",
            Self::Commented => "COMMENTED",
        }
    }
}

impl Shared {
    /// Sends a webhook as the post is set, if the App hears the event.
    pub(super) async fn send(&self, event: &'static str, body: &Value) {
        let (hook, url) = {
            let mut inner = self.lock();
            if !inner.events.contains(event) {
                return;
            }
            let hook = inner.post.hook(event, body);
            let now = inner.time();
            match inner.post.delivering {
                Delivering::Never => return,
                Delivering::Failing => return inner.post.note(&hook, None, false, &now),
                Delivering::Held => return inner.post.held.push(hook),
                Delivering::AtOnce => {}
            }
            let Some(url) = inner.post.url.clone() else { return };
            (hook, url)
        };
        self.attempt(&hook, &url, false).await;
    }

    /// Delivers once, and notes it.
    async fn attempt(&self, hook: &Hook, url: &str, is_redelivery: bool) -> Option<u16> {
        let status = deliver(&self.client, url, SECRET, hook).await;
        let mut inner = self.lock();
        let now = inner.time();
        inner.post.note(hook, status, is_redelivery, &now);
        status
    }

    /// Delivers again what an attempt of the list delivered.
    pub(super) async fn redeliver(&self, id: u64) -> Option<u16> {
        let (hook, url) = {
            let inner = self.lock();
            let attempt = inner.post.attempts.iter().find(|attempt| attempt.id == id)?;
            (attempt.hook.clone(), inner.post.url.clone()?)
        };
        self.attempt(&hook, &url, true).await
    }
}

impl Github {
    /// Webhooks go there from now on.
    pub fn deliver_to(&self, url: &str) {
        self.shared.lock().post.url = Some(url.to_owned());
    }

    /// What becomes of the next webhooks.
    pub fn delivering(&self, delivering: Delivering) {
        self.shared.lock().post.delivering = delivering;
    }

    /// Lets go what was held, in its order or the other way round. Those of later acts are delivered at once.
    pub async fn let_go(&self, is_reversed: bool) {
        let (mut held, url) = {
            let mut inner = self.shared.lock();
            inner.post.delivering = Delivering::AtOnce;
            (std::mem::take(&mut inner.post.held), inner.post.url.clone())
        };
        if is_reversed {
            held.reverse();
        }
        let Some(url) = url else { return };
        for hook in held {
            self.shared.attempt(&hook, &url, false).await;
        }
    }

    /// What is held back, oldest first.
    #[must_use]
    pub fn held(&self) -> Vec<Hook> {
        self.shared.lock().post.held.clone()
    }

    /// All attempts to deliver, oldest first.
    #[must_use]
    pub fn attempts(&self) -> Vec<Attempt> {
        self.shared.lock().post.attempts.clone()
    }

    /// The newest webhook of an event that was tried.
    ///
    /// # Errors
    /// There was none.
    pub fn newest(&self, event: &str) -> Result<Attempt> {
        let attempts = self.attempts();
        let newest = attempts.into_iter().rev().find(|attempt| attempt.hook.event == event);
        newest.with_context(|| format!("no {event} was delivered"))
    }

    /// Delivers an attempt again, under the same GUID.
    ///
    /// # Errors
    /// Nothing came back.
    pub async fn redeliver(&self, attempt: &Attempt) -> Result<u16> {
        self.shared.redeliver(attempt.id).await.context("no answer to a redelivery")
    }

    /// Makes an account.
    pub fn person(&self, login: &str, id: u64) -> u64 {
        self.world(|world| {
            world.users.insert(id, User { id, login: login.to_owned(), kind: "User" });
            world.collaborators.insert(id, "write");
        });
        id
    }

    /// Makes another App's account.
    pub fn other_bot(&self, login: &str, id: u64) -> u64 {
        self.world(|world| world.users.insert(id, User { id, login: login.to_owned(), kind: "Bot" }));
        id
    }

    async fn tell(&self, event: &'static str, make: impl FnOnce(&World) -> Value) {
        let body = self.world(|world| make(world));
        self.shared.send(event, &body).await;
    }

    fn time(&self) -> String {
        self.shared.lock().time()
    }

    /// Opens a pull request that changes these files of `main`; none takes a file away.
    pub async fn open_pull(&self, author: u64, title: &str, changes: &[(&str, Option<&str>)]) -> u64 {
        let time = self.time();
        let number = self.world(|world| {
            let number = world.issue_number();
            let base = world.main.clone();
            let head = world.change(author, &base, changes);
            let pull = Pull {
                number,
                title: title.to_owned(),
                author,
                head,
                head_branch: format!("change-{number}"),
                head_repository: Some(world.repository.clone()),
                base,
                is_open: true,
                is_draft: false,
                merged: None,
                created_at: time.clone(),
                updated_at: time,
            };
            world.pulls.insert(number, pull);
            number
        });
        self.tell("pull_request", |world| world.pull_event("opened", number, author, json!({}))).await;
        number
    }

    /// Opens an issue.
    pub fn open_issue(&self) -> u64 {
        self.world(|world| {
            let number = world.issue_number();
            world.issues.insert(number);
            number
        })
    }

    fn change_pull(&self, number: u64, change: impl FnOnce(&mut World, &mut Pull)) -> Result<()> {
        let time = self.time();
        self.world(|world| {
            let mut pull =
                world.pulls.remove(&number).with_context(|| format!("no pull request {number}"))?;
            pull.updated_at = time;
            change(world, &mut pull);
            world.pulls.insert(number, pull);
            Ok(())
        })
    }

    /// Pushes a commit to a pull request's branch; gives the new head.
    ///
    /// # Errors
    /// There is no such pull request.
    pub async fn push(&self, by: u64, number: u64, changes: &[(&str, Option<&str>)]) -> Result<String> {
        let (mut before, mut after) = (String::new(), String::new());
        self.change_pull(number, |world, pull| {
            before.clone_from(&pull.head);
            pull.head = world.change(by, &pull.head, changes);
            after.clone_from(&pull.head);
        })?;
        let own = json!({"before": before, "after": after});
        self.tell("pull_request", |world| world.pull_event("synchronize", number, by, own)).await;
        Ok(after)
    }

    /// Sets a pull request's head to a commit that is there, as a forced push does.
    ///
    /// # Errors
    /// There is no such pull request.
    pub async fn force_push(&self, by: u64, number: u64, head: &str) -> Result<()> {
        self.change_pull(number, |_, pull| head.clone_into(&mut pull.head))?;
        self.tell("pull_request", |world| world.pull_event("synchronize", number, by, json!({}))).await;
        Ok(())
    }

    /// Closes a pull request without merging it.
    ///
    /// # Errors
    /// There is no such pull request.
    pub async fn close(&self, by: u64, number: u64) -> Result<()> {
        self.change_pull(number, |_, pull| pull.is_open = false)?;
        self.tell("pull_request", |world| world.pull_event("closed", number, by, json!({}))).await;
        Ok(())
    }

    /// Opens it again.
    ///
    /// # Errors
    /// There is no such pull request.
    pub async fn reopen(&self, by: u64, number: u64) -> Result<()> {
        self.change_pull(number, |_, pull| pull.is_open = true)?;
        self.tell("pull_request", |world| world.pull_event("reopened", number, by, json!({}))).await;
        Ok(())
    }

    /// Gives it another title.
    ///
    /// # Errors
    /// There is no such pull request.
    pub async fn retitle(&self, by: u64, number: u64, title: &str) -> Result<()> {
        let mut from = String::new();
        self.change_pull(number, |_, pull| from = std::mem::replace(&mut pull.title, title.to_owned()))?;
        let own = json!({"changes": {"title": {"from": from}}});
        self.tell("pull_request", |world| world.pull_event("edited", number, by, own)).await;
        Ok(())
    }

    /// Merges it: `main` gets its files.
    ///
    /// # Errors
    /// There is no such pull request.
    pub async fn merge(&self, by: u64, number: u64) -> Result<String> {
        let mut merged = String::new();
        self.change_pull(number, |world, pull| {
            let files = world.commits.get(&pull.head).map(|commit| commit.files.clone()).unwrap_or_default();
            let main = world.main.clone();
            world.main = world.commit(by, Some(&main), files);
            merged.clone_from(&world.main);
            pull.is_open = false;
            pull.merged = Some((by, world.main.clone()));
        })?;
        self.tell("pull_request", |world| world.pull_event("closed", number, by, json!({}))).await;
        Ok(merged)
    }

    /// The repository that a pull request comes from is deleted.
    ///
    /// # Errors
    /// There is no such pull request.
    pub fn lose_head_repository(&self, number: u64) -> Result<()> {
        self.change_pull(number, |_, pull| pull.head_repository = None)
    }

    /// Writes a comment; gives its number.
    pub async fn comment(&self, by: u64, thread: Thread, text: &str) -> u64 {
        let time = self.time();
        let id = self.world(|world| {
            let comment = Comment {
                id: world.number(),
                thread,
                author: Some(by),
                body: text.to_owned(),
                created_at: time.clone(),
                updated_at: time,
                minimized: None,
                versions: vec![(Instant::now(), text.to_owned())],
                is_expected: true,
            };
            let id = comment.id;
            world.touch(thread.number(), &comment.created_at);
            world.comments.insert(id, comment);
            id
        });
        self.tell_comment("created", id, by, json!({})).await;
        id
    }

    async fn tell_comment(&self, action: &str, id: u64, by: u64, own: Value) {
        let Some(thread) = self.world(|world| world.comments.get(&id).map(|comment| comment.thread)) else {
            return;
        };
        let event = match thread {
            Thread::Diff(_) => "pull_request_review_comment",
            Thread::Pull(_) | Thread::Issue(_) => "issue_comment",
        };
        self.tell(event, |world| world.comment_event(action, id, by, own)).await;
    }

    /// Edits a comment, one's own or, with the right to write, another's.
    ///
    /// # Errors
    /// There is no such comment.
    pub async fn edit_comment(&self, by: u64, id: u64, text: &str) -> Result<()> {
        let time = self.time();
        let from = self.world(|world| {
            let comment = world.comments.get_mut(&id).with_context(|| format!("no comment {id}"))?;
            comment.versions.push((Instant::now(), text.to_owned()));
            comment.updated_at = time;
            anyhow::Ok(std::mem::replace(&mut comment.body, text.to_owned()))
        })?;
        let own = json!({"changes": {"body": {"from": from}}});
        self.tell_comment("edited", id, by, own).await;
        Ok(())
    }

    /// Deletes a comment.
    ///
    /// # Errors
    /// There is no such comment.
    pub async fn delete_comment(&self, by: u64, id: u64) -> Result<()> {
        let body = self.world(|world| {
            let thread = world.comments.get(&id).with_context(|| format!("no comment {id}"))?.thread;
            let body = world.comment_event("deleted", id, by, json!({}));
            world.comments.remove(&id);
            anyhow::Ok((thread, body))
        })?;
        let event =
            if matches!(body.0, Thread::Diff(_)) { "pull_request_review_comment" } else { "issue_comment" };
        self.shared.send(event, &body.1).await;
        Ok(())
    }

    /// Reviews a pull request at its head; gives the review's number.
    ///
    /// # Errors
    /// GitHub refuses it: nobody approves their own.
    pub async fn review(&self, by: u64, number: u64, state: ReviewState, text: &str) -> Result<u64> {
        let head = self.world(|world| world.pulls.get(&number).map(|pull| pull.head.clone()));
        self.review_at(by, number, state, text, &head.with_context(|| format!("no pull request {number}"))?)
            .await
    }

    /// Reviews a pull request at a commit, as somebody does whose page is old.
    ///
    /// # Errors
    /// GitHub refuses it: nobody approves their own.
    pub async fn review_at(
        &self,
        by: u64,
        number: u64,
        state: ReviewState,
        text: &str,
        commit: &str,
    ) -> Result<u64> {
        let time = self.time();
        let id = self.world(|world| {
            let pull = world.pulls.get(&number).with_context(|| format!("no pull request {number}"))?;
            if pull.author == by && state != ReviewState::Commented {
                bail!("422: Can not approve or request changes on your own pull request");
            }
            ensure!(
                state == ReviewState::Approved || !text.is_empty(),
                "422: a review of this kind needs a text"
            );
            let review = Review {
                id: world.number(),
                number,
                author: by,
                state: state.word(),
                body: text.to_owned(),
                commit: commit.to_owned(),
                submitted_at: time,
            };
            let id = review.id;
            world.touch(number, &review.submitted_at);
            world.reviews.insert(id, review);
            Ok(id)
        })?;
        self.tell("pull_request_review", |world| world.review_event("submitted", id, by, json!({}))).await;
        Ok(id)
    }

    fn change_review(&self, id: u64, change: impl FnOnce(&mut Review)) -> Result<()> {
        let time = self.time();
        self.world(|world| {
            let review = world.reviews.get_mut(&id).with_context(|| format!("no review {id}"))?;
            change(review);
            let number = review.number;
            world.touch(number, &time);
            Ok(())
        })
    }

    /// Dismisses a review.
    ///
    /// # Errors
    /// There is no such review.
    pub async fn dismiss(&self, by: u64, id: u64) -> Result<()> {
        self.change_review(id, |review| review.state = "DISMISSED")?;
        self.tell("pull_request_review", |world| world.review_event("dismissed", id, by, json!({}))).await;
        Ok(())
    }

    /// Edits a review's text.
    ///
    /// # Errors
    /// There is no such review.
    pub async fn edit_review(&self, by: u64, id: u64, text: &str) -> Result<()> {
        let mut from = String::new();
        self.change_review(id, |review| from = std::mem::replace(&mut review.body, text.to_owned()))?;
        let own = json!({"changes": {"body": {"from": from}}});
        self.tell("pull_request_review", |world| world.review_event("edited", id, by, own)).await;
        Ok(())
    }

    /// Presses a button of a check run.
    ///
    /// # Errors
    /// It has no such button.
    pub async fn press(&self, by: u64, check: u64, identifier: &str) -> Result<()> {
        let body = self.world(|world| {
            let check = world.checks.get(&check).with_context(|| format!("no check run {check}"))?;
            let has = check.actions.iter().any(|action| action.identifier == identifier);
            ensure!(has, "{} has no button {identifier}: {:?}", check.name, check.actions);
            let own = json!({
                "check_run": world.check(check), "requested_action": {"identifier": identifier},
            });
            Ok(world.event("requested_action", by, own))
        })?;
        self.shared.send("check_run", &body).await;
        Ok(())
    }
}

impl World {
    /// A pull request changed at that time.
    fn touch(&mut self, number: u64, time: &str) {
        if let Some(pull) = self.pulls.get_mut(&number) {
            time.clone_into(&mut pull.updated_at);
        }
    }

    fn change(&mut self, author: u64, parent: &str, changes: &[(&str, Option<&str>)]) -> String {
        let mut files: Files =
            self.commits.get(parent).map(|commit| commit.files.clone()).unwrap_or_default();
        for (path, text) in changes {
            match text {
                Some(text) => files.insert((*path).to_owned(), (*text).to_owned()),
                None => files.remove(*path),
            };
        }
        self.commit(author, Some(parent), files)
    }

    fn pull_event(&self, action: &str, number: u64, by: u64, own: Value) -> Value {
        let shown = self.pulls.get(&number).map(|pull| self.pull(pull));
        let mut event = self.event(action, by, json!({"number": number, "pull_request": shown}));
        if let (Some(event), Value::Object(own)) = (event.as_object_mut(), own) {
            event.extend(own);
        }
        event
    }

    fn comment_event(&self, action: &str, id: u64, by: u64, own: Value) -> Value {
        let Some(comment) = self.comments.get(&id) else { return Value::Null };
        let shown = self.comment(comment);
        let number = comment.thread.number();
        let of = match comment.thread {
            Thread::Diff(_) => {
                json!({"comment": shown, "pull_request": self.pulls.get(&number).map(|pull| self.pull(pull))})
            }
            Thread::Pull(_) | Thread::Issue(_) => {
                json!({"comment": shown, "issue": self.issue(comment.thread)})
            }
        };
        let mut event = self.event(action, by, of);
        if let (Some(event), Value::Object(own)) = (event.as_object_mut(), own) {
            event.extend(own);
        }
        event
    }

    fn review_event(&self, action: &str, id: u64, by: u64, own: Value) -> Value {
        let Some(review) = self.reviews.get(&id) else { return Value::Null };
        let pull = self.pulls.get(&review.number).map(|pull| self.pull(pull));
        let mut event =
            self.event(action, by, json!({"review": self.review(review, false), "pull_request": pull}));
        if let (Some(event), Value::Object(own)) = (event.as_object_mut(), own) {
            event.extend(own);
        }
        event
    }
}
