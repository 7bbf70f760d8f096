//! The Slack app: its token, its workspace, its scopes, its channels.

use std::collections::BTreeSet;

use journal::Plan;
use journal::plan::Platform;
use serde_json::Value;

use super::ask::{Answer, Ask, Unreachable};
use super::{Looks, Seen, Verdict, accounts, groups};
use crate::config::Slack;
use crate::words::check as words;

/// What the bot's token must be allowed.
pub(super) const SCOPES: &[&str] =
    &["commands", "chat:write", "app_mentions:read", "channels:history", "users:read"];

/// What it must be allowed where groups stand for roles.
const GROUPS_SCOPE: &str = "usergroups:read";

pub(super) async fn look(slack: &Slack, plan: Option<&Plan>) -> Vec<Seen> {
    let mut looks = Looks::at(Platform::Slack);
    let ended = all(slack, plan, &mut looks).await;
    looks.ended(ended)
}

/// Slack answers 200 also to what it refuses: the error's name, then.
fn refusal(answer: &Answer) -> Option<String> {
    match answer.body.get("ok").and_then(Value::as_bool) {
        Some(true) => None,
        _ => Some(answer.text("/error").map_or_else(|| answer.why(), str::to_owned)),
    }
}

async fn all(slack: &Slack, plan: Option<&Plan>, looks: &mut Looks) -> Result<(), Unreachable> {
    let ask = Ask::new(&slack.api_url)?;
    let token = format!("Bearer {}", slack.bot_token.expose());
    let test = ask.post("/auth.test", &token).await?;
    if let Some(why) = refusal(&test) {
        looks.missing("bot_token", words::slack_token_refused(&why));
        return Ok(());
    }
    let (team, user) = (test.text("/team").unwrap_or_default(), test.text("/user").unwrap_or_default());
    if test.text("/bot_id").is_none() {
        looks.missing("bot_token", words::slack_no_bot(user));
        return Ok(());
    }
    looks.right("bot_token", words::slack_token_taken(user, team));
    let is = [test.text("/team_id"), test.text("/enterprise_id")];
    if is.contains(&Some(slack.team.as_str())) {
        looks.right("team", words::slack_team(&slack.team));
    } else {
        let is = is.into_iter().flatten().next().unwrap_or("no id");
        looks.missing("team", words::slack_other_team(&slack.team, is));
    }
    let groups = groups(plan, Platform::Slack);
    let asks_groups = (!groups.is_empty()).then_some(GROUPS_SCOPE);
    scopes(&test, asks_groups, looks);
    for channel in &slack.channels {
        // What is read is thrown away: that it may be read is what is asked.
        let history = ask.get(&format!("/conversations.history?channel={channel}&limit=1"), &token).await?;
        let about = format!("channel:{channel}");
        match refusal(&history).as_deref() {
            None => looks.right(about, words::slack_channel(channel)),
            Some("missing_scope") => {
                let needed = history.text("/needed").unwrap_or("channels:history or groups:history");
                looks.missing(about, words::slack_channel_scope(channel, needed));
            }
            Some(why) => looks.missing(about, words::slack_no_channel(channel, why)),
        }
    }
    for (person, account) in accounts(plan, Platform::Slack) {
        let Some((_, user)) = account.split_once('/') else { continue };
        let found = ask.get(&format!("/users.info?user={user}"), &token).await?;
        let about = format!("person:{person}");
        let is = |flag: &str| found.body.pointer(flag).and_then(Value::as_bool) == Some(true);
        let is_nobody = is("/user/deleted") || is("/user/is_bot");
        match found.text("/user/name").filter(|_| refusal(&found).is_none() && !is_nobody) {
            Some(name) => looks.right(about, words::account_is(person, account, name)),
            None => looks.missing(about, words::account_unknown(person, account, "slack")),
        }
    }
    for group in groups {
        let id = group.id.split_once('/').map_or(group.id.as_str(), |(_, id)| id);
        let found = ask.get(&format!("/usergroups.users.list?usergroup={id}"), &token).await?;
        let count = found.body.get("users").and_then(Value::as_array).map_or(0, Vec::len);
        looks.group(group, refusal(&found).map_or(Ok(count), Err));
    }
    looks.note("signing_secrets", Verdict::Note, words::secret_untried("Slack"));
    Ok(())
}

fn scopes(test: &Answer, asks_groups: Option<&'static str>, looks: &mut Looks) {
    let header = test.headers.get("x-oauth-scopes").and_then(|value| value.to_str().ok());
    let Some(header) = header else {
        looks.note("scopes", Verdict::Note, words::slack_scopes_untold());
        return;
    };
    let granted: BTreeSet<&str> = header.split(',').map(str::trim).collect();
    for scope in SCOPES.iter().copied().chain(asks_groups) {
        let about = format!("scope:{scope}");
        if granted.contains(scope) {
            looks.right(about, words::slack_scope(scope));
        } else {
            looks.missing(about, words::slack_no_scope(scope));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    const MANIFEST: &str = include_str!("../../../config/slack-app.json");
    const PAGE: &str = include_str!("../../../docs/slack.md");

    /// The manifest asks for what is looked for and no more, and the page explains all of it.
    #[test]
    fn the_manifest_is_what_the_bot_uses() {
        let manifest: Value = serde_json::from_str(MANIFEST).unwrap();
        let list = |pointer: &str| -> BTreeSet<String> {
            let found = manifest.pointer(pointer).and_then(Value::as_array).unwrap();
            found.iter().map(|one| one.as_str().unwrap().to_owned()).collect()
        };
        let scopes = list("/oauth_config/scopes/bot");
        let asked = super::SCOPES.iter().chain([&super::GROUPS_SCOPE]);
        assert_eq!(scopes, asked.map(ToString::to_string).collect());
        let events = list("/settings/event_subscriptions/bot_events");
        assert_eq!(events, BTreeSet::from(["app_home_opened".to_owned(), "app_mention".to_owned()]));
        for named in scopes.iter().chain(&events) {
            assert!(PAGE.contains(&format!("| `{named}` |")), "docs/slack.md does not explain {named}");
        }
    }
}
