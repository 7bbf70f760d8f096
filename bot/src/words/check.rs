//! What `switchyard bot check` says: what a platform grants, what is missing, and where that is put right.

use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;

use journal::plan::Platform;
use journal::{Group, PersonId};

use super::place;
use crate::check::{Report, Verdict};
use crate::conversation::role_word;

/// An error with what caused it, without what the next one repeats.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut told = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let next_told = next.to_string();
        if !told.contains(&next_told) {
            told.push_str(": ");
            told.push_str(&next_told);
        }
        cause = next.source();
    }
    told
}

/// A platform did not answer.
pub(crate) fn unreachable(platform: Platform, why: &str) -> String {
    format!(
        "{} did not answer ({why}): nothing is known of what was not asked yet. Try again, or see to the network and `api_url`",
        place(platform)
    )
}

/// A secret that only the platform can try.
pub(crate) fn secret_untried(platform: &str) -> String {
    format!(
        "whether what {platform} signs with is what the bot's file points at cannot be asked: say `/migrate whoami` there; \
         with the wrong one the bot's log says that a request was not believed"
    )
}

/// Where requests go is where the bot is.
pub(crate) fn hook_here(url: &str) -> String {
    format!("requests are sent to {url}")
}

/// Requests go somewhere else.
pub(crate) fn hook_elsewhere(url: &str, wanted: &str) -> String {
    format!(
        "requests are sent to {url}, and the bot's `public_url` makes it {wanted}: correct one of the two"
    )
}

/// There is nothing to compare it with.
pub(crate) fn hook_not_compared(url: &str) -> String {
    format!("requests are sent to {url}; the bot's file has no `public_url` to compare it with")
}

/// A person's account is there.
pub(crate) fn account_is(person: &PersonId, account: &str, name: &str) -> String {
    format!("{person}'s account {account} is called {name} there")
}

/// A person's account is not there.
pub(crate) fn account_unknown(person: &PersonId, account: &str, key: &str) -> String {
    format!(
        "{person}'s account {account} is nobody's there who could speak: correct `{key}` in their [[person]] of the plan"
    )
}

/// A group that stands for a role is there.
pub(crate) fn group_is(group: &Group, members: usize) -> String {
    let plural = if members == 1 { "member" } else { "members" };
    format!(
        "{} can be asked who has the role {}: {members} {plural}",
        super::group(group),
        role_word(group.role)
    )
}

/// A group that stands for a role cannot be asked.
pub(crate) fn group_unread(group: &Group, why: &str) -> String {
    format!(
        "{} cannot be asked who has the role {} ({why}): nobody has it by this group. Correct the plan's [[group]], or what \
         the app may",
        super::group(group),
        role_word(group.role)
    )
}

pub(crate) fn github_no_key() -> &'static str {
    "`private_key` holds no RSA key in PEM: download one from the App's settings, under Private keys"
}

pub(crate) fn github_key_refused(app: u64, why: &str) -> String {
    format!(
        "GitHub does not take the key for App {app} ({why}): `app_id` and `private_key` are of two Apps, the key was deleted, \
         or this machine's clock is wrong"
    )
}

pub(crate) fn github_key_taken(app: u64, name: &str) -> String {
    format!("App {app} is {name}, and GitHub takes its key")
}

pub(crate) fn github_not_installed(repository: &str, name: &str) -> String {
    format!(
        "the App is not installed in {repository}: install {name} there, from the App's settings under Install App"
    )
}

pub(crate) fn github_suspended(repository: &str) -> String {
    format!("the App's installation in {repository} is suspended: somebody who owns it has to lift that")
}

pub(crate) fn github_installed(repository: &str) -> String {
    format!("it is installed in {repository}")
}

pub(crate) fn github_no_token(why: &str) -> String {
    format!("GitHub gives no token for the installation ({why})")
}

/// What a permission is for.
fn purpose(permission: &str) -> &'static str {
    match permission {
        "metadata" => "to see the repository",
        "contents" => "to read the plan at a pull request's head",
        "pull_requests" => "to see pull requests, their heads and reviews, and to comment in them",
        "issues" => "to comment, and to find what was not delivered",
        "checks" => "for the check of each operation, with its buttons",
        "deployments" => "for the history of each phase",
        "members" => "for teams that stand for roles",
        _ => "as the App's manifest asks for it",
    }
}

pub(crate) fn github_granted(name: &str, level: &str) -> String {
    format!("permission {name}: {level}, {}", purpose(name))
}

pub(crate) fn github_not_granted(name: &str, needed: &str, granted: Option<&str>, is_asked: bool) -> String {
    let granted = granted.unwrap_or("nothing");
    let remedy = if is_asked {
        "the App asks for it, and an owner has not accepted that yet: they find it under Installed GitHub Apps"
    } else {
        "ask for it in the App's settings, under Permissions, and let an owner accept it"
    };
    format!("permission {name}: {needed}, {}; granted is {granted}: {remedy}", purpose(name))
}

pub(crate) fn github_heard(event: &str) -> String {
    format!("event {event}")
}

pub(crate) fn github_not_heard(event: &str, is_asked: bool) -> String {
    if is_asked {
        format!(
            "event {event}: the App subscribes to it, and the installation does not yet: accept its new permissions"
        )
    } else {
        format!(
            "event {event} is not subscribed to: tick it in the App's settings, under Subscribe to events"
        )
    }
}

pub(crate) fn github_no_hook() -> &'static str {
    "the App has no webhook: activate it in the App's settings, with the URL public_url/github"
}

pub(crate) fn github_hook_form() -> &'static str {
    "the webhook's content type is not application/json: the bot reads nothing else"
}

pub(crate) fn github_delivered() -> &'static str {
    "the newest delivery arrived, and the bot believed its signature"
}

pub(crate) fn github_secret_differs(refused: usize) -> String {
    format!(
        "the newest {refused} of GitHub's deliveries were answered with 401: the webhook's secret in the App's settings is \
         none of `webhook_secrets`"
    )
}

pub(crate) fn github_no_repository(repository: &str, why: &str) -> String {
    format!("{repository} cannot be read ({why})")
}

pub(crate) fn github_renamed(repository: &str, name: &str) -> String {
    format!(
        "{repository} is called {name} by now, and its webhooks say so: put that into `repository` in the bot's file"
    )
}

pub(crate) fn github_plan(file: &str, branch: &str) -> String {
    format!("the plan is at {file} on {branch}")
}

pub(crate) fn github_no_plan(file: &str, branch: &str, why: &str) -> String {
    format!(
        "{file} is not on {branch} ({why}): merge the plan there, or correct `plan_path`. Until then no request can be made \
         in a pull request that does not bring it"
    )
}

pub(crate) fn slack_token_refused(why: &str) -> String {
    format!(
        "Slack does not take `bot_token` ({why}): take the one under OAuth & Permissions, after the app is installed"
    )
}

pub(crate) fn slack_no_bot(user: &str) -> String {
    format!("`bot_token` is a person's ({user}), not the bot's: take the one that begins with xoxb-")
}

pub(crate) fn slack_token_taken(user: &str, team: &str) -> String {
    format!("Slack takes the token: the bot is {user} of {team}")
}

pub(crate) fn slack_team(team: &str) -> String {
    format!("the workspace is {team}")
}

pub(crate) fn slack_other_team(wanted: &str, is: &str) -> String {
    format!("`team` is {wanted}, and the token is of {is}: whatever is said there would not be heard")
}

/// What a scope is for.
fn slack_purpose(scope: &str) -> &'static str {
    match scope {
        "commands" => "for /migrate",
        "chat:write" => "to answer",
        "app_mentions:read" => "to be asked in threads",
        "channels:history" => "to find its own messages after an interruption",
        "users:read" => "to know who is a guest, a program, or gone",
        "usergroups:read" => "for groups that stand for roles",
        _ => "",
    }
}

pub(crate) fn slack_scope(scope: &str) -> String {
    format!("scope {scope}, {}", slack_purpose(scope))
}

pub(crate) fn slack_no_scope(scope: &str) -> String {
    format!(
        "scope {scope}, {}: add it under OAuth & Permissions, and install the app again",
        slack_purpose(scope)
    )
}

pub(crate) fn slack_scopes_untold() -> &'static str {
    "Slack's answer does not tell the token's scopes"
}

pub(crate) fn slack_channel(channel: &str) -> String {
    format!("channel {channel} can be read")
}

pub(crate) fn slack_channel_scope(channel: &str, needed: &str) -> String {
    format!("channel {channel} cannot be read: the scope {needed} is missing")
}

pub(crate) fn slack_no_channel(channel: &str, why: &str) -> String {
    let remedy = match why {
        "not_in_channel" => "invite the bot there, with /invite",
        "channel_not_found" => "correct `channels`, or, if it is private, invite the bot there",
        _ => "see to it in Slack",
    };
    format!("channel {channel} cannot be used ({why}): {remedy}")
}

pub(crate) fn discord_token_refused(why: &str) -> String {
    format!(
        "Discord does not take `bot_token` ({why}): reset it in the developer portal, under Bot, and take the new one"
    )
}

pub(crate) fn discord_token_taken(name: &str) -> String {
    format!("Discord takes the token: the application is {name}")
}

pub(crate) fn discord_application(id: &str) -> String {
    format!("its id is {id}")
}

pub(crate) fn discord_other_application(wanted: &str, is: &str) -> String {
    format!("`application_id` is {wanted}, and the token is of {is}")
}

pub(crate) fn discord_key() -> &'static str {
    "`public_key` is what Discord signs for"
}

pub(crate) fn discord_other_key(is: &str) -> String {
    format!("`public_key` is another application's: Discord's is {is}")
}

pub(crate) fn discord_no_endpoint(wanted: Option<&str>) -> String {
    let wanted = wanted.unwrap_or("public_url/discord");
    format!("no interactions endpoint is set: set it to {wanted} in the developer portal, while the bot runs")
}

pub(crate) fn discord_no_guild(guild: u64, why: &str) -> String {
    format!("the bot is not in the server {guild} ({why}): invite it there, or correct `guild`")
}

pub(crate) fn discord_guild(name: &str) -> String {
    format!("the server is {name}")
}

pub(crate) fn discord_no_channel(channel: u64, why: &str) -> String {
    format!("channel {channel} cannot be seen ({why}): give the bot View Channel there, or correct `channel`")
}

pub(crate) fn discord_channel_elsewhere(channel: u64) -> String {
    format!("channel {channel} is not of the server that `guild` names")
}

pub(crate) fn discord_channel(name: &str) -> String {
    format!("the channel is {name}")
}

pub(crate) fn discord_rights_untold(why: &str) -> String {
    format!("what the bot may do in its channel cannot be asked ({why})")
}

pub(crate) fn discord_administrator() -> &'static str {
    "the bot is an administrator, which is more than it needs: take that from it"
}

pub(crate) fn discord_no_right(name: &str) -> String {
    format!(
        "permission {name} in its channel: give it to the bot's role, and see to the channel's own exceptions"
    )
}

pub(crate) fn discord_no_evidence(name: &str) -> String {
    format!(
        "without the permission {name} in its channel the evidence of an operation's steps is not shown there"
    )
}

pub(crate) fn discord_right(name: &str) -> String {
    format!("permission {name} in its channel")
}

pub(crate) fn discord_command() -> &'static str {
    "the command /migrate is registered"
}

pub(crate) fn discord_no_command() -> &'static str {
    "the command /migrate is not registered in the server: `switchyard discord register` does it"
}

pub(crate) fn discord_other_command() -> &'static str {
    "the command /migrate is registered as another version of Switchyard knew it: `switchyard discord register` renews it"
}

pub(crate) fn discord_gateway() -> &'static str {
    "interactions come through the gateway"
}

pub(crate) fn discord_endpoint_not_gateway(url: &str) -> String {
    format!(
        "interactions go to {url}, and so none comes through the gateway: clear the *Interactions Endpoint URL* in the \
         developer portal, or take `gateway` out of the bot's file"
    )
}

/// All that was seen, platform by platform.
pub(crate) fn report(file: &Path, report: &Report) -> String {
    let mut told = String::new();
    let mut last = None;
    for seen in &report.seen {
        if last.replace(seen.platform) != Some(seen.platform) {
            let space = if told.is_empty() { "" } else { "\n" };
            let _written = writeln!(told, "{space}{}", place(seen.platform));
        }
        let verdict = match seen.verdict {
            Verdict::Right => "right",
            Verdict::Missing => "MISSING",
            Verdict::Unreachable => "SILENT",
            Verdict::Note => "note",
        };
        let _written = writeln!(told, "  {verdict:<8} {}", seen.told);
    }
    let count = |verdict| report.seen.iter().filter(|seen| seen.verdict == verdict).count();
    let (missing, silent) = (count(Verdict::Missing), count(Verdict::Unreachable));
    let _written = match (missing, silent) {
        (0, 0) => write!(told, "\n{}: nothing is missing.", file.display()),
        (missing, 0) => write!(told, "\n{}: {missing} missing.", file.display()),
        (missing, silent) => {
            write!(told, "\n{}: {missing} missing, {silent} did not answer.", file.display())
        }
    };
    told
}
