//! From an interaction to what was said.

use journal::plan::Platform;
use journal_store::Letter;
use serde::Deserialize;
use serde_json::Value;

use crate::arrival::{Arrival, Place, Said, button};

/// What the bot listens to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The application's id.
    pub application: String,
    /// The server.
    pub guild: String,
}

/// What an interaction is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A probe.
    Pong,
    /// Something to answer later.
    Letter(Box<Letter>),
    /// Said where the bot does not listen: another server, a direct message.
    Elsewhere,
    /// Nothing that concerns the bot.
    Nothing,
    /// It cannot be read.
    Malformed,
}

#[derive(Deserialize)]
struct Interaction {
    id: String,
    #[serde(rename = "type")]
    kind: u8,
    application_id: Option<String>,
    guild_id: Option<String>,
    channel_id: Option<String>,
    token: Option<String>,
    member: Option<Member>,
    data: Option<Given>,
}

#[derive(Deserialize)]
struct Member {
    user: User,
}

#[derive(Deserialize)]
struct User {
    id: String,
    username: String,
    #[serde(default)]
    bot: bool,
}

#[derive(Deserialize)]
struct Given {
    custom_id: Option<String>,
    #[serde(default)]
    options: Vec<Opt>,
}

#[derive(Deserialize)]
struct Opt {
    value: Option<Value>,
}

const PING: u8 = 1;
const COMMAND: u8 = 2;
const COMPONENT: u8 = 3;

/// Reads an interaction.
#[must_use]
pub fn receive(body: &[u8], settings: &Settings) -> Answer {
    #[derive(Deserialize)]
    struct Kind {
        #[serde(rename = "type")]
        kind: u8,
    }
    match serde_json::from_slice::<Kind>(body) {
        Ok(Kind { kind: PING }) => return Answer::Pong,
        Ok(_) => {}
        Err(_) => return Answer::Malformed,
    }
    let Ok(given) = serde_json::from_slice::<Interaction>(body) else { return Answer::Malformed };
    if given.application_id.as_deref() != Some(settings.application.as_str()) {
        return Answer::Malformed;
    }
    if given.guild_id.as_deref() != Some(settings.guild.as_str()) {
        return Answer::Elsewhere;
    }
    let (Some(channel), Some(member), Some(data)) = (given.channel_id, given.member, given.data) else {
        return Answer::Malformed;
    };
    if member.user.bot {
        return Answer::Nothing;
    }
    let said = match given.kind {
        COMMAND => {
            // One option, the line; a command without it asks for help.
            let line = data.options.first().and_then(|option| option.value.as_ref()).and_then(Value::as_str);
            let line = line.unwrap_or("help").lines().collect::<Vec<_>>().join(" ");
            Some(Said::Line { line })
        }
        COMPONENT => data.custom_id.as_deref().and_then(button),
        _ => None,
    };
    let Some(said) = said else { return Answer::Nothing };
    let arrival = Arrival {
        account: member.user.id,
        name: member.user.username,
        place: Place::DiscordChannel { channel, token: given.token },
        said,
    };
    let meaning = format!("discord:interaction:{}", given.id);
    match arrival.letter(Platform::Discord, Some(&meaning), &meaning) {
        Some(letter) => Answer::Letter(Box::new(letter)),
        None => Answer::Malformed,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(change: &dyn Fn(&mut Value)) -> Answer {
        let mut body = json!({
            "id": "1100", "type": 2, "application_id": "900", "guild_id": "800", "channel_id": "700", "token": "t",
            "member": {"user": {"id": "600", "username": "ana"}},
            "data": {"name": "migrate", "options": [{"name": "command", "type": 3, "value": "region-a start"}]},
        });
        change(&mut body);
        let settings = Settings { application: "900".to_owned(), guild: "800".to_owned() };
        receive(body.to_string().as_bytes(), &settings)
    }

    fn kept(answer: Answer) -> (Letter, Arrival) {
        let Answer::Letter(letter) = answer else { panic!("{answer:?}") };
        let arrival = serde_json::from_value(letter.body.clone()).unwrap();
        (*letter, arrival)
    }

    #[test]
    fn a_command_and_a_press_are_kept_by_the_interactions_id() {
        let (letter, arrival) = kept(said(&|_| {}));
        assert_eq!(letter.meaning, "discord:interaction:1100");
        assert_eq!((arrival.account.as_str(), arrival.name.as_str()), ("600", "ana"));
        assert_eq!(arrival.said, Said::Line { line: "region-a start".to_owned() });
        let (_, arrival) = kept(said(&|body| {
            body["type"] = json!(3);
            body["data"] = json!({"custom_id": "deny:41:12345678", "component_type": 2});
        }));
        let plan = "12345678".to_owned();
        assert_eq!(
            arrival.said,
            Said::Button { word: crate::arrival::Word::Deny, request: 41, plan, reason: None }
        );
    }

    #[test]
    fn bots_other_servers_and_direct_messages_are_not_heard() {
        assert_eq!(said(&|body| body["member"]["user"]["bot"] = json!(true)), Answer::Nothing);
        assert_eq!(said(&|body| body["guild_id"] = json!("801")), Answer::Elsewhere);
        assert_eq!(
            said(&|body| {
                body["guild_id"] = json!(null);
                body["user"] = body["member"]["user"].take();
                body["member"] = json!(null);
            }),
            Answer::Elsewhere
        );
        assert_eq!(said(&|body| body["application_id"] = json!("901")), Answer::Malformed);
        assert_eq!(said(&|body| body["type"] = json!(4)), Answer::Nothing);
        assert_eq!(said(&|body| body["type"] = json!("x")), Answer::Malformed);
        assert_eq!(said(&|body| *body = json!({"id": "1", "type": 1})), Answer::Pong);
    }
}
