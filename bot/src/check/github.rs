//! The GitHub App: its key, its installation in the repository, what it may and hears, its webhook, the plan's file.

use std::collections::BTreeMap;

use journal::Plan;
use journal::plan::Platform;
use jsonwebtoken::EncodingKey;
use octocrab::auth::create_jwt;
use octocrab::models::AppId;
use serde::Deserialize;
use serde_json::Value;

use super::ask::{Answer, Ask, Unreachable};
use super::{Looks, Seen, Verdict, accounts, groups};
use crate::config::Github;
use crate::words::check as words;

/// What the App is made from. What it asks for there is what the bot needs.
const MANIFEST: &str = include_str!("../../../config/github-app.json");

/// The permission that only a plan whose teams stand for roles needs.
const FOR_TEAMS: &str = "members";

/// How many of the newest deliveries are looked at.
const DELIVERIES: usize = 30;

#[derive(Debug, Default, Deserialize)]
struct Needs {
    #[serde(rename = "default_permissions")]
    permissions: BTreeMap<String, String>,
    #[serde(rename = "default_events")]
    events: Vec<String>,
}

/// A level of access, as a number: none, read, write, admin.
fn rank(level: Option<&str>) -> usize {
    let levels = [None, Some("read"), Some("write"), Some("admin")];
    levels.iter().position(|each| *each == level).unwrap_or(0)
}

pub(super) async fn look(github: &Github, public_url: Option<&str>, plan: Option<&Plan>) -> Vec<Seen> {
    let mut looks = Looks::at(Platform::Github);
    let ended = Look { github, public_url, plan, looks: &mut looks }.all().await;
    looks.ended(ended)
}

struct Look<'l> {
    github: &'l Github,
    public_url: Option<&'l str>,
    plan: Option<&'l Plan>,
    looks: &'l mut Looks,
}

impl Look<'_> {
    async fn all(&mut self) -> Result<(), Unreachable> {
        let github = self.github;
        let ask = Ask::new(&github.api_url)?;
        let Ok(key) = EncodingKey::from_rsa_pem(github.private_key.expose().as_bytes()) else {
            self.looks.missing("private_key", words::github_no_key());
            return Ok(());
        };
        let Ok(token) = create_jwt(AppId(github.app_id), &key) else {
            self.looks.missing("private_key", words::github_no_key());
            return Ok(());
        };
        let app_token = format!("Bearer {token}");
        let app = ask.get("/app", &app_token).await?;
        if !app.is_ok() {
            self.looks.missing("app", words::github_key_refused(github.app_id, &app.why()));
            return Ok(());
        }
        let name = app.text("/slug").unwrap_or("no name");
        self.looks.right("app", words::github_key_taken(github.app_id, name));
        self.webhook(&ask, &app_token).await?;
        let path = format!("/repos/{}/installation", github.repository);
        let installation = ask.get(&path, &app_token).await?;
        let Some(id) = installation.body.get("id").and_then(Value::as_u64).filter(|_| installation.is_ok())
        else {
            self.looks.missing("installation", words::github_not_installed(&github.repository, name));
            return Ok(());
        };
        if installation.text("/suspended_at").is_some() {
            self.looks.missing("installation", words::github_suspended(&github.repository));
            return Ok(());
        }
        self.looks.right("installation", words::github_installed(&github.repository));
        self.granted(&app, &installation);
        let given = ask.post(&format!("/app/installations/{id}/access_tokens"), &app_token).await?;
        let Some(token) = given.text("/token").filter(|_| given.is_ok()) else {
            self.looks.missing("token", words::github_no_token(&given.why()));
            return Ok(());
        };
        let token = format!("Bearer {token}");
        self.plan_file(&ask, &token).await?;
        for group in groups(self.plan, Platform::Github) {
            let (org, slug) = group.name.as_deref().and_then(|name| name.split_once('/')).unwrap_or_default();
            let team = ask.get(&format!("/orgs/{}/teams/{}", escaped(org), escaped(slug)), &token).await?;
            let number = |key: &str| team.body.get(key).and_then(Value::as_u64);
            let members = usize::try_from(number("members_count").unwrap_or(0)).unwrap_or(usize::MAX);
            self.looks.group(
                group,
                match number("id").filter(|_| team.is_ok()) {
                    Some(id) if id.to_string() == group.id => Ok(members),
                    Some(id) => Err(format!("the team of that name has the number {id}")),
                    None => Err(team.why()),
                },
            );
        }
        for (person, account) in accounts(self.plan, Platform::Github) {
            let found = ask.get(&format!("/user/{account}"), &token).await?;
            let about = format!("person:{person}");
            match found.text("/login").filter(|_| found.is_ok()) {
                Some(login) => self.looks.right(about, words::account_is(person, account, login)),
                None => self.looks.missing(about, words::account_unknown(person, account, "github")),
            }
        }
        Ok(())
    }

    /// What the installation may and hears, against what the bot needs.
    fn granted(&mut self, app: &Answer, installation: &Answer) {
        let needs: Needs = serde_json::from_str(MANIFEST).unwrap_or_default();
        let has_teams = !groups(self.plan, Platform::Github).is_empty();
        for (name, needed) in needs.permissions.iter().filter(|(name, _)| *name != FOR_TEAMS || has_teams) {
            let of = |answer: &Answer| answer.text(&format!("/permissions/{name}")).map(str::to_owned);
            let (granted, asked) = (of(installation), of(app));
            let about = format!("permission:{name}");
            if rank(granted.as_deref()) >= rank(Some(needed)) {
                self.looks.right(about, words::github_granted(name, needed));
            } else {
                let is_asked = rank(asked.as_deref()) >= rank(Some(needed));
                self.looks
                    .missing(about, words::github_not_granted(name, needed, granted.as_deref(), is_asked));
            }
        }
        let hears = |answer: &Answer, event: &str| {
            let events = answer.body.get("events").and_then(Value::as_array);
            events.is_some_and(|events| events.iter().any(|each| each.as_str() == Some(event)))
        };
        for event in &needs.events {
            let about = format!("event:{event}");
            if hears(installation, event) {
                self.looks.right(about, words::github_heard(event));
            } else {
                self.looks.missing(about, words::github_not_heard(event, hears(app, event)));
            }
        }
    }

    async fn webhook(&mut self, ask: &Ask, app_token: &str) -> Result<(), Unreachable> {
        let hook = ask.get("/app/hook/config", app_token).await?;
        let url = hook.text("/url").filter(|url| hook.is_ok() && !url.is_empty());
        match (url, self.public_url.map(|url| format!("{url}/github"))) {
            (None, _) => self.looks.missing("webhook", words::github_no_hook()),
            (Some(url), Some(wanted)) if url != wanted => {
                self.looks.missing("webhook", words::hook_elsewhere(url, &wanted));
            }
            (Some(url), Some(_)) => self.looks.right("webhook", words::hook_here(url)),
            (Some(url), None) => self.looks.note("webhook", Verdict::Note, words::hook_not_compared(url)),
        }
        if url.is_some() && hook.text("/content_type") != Some("json") {
            self.looks.missing("webhook:content_type", words::github_hook_form());
        }
        let path = format!("/app/hook/deliveries?per_page={DELIVERIES}");
        let newest = ask.get(&path, app_token).await?;
        let statuses = newest.body.as_array().map(Vec::as_slice).unwrap_or_default();
        let status = |delivery: &Value| delivery.get("status_code").and_then(Value::as_u64);
        // What was refused before the last one that was taken may have been put right since.
        let refused = statuses.iter().take_while(|each| status(each) == Some(401)).count();
        match (refused, statuses.first().and_then(status)) {
            (0, Some(200..300)) => self.looks.right("webhook:deliveries", words::github_delivered()),
            (0, _) => self.looks.note("webhook:deliveries", Verdict::Note, words::secret_untried("GitHub")),
            (refused, _) => self.looks.missing("webhook:deliveries", words::github_secret_differs(refused)),
        }
        Ok(())
    }

    async fn plan_file(&mut self, ask: &Ask, token: &str) -> Result<(), Unreachable> {
        let (repository, file) = (&self.github.repository, &self.github.plan_path);
        let found = ask.get(&format!("/repos/{repository}"), token).await?;
        let Some(branch) = found.text("/default_branch").filter(|_| found.is_ok()) else {
            self.looks.missing("repository", words::github_no_repository(repository, &found.why()));
            return Ok(());
        };
        // GitHub leads from an old name to the new one; webhooks have the new one alone.
        if let Some(name) = found.text("/full_name").filter(|name| !name.eq_ignore_ascii_case(repository)) {
            self.looks.missing("repository", words::github_renamed(repository, name));
        }
        let path: Vec<String> = file.split('/').map(escaped).collect();
        let path = format!("/repos/{repository}/contents/{}?ref={}", path.join("/"), escaped(branch));
        let plan = ask.get(&path, token).await?;
        if plan.is_ok() && plan.text("/type") == Some("file") {
            self.looks.right("plan", words::github_plan(file, branch));
        } else {
            self.looks.missing("plan", words::github_no_plan(file, branch, &plan.why()));
        }
        Ok(())
    }
}

/// A part of a path, as an address holds it.
fn escaped(part: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
    part.bytes()
        .map(|byte| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
