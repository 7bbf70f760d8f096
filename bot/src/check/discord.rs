//! The Discord application: its token, its keys, its server, what it may do in its channel, its commands.

use journal::Plan;
use journal::plan::Platform;
use serde_json::Value;

use super::ask::{Answer, Ask, Unreachable};
use super::{Looks, Seen, Verdict, accounts};
use crate::config::Discord;
use crate::discord::{HOME, NAME, changes, definition};
use crate::words::check as words;

/// May do everything, whatever the channel says. Never asked for.
const ADMINISTRATOR: u64 = 1 << 3;

/// What the bot needs in its channel: Discord's bits, and their names there.
const NEEDED: [(u64, &str); 4] = [
    (1 << 10, "View Channel"),
    (1 << 11, "Send Messages"),
    (1 << 14, "Embed Links"),
    (1 << 16, "Read Message History"),
];

/// What it needs to show the evidence of each step under an operation's message.
const FOR_EVIDENCE: [(u64, &str); 2] =
    [(1 << 35, "Create Public Threads"), (1 << 38, "Send Messages in Threads")];

pub(super) async fn look(discord: &Discord, public_url: Option<&str>, plan: Option<&Plan>) -> Vec<Seen> {
    let mut looks = Looks::at(Platform::Discord);
    let ended = all(discord, public_url, plan, &mut looks).await;
    looks.ended(ended)
}

async fn all(
    discord: &Discord,
    public_url: Option<&str>,
    plan: Option<&Plan>,
    looks: &mut Looks,
) -> Result<(), Unreachable> {
    let base = discord.api_url.as_deref().unwrap_or(HOME);
    let ask = Ask::new(&format!("{}/api/v10", base.trim_end_matches('/')))?;
    let token = format!("Bot {}", discord.bot_token.expose());
    let application = ask.get("/applications/@me", &token).await?;
    if !application.is_ok() {
        looks.missing("bot_token", words::discord_token_refused(&application.why()));
        return Ok(());
    }
    let name = application.text("/name").unwrap_or("no name");
    looks.right("bot_token", words::discord_token_taken(name));
    identity(discord, public_url, &application, looks);
    let guild = ask.get(&format!("/guilds/{}", discord.guild), &token).await?;
    if !guild.is_ok() {
        looks.missing("guild", words::discord_no_guild(discord.guild, &guild.why()));
        return Ok(());
    }
    looks.right("guild", words::discord_guild(guild.text("/name").unwrap_or("no name")));
    let me = application.text("/bot/id").or_else(|| application.text("/id")).unwrap_or_default();
    channel(discord, &ask, &token, (&guild, me), looks).await?;
    commands(discord, &ask, &token, looks).await?;
    for (person, account) in accounts(plan, Platform::Discord) {
        let found = ask.get(&format!("/guilds/{}/members/{account}", discord.guild), &token).await?;
        let about = format!("person:{person}");
        let is_bot = found.body.pointer("/user/bot").and_then(Value::as_bool) == Some(true);
        match found.text("/user/username").filter(|_| found.is_ok() && !is_bot) {
            Some(name) => looks.right(about, words::account_is(person, account, name)),
            None => looks.missing(about, words::account_unknown(person, account, "discord")),
        }
    }
    Ok(())
}

/// Whether the token's application is the one that the file names.
fn identity(discord: &Discord, public_url: Option<&str>, application: &Answer, looks: &mut Looks) {
    let (wanted, is) = (discord.application_id.to_string(), application.text("/id").unwrap_or("no id"));
    if is == wanted {
        looks.right("application_id", words::discord_application(is));
    } else {
        looks.missing("application_id", words::discord_other_application(&wanted, is));
    }
    let wanted = discord.public_key.map(|key| hex::encode(key.to_bytes()));
    match wanted.zip(application.text("/verify_key")) {
        // The gateway needs none.
        None if discord.public_key.is_none() => {}
        Some((wanted, is)) if is.eq_ignore_ascii_case(&wanted) => {
            looks.right("public_key", words::discord_key());
        }
        Some((_, is)) => looks.missing("public_key", words::discord_other_key(is)),
        None => looks.note("public_key", Verdict::Note, words::secret_untried("Discord")),
    }
    let url = application.text("/interactions_endpoint_url").filter(|url| !url.is_empty());
    if discord.gateway {
        match url {
            Some(url) => looks.missing("endpoint", words::discord_endpoint_not_gateway(url)),
            None => looks.right("endpoint", words::discord_gateway()),
        }
        return;
    }
    match (url, public_url.map(|url| format!("{url}/discord"))) {
        (Some(url), Some(wanted)) if url != wanted => {
            looks.missing("endpoint", words::hook_elsewhere(url, &wanted));
        }
        (Some(url), Some(_)) => looks.right("endpoint", words::hook_here(url)),
        (Some(url), None) => looks.note("endpoint", Verdict::Note, words::hook_not_compared(url)),
        (None, wanted) => looks.missing("endpoint", words::discord_no_endpoint(wanted.as_deref())),
    }
}

async fn channel(
    discord: &Discord,
    ask: &Ask,
    token: &str,
    (guild, me): (&Answer, &str),
    looks: &mut Looks,
) -> Result<(), Unreachable> {
    let channel = ask.get(&format!("/channels/{}", discord.channel), token).await?;
    if !channel.is_ok() {
        looks.missing("channel", words::discord_no_channel(discord.channel, &channel.why()));
        return Ok(());
    }
    let home = discord.guild.to_string();
    if channel.text("/guild_id") != Some(home.as_str()) {
        looks.missing("channel", words::discord_channel_elsewhere(discord.channel));
        return Ok(());
    }
    looks.right("channel", words::discord_channel(channel.text("/name").unwrap_or("no name")));
    let member = ask.get(&format!("/guilds/{home}/members/{me}"), token).await?;
    if !member.is_ok() {
        looks.note("permissions", Verdict::Note, words::discord_rights_untold(&member.why()));
        return Ok(());
    }
    let may =
        Rights { guild: &guild.body, channel: &channel.body, member: &member.body, me, home: &home }.all();
    if may & ADMINISTRATOR != 0 {
        looks.note("permission:Administrator", Verdict::Note, words::discord_administrator());
    }
    for (bit, name) in NEEDED {
        let about = format!("permission:{name}");
        if may & (bit | ADMINISTRATOR) == 0 {
            looks.missing(about, words::discord_no_right(name));
        } else {
            looks.right(about, words::discord_right(name));
        }
    }
    for (_, name) in FOR_EVIDENCE.iter().filter(|(bit, _)| may & (bit | ADMINISTRATOR) == 0) {
        looks.note(format!("permission:{name}"), Verdict::Note, words::discord_no_evidence(name));
    }
    Ok(())
}

async fn commands(discord: &Discord, ask: &Ask, token: &str, looks: &mut Looks) -> Result<(), Unreachable> {
    let (application, guild) = (discord.application_id, discord.guild);
    let places = [
        format!("/applications/{application}/guilds/{guild}/commands"),
        format!("/applications/{application}/commands"),
    ];
    for place in places {
        let found = ask.get(&place, token).await?;
        let is_ours = |command: &&Value| command.get("name").and_then(Value::as_str) == Some(NAME);
        let all = found.body.as_array().filter(|_| found.is_ok());
        if let Some(ours) = all.and_then(|all| all.iter().find(is_ours)) {
            if changes(Some(ours), &definition()).is_empty() {
                looks.right("command", words::discord_command());
            } else {
                looks.missing("command", words::discord_other_command());
            }
            return Ok(());
        }
    }
    looks.missing("command", words::discord_no_command());
    Ok(())
}

/// What makes a member's rights in a channel.
struct Rights<'r> {
    guild: &'r Value,
    channel: &'r Value,
    member: &'r Value,
    me: &'r str,
    /// The server's id, which is its first role's too.
    home: &'r str,
}

fn bits(of: &Value, key: &str) -> u64 {
    of.get(key).and_then(Value::as_str).and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn list<'v>(of: &'v Value, key: &str) -> &'v [Value] {
    of.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn id(of: &Value) -> &str {
    of.get("id").and_then(Value::as_str).unwrap_or_default()
}

impl Rights<'_> {
    /// As Discord computes them: everybody's and the member's roles', then the channel's exceptions for everybody, for the
    /// roles together, and for the member.
    fn all(&self) -> u64 {
        let mine: Vec<&str> = list(self.member, "roles").iter().filter_map(Value::as_str).collect();
        let roles = list(self.guild, "roles").iter();
        let of_roles = roles.filter(|role| id(role) == self.home || mine.contains(&id(role)));
        let base = of_roles.fold(0, |all, role| all | bits(role, "permissions"));
        if base & ADMINISTRATOR != 0 || self.guild.get("owner_id").and_then(Value::as_str) == Some(self.me) {
            return !if base & ADMINISTRATOR == 0 { ADMINISTRATOR } else { 0 };
        }
        let exceptions = list(self.channel, "permission_overwrites");
        let of = |wanted: &dyn Fn(&str) -> bool| {
            let these = exceptions.iter().filter(|each| wanted(id(each)));
            these.fold((0, 0), |(allow, deny), each| (allow | bits(each, "allow"), deny | bits(each, "deny")))
        };
        let steps = [
            of(&|id| id == self.home),
            of(&|id| id != self.home && mine.contains(&id)),
            of(&|id| id == self.me),
        ];
        steps.into_iter().fold(base, |may, (allow, deny)| (may & !deny) | allow)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rights(guild: &Value, channel: &Value, member: &Value) -> u64 {
        Rights { guild, channel, member, me: "9", home: "1" }.all()
    }

    #[test]
    fn a_channels_exceptions_come_in_discords_order() {
        let guild = json!({"owner_id": "5", "roles": [
            {"id": "1", "permissions": "3072"}, {"id": "2", "permissions": "16384"}, {"id": "3", "permissions": "8"},
        ]});
        let member = json!({"roles": ["2"]});
        assert_eq!(rights(&guild, &json!({}), &member), 3072 | 16384);
        let channel = json!({"permission_overwrites": [
            {"id": "9", "allow": "2048", "deny": "0"},
            {"id": "2", "allow": "0", "deny": "16384"},
            {"id": "1", "allow": "65536", "deny": "3072"},
            {"id": "3", "allow": "0", "deny": "2048"},
        ]});
        assert_eq!(rights(&guild, &channel, &member), 65536 | 2048);
        assert_eq!(rights(&guild, &channel, &json!({"roles": ["3"]})), u64::MAX);
        let owned = json!({"owner_id": "9", "roles": []});
        assert_eq!(rights(&owned, &channel, &member), !ADMINISTRATOR);
    }
}
