//! From an interaction to what was said.

use journal::plan::Platform;
use journal_store::Letter;
use serde::Deserialize;

use super::commands::{Given, NAME, line};
use crate::arrival::{Arrival, Place, Said, Word, button, button_value};

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
    /// A press on a button: a window is opened for it.
    Window(Press),
    /// Somebody is typing: what could stand there?
    Complete(Typing),
    /// Said where the bot does not listen: another server, a direct message.
    Elsewhere,
    /// Nothing that concerns the bot.
    Nothing,
    /// It cannot be read.
    Malformed,
}

/// A press on a button under a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Press {
    /// What the button says.
    pub word: Word,
    /// The request's number.
    pub request: u64,
    /// The first digits of the plan's hash that was shown.
    pub plan: String,
}

impl Press {
    /// The name of its window: nobody is trusted with it, it is checked when it comes back.
    #[must_use]
    pub(super) fn value(&self) -> String {
        button_value(self.word, self.request, &self.plan)
    }
}

/// An option that is being filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Typing {
    /// The subcommand.
    pub verb: String,
    /// The option.
    pub option: String,
    /// What stands in it so far.
    pub text: String,
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
    data: Option<Data>,
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
struct Data {
    name: Option<String>,
    custom_id: Option<String>,
    #[serde(default)]
    options: Vec<Given>,
    #[serde(default)]
    components: Vec<Component>,
}

/// A part of a window: an input, or what it stands in.
#[derive(Deserialize)]
struct Component {
    custom_id: Option<String>,
    value: Option<String>,
    component: Option<Box<Component>>,
    #[serde(default)]
    components: Vec<Component>,
}

impl Component {
    /// What was written in the input of this name.
    fn written(&self, name: &str) -> Option<&str> {
        if self.custom_id.as_deref() == Some(name) {
            return self.value.as_deref();
        }
        let inside = self.component.iter().map(AsRef::as_ref).chain(&self.components);
        inside.into_iter().find_map(|inside| inside.written(name))
    }
}

const PING: u8 = 1;
const COMMAND: u8 = 2;
const COMPONENT: u8 = 3;
const AUTOCOMPLETE: u8 = 4;
const MODAL: u8 = 5;

/// The field of the reason.
pub(super) const REASON: &str = "reason";

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
        // Who is still typing can be told nothing.
        return if given.kind == AUTOCOMPLETE { Answer::Nothing } else { Answer::Elsewhere };
    }
    let (Some(channel), Some(member), Some(data)) = (given.channel_id, given.member, given.data) else {
        return Answer::Malformed;
    };
    if member.user.bot {
        return Answer::Nothing;
    }
    let said = match given.kind {
        COMMAND if data.name.as_deref() == Some(NAME) => line(&data.options).map(|line| Said::Line { line }),
        COMPONENT => return window(data.custom_id.as_deref()),
        AUTOCOMPLETE => return typing(&data.options),
        MODAL => word(&data),
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

fn window(id: Option<&str>) -> Answer {
    match id.and_then(button) {
        Some(Said::Button { word, request, plan, .. }) => Answer::Window(Press { word, request, plan }),
        _ => Answer::Nothing,
    }
}

fn typing(options: &[Given]) -> Answer {
    let [subcommand] = options else { return Answer::Nothing };
    match subcommand.options.iter().find(|option| option.focused) {
        Some(option) => Answer::Complete(Typing {
            verb: subcommand.name.clone(),
            option: option.name.clone(),
            text: option.text().unwrap_or_default().to_owned(),
        }),
        None => Answer::Nothing,
    }
}

/// A word from a window.
fn word(data: &Data) -> Option<Said> {
    let reason = data.components.iter().find_map(|component| component.written(REASON));
    let reason = reason.map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "));
    match data.custom_id.as_deref().and_then(button)? {
        Said::Button { word, request, plan, .. } => {
            Some(Said::Button { word, request, plan, reason: reason.filter(|text| !text.is_empty()) })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn said(change: &dyn Fn(&mut Value)) -> Answer {
        let mut body = json!({
            "id": "1100", "type": 2, "application_id": "900", "guild_id": "800", "channel_id": "700", "token": "t",
            "member": {"user": {"id": "600", "username": "ana"}},
            "data": {"name": "migrate", "options": [
                {"name": "start", "type": 1, "options": [{"name": "phase", "type": 3, "value": "region-a"}]},
            ]},
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
    fn a_command_is_kept_by_the_interactions_id() {
        let (letter, arrival) = kept(said(&|_| {}));
        assert_eq!(letter.meaning, "discord:interaction:1100");
        assert_eq!((arrival.account.as_str(), arrival.name.as_str()), ("600", "ana"));
        assert_eq!(arrival.said, Said::Line { line: "region-a start".to_owned() });
        assert_eq!(said(&|body| body["data"]["name"] = json!("another")), Answer::Nothing);
    }

    #[test]
    fn a_press_opens_a_window_and_the_window_is_the_word() {
        let press = said(&|body| {
            body["type"] = json!(3);
            body["data"] = json!({"custom_id": "deny:41:12345678", "component_type": 2});
        });
        let plan = "12345678".to_owned();
        assert_eq!(press, Answer::Window(Press { word: Word::Deny, request: 41, plan: plan.clone() }));
        let (_, arrival) = kept(said(&|body| {
            body["type"] = json!(5);
            body["data"] = json!({"custom_id": "deny:41:12345678", "components": [
                {"type": 10, "id": 1},
                {"type": 18, "id": 2, "component": {"type": 4, "custom_id": "reason", "value": "not\n today"}},
            ]});
        }));
        let reason = Some("not today".to_owned());
        assert_eq!(arrival.said, Said::Button { word: Word::Deny, request: 41, plan, reason });
    }

    #[test]
    fn an_option_that_is_being_filled_in_is_to_be_completed() {
        let typed = said(&|body| {
            body["type"] = json!(4);
            body["data"]["options"][0]["options"][0] =
                json!({"name": "phase", "type": 3, "value": "reg", "focused": true});
        });
        let (verb, option, text) = ("start".to_owned(), "phase".to_owned(), "reg".to_owned());
        assert_eq!(typed, Answer::Complete(Typing { verb, option, text }));
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
        assert_eq!(said(&|body| body["type"] = json!(7)), Answer::Nothing);
        assert_eq!(said(&|body| body["type"] = json!("x")), Answer::Malformed);
        assert_eq!(said(&|body| *body = json!({"id": "1", "type": 1})), Answer::Pong);
    }
}
