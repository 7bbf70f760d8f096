//! From Slack's three kinds of requests to what was said.

use std::collections::BTreeMap;

use journal::plan::Platform;
use journal_store::Letter;
use serde::Deserialize;
use serde_json::Value;

use super::text::{typed, without_mention};
use super::window::{CALLBACK, Kept, Press, REASON, word};
use crate::arrival::{Arrival, Place, Said, button};
use crate::language::{Dialect, PREFIX, read};

/// What the bot listens to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The workspace.
    pub team: String,
    /// The channels; none means all that it is in.
    pub channels: Vec<String>,
}

impl Settings {
    fn listens(&self, channel: &str) -> bool {
        self.channels.is_empty() || self.channels.iter().any(|each| each == channel)
    }
}

/// What a request is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Something to answer later.
    Letter(Box<Letter>),
    /// A press on a button: a window is opened for it.
    Window(Box<Press>),
    /// Somebody looks at the home tab.
    Home(String),
    /// A probe: this body at once.
    Echo(String),
    /// Said where the bot does not listen.
    Elsewhere,
    /// Nothing that concerns the bot.
    Nothing,
    /// It cannot be read.
    Malformed,
}

fn letter(arrival: &Arrival, transport: Option<&str>, meaning: &str) -> Answer {
    match arrival.letter(Platform::Slack, transport, meaning) {
        Some(letter) => Answer::Letter(Box::new(letter)),
        None => Answer::Malformed,
    }
}

/// A slash command's form.
#[must_use]
pub fn command(form: &BTreeMap<String, String>, settings: &Settings) -> Answer {
    if form.get("ssl_check").is_some_and(|text| text == "1") {
        return Answer::Echo(String::new());
    }
    let field = |name: &str| form.get(name).filter(|text| !text.is_empty());
    let (Some(team), Some(channel), Some(user), Some(trigger)) =
        (field("team_id"), field("channel_id"), field("user_id"), field("trigger_id"))
    else {
        return Answer::Malformed;
    };
    if *team != settings.team || !settings.listens(channel) {
        return Answer::Elsewhere;
    }
    let line = typed(form.get("text").map_or("", String::as_str));
    // One line, whatever the box let through.
    let line = line.lines().collect::<Vec<_>>().join(" ");
    let line = if line.trim().is_empty() { "help".to_owned() } else { line };
    let arrival = Arrival {
        account: format!("{team}/{user}"),
        name: user.clone(),
        place: Place::SlackChannel { channel: channel.clone(), thread: None },
        said: Said::Line { line },
    };
    letter(&arrival, None, &format!("slack:command:{team}:{trigger}"))
}

#[derive(Deserialize)]
struct Interaction {
    #[serde(rename = "type")]
    kind: String,
    user: InteractionUser,
    team: Option<Id>,
    channel: Option<Id>,
    message: Option<Shown>,
    trigger_id: Option<String>,
    response_url: Option<String>,
    view: Option<View>,
    #[serde(default)]
    actions: Vec<Action>,
}

#[derive(Deserialize)]
struct InteractionUser {
    id: String,
    team_id: Option<String>,
}

#[derive(Deserialize)]
struct Id {
    id: String,
}

#[derive(Deserialize)]
struct Shown {
    ts: String,
    thread_ts: Option<String>,
}

#[derive(Deserialize)]
struct Action {
    value: Option<String>,
}

#[derive(Deserialize)]
struct View {
    id: String,
    callback_id: Option<String>,
    private_metadata: Option<String>,
    state: Option<Value>,
}

/// A press on a button, or what was sent from a window: the form's field `payload`.
#[must_use]
pub fn interaction(form: &BTreeMap<String, String>, settings: &Settings) -> Answer {
    let Some(payload) = form.get("payload") else { return Answer::Malformed };
    interaction_of(payload, settings)
}

/// The same, as a socket brings it.
#[must_use]
pub(super) fn interaction_of(payload: &str, settings: &Settings) -> Answer {
    let Ok(given) = serde_json::from_str::<Interaction>(payload) else { return Answer::Malformed };
    match given.kind.as_str() {
        "block_actions" => pressed(given, settings),
        "view_submission" => submitted(given, settings),
        _ => Answer::Nothing,
    }
}

fn pressed(given: Interaction, settings: &Settings) -> Answer {
    let (Some(team), Some(channel), Some(shown), Some(trigger), [action]) =
        (given.team, given.channel, given.message, given.trigger_id, given.actions.as_slice())
    else {
        return Answer::Malformed;
    };
    if team.id != settings.team || !settings.listens(&channel.id) {
        return Answer::Elsewhere;
    }
    let Some(Said::Button { word, request, plan, .. }) = action.value.as_deref().and_then(button) else {
        return Answer::Nothing;
    };
    let thread = shown.thread_ts.unwrap_or(shown.ts);
    let channel = channel.id;
    let response_url = given.response_url;
    Answer::Window(Box::new(Press { trigger, response_url, word, request, plan, channel, thread }))
}

/// A word from a window: it is known by the window, which Slack lets be sent once.
fn submitted(given: Interaction, settings: &Settings) -> Answer {
    let (Some(team), Some(view)) = (given.team, given.view) else { return Answer::Malformed };
    if view.callback_id.as_deref() != Some(CALLBACK) {
        return Answer::Nothing;
    }
    let kept = view.private_metadata.as_deref().and_then(|text| serde_json::from_str::<Kept>(text).ok());
    let Some(kept) = kept else { return Answer::Malformed };
    if team.id != settings.team || !settings.listens(&kept.channel) {
        return Answer::Elsewhere;
    }
    let reason = view.state.as_ref().and_then(|state| {
        state.pointer(&format!("/values/{REASON}/{REASON}/value"))?.as_str().map(str::to_owned)
    });
    let Some(said) = word(&kept, reason) else { return Answer::Malformed };
    // In a shared channel the person's workspace is another than the one that the app is in.
    let theirs = given.user.team_id.unwrap_or_else(|| team.id.clone());
    let meaning = format!("slack:view:{}:{}:{}", team.id, view.id, given.user.id);
    let arrival = Arrival {
        account: format!("{theirs}/{}", given.user.id),
        name: given.user.id,
        place: Place::SlackChannel { channel: kept.channel, thread: Some(kept.thread) },
        said,
    };
    letter(&arrival, None, &meaning)
}

#[derive(Deserialize)]
struct Envelope {
    #[serde(rename = "type")]
    kind: String,
    challenge: Option<String>,
    team_id: Option<String>,
    event_id: Option<String>,
    event: Option<Event>,
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type")]
    kind: String,
    channel: Option<String>,
    user: Option<String>,
    user_team: Option<String>,
    text: Option<String>,
    ts: Option<String>,
    thread_ts: Option<String>,
    bot_id: Option<String>,
    subtype: Option<String>,
    edited: Option<Value>,
    tab: Option<String>,
}

/// A delivery of the Events API.
#[must_use]
pub fn event(body: &[u8], settings: &Settings) -> Answer {
    let Ok(given) = serde_json::from_slice::<Envelope>(body) else { return Answer::Malformed };
    match (given.kind.as_str(), given.challenge, given.event) {
        ("url_verification", Some(challenge), _) => Answer::Echo(challenge),
        ("event_callback", _, Some(event)) => match (given.team_id, given.event_id) {
            (Some(team), Some(_)) if event.kind == "app_home_opened" => home(event, &team, settings),
            (Some(team), Some(id)) => mention(event, &team, &id, settings),
            _ => Answer::Malformed,
        },
        ("url_verification" | "event_callback", ..) => Answer::Malformed,
        _ => Answer::Nothing,
    }
}

fn home(event: Event, team: &str, settings: &Settings) -> Answer {
    match (event.user, event.tab.as_deref()) {
        (Some(user), Some("home")) if team == settings.team => Answer::Home(user),
        _ => Answer::Nothing,
    }
}

fn mention(event: Event, team: &str, id: &str, settings: &Settings) -> Answer {
    if event.kind != "app_mention" || event.bot_id.is_some() || event.subtype.is_some() {
        return Answer::Nothing;
    }
    let (Some(channel), Some(user), Some(text), Some(ts)) = (event.channel, event.user, event.text, event.ts)
    else {
        return Answer::Malformed;
    };
    if team != settings.team || !settings.listens(&channel) {
        return Answer::Nothing;
    }
    let said = typed(without_mention(&text));
    // Right behind the mention the word may be left out.
    let said = match said.split_whitespace().next() {
        Some(first)
            if !first.eq_ignore_ascii_case(PREFIX) && first.starts_with(|c: char| c.is_alphanumeric()) =>
        {
            format!("{PREFIX} {said}")
        }
        _ => said,
    };
    if read(&said, Dialect::Markdown).is_empty() {
        return Answer::Nothing;
    }
    let meaning = format!("slack:message:{team}:{channel}:{ts}");
    let (meaning, said) = match event.edited {
        Some(_) => (format!("{meaning}:edited"), Said::Edited),
        None => (meaning, Said::Text { text: said }),
    };
    let arrival = Arrival {
        account: format!("{}/{user}", event.user_team.as_deref().unwrap_or(team)),
        name: user,
        place: Place::SlackChannel { channel, thread: Some(event.thread_ts.unwrap_or(ts)) },
        said,
    };
    letter(&arrival, Some(id), &meaning)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::arrival::Word;

    fn settings() -> Settings {
        Settings { team: "T1".to_owned(), channels: vec!["C1".to_owned()] }
    }

    fn form(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn kept(answer: Answer) -> (String, Arrival) {
        let Answer::Letter(letter) = answer else { panic!("{answer:?}") };
        (letter.meaning, serde_json::from_value(letter.body).unwrap())
    }

    const SAID: [(&str, &str); 5] = [
        ("team_id", "T1"),
        ("channel_id", "C1"),
        ("user_id", "U1"),
        ("trigger_id", "1.2.abc"),
        ("text", "region-b failback —target-lost"),
    ];

    #[test]
    fn a_slash_command_is_one_line_of_one_account() {
        let (meaning, arrival) = kept(command(&form(&SAID), &settings()));
        assert_eq!(meaning, "slack:command:T1:1.2.abc");
        assert_eq!(arrival.account, "T1/U1");
        assert_eq!(arrival.said, Said::Line { line: "region-b failback —target-lost".to_owned() });
        let mut empty = form(&SAID);
        empty.remove("text");
        assert_eq!(kept(command(&empty, &settings())).1.said, Said::Line { line: "help".to_owned() });
        let mut elsewhere = form(&SAID);
        elsewhere.insert("channel_id".to_owned(), "C2".to_owned());
        assert_eq!(command(&elsewhere, &settings()), Answer::Elsewhere);
        elsewhere = form(&SAID);
        elsewhere.insert("team_id".to_owned(), "T2".to_owned());
        assert_eq!(command(&elsewhere, &settings()), Answer::Elsewhere);
        elsewhere.remove("trigger_id");
        assert_eq!(command(&elsewhere, &settings()), Answer::Malformed);
        assert_eq!(command(&form(&[("ssl_check", "1")]), &settings()), Answer::Echo(String::new()));
    }

    fn said(payload: &Value) -> Answer {
        interaction(&form(&[("payload", &payload.to_string())]), &settings())
    }

    #[test]
    fn a_press_is_no_word_yet_and_opens_a_window() {
        let press = |value: &str| {
            said(&json!({
                "type": "block_actions", "user": {"id": "U7", "team_id": "T9"}, "team": {"id": "T1"}, "trigger_id": "1.2.3",
                "channel": {"id": "C1"}, "message": {"ts": "17.1"}, "response_url": "https://hooks.example/1",
                "actions": [{"action_id": "approve", "value": value, "action_ts": "18.5"}],
            }))
        };
        let Answer::Window(window) = press("approve:41:12345678") else { panic!("no window") };
        assert_eq!((window.request, window.plan.as_str(), window.word), (41, "12345678", Word::Approve));
        assert_eq!((window.channel.as_str(), window.thread.as_str()), ("C1", "17.1"));
        for value in [
            "",
            "approve",
            "approve:41",
            "approve:x:12345678",
            "approve:41:1234",
            "revoke:41:12345678",
            "approve:41:12345678:9",
        ] {
            assert_eq!(press(value), Answer::Nothing, "{value}");
        }
        assert_eq!(interaction(&form(&[("payload", "{")]), &settings()), Answer::Malformed);
    }

    #[test]
    fn a_window_is_the_persons_word_in_their_own_workspace() {
        let sent = |change: &dyn Fn(&mut Value)| {
            let mut payload = json!({
                "type": "view_submission", "user": {"id": "U7", "team_id": "T9"}, "team": {"id": "T1"},
                "view": {
                    "id": "V5", "callback_id": CALLBACK,
                    "private_metadata": r#"{"value":"deny:41:12345678","channel":"C1","thread":"17.1"}"#,
                    "state": {"values": {"reason": {"reason": {"type": "plain_text_input", "value": " not\ntoday "}}}},
                },
            });
            change(&mut payload);
            said(&payload)
        };
        let (meaning, arrival) = kept(sent(&|_| {}));
        assert_eq!(meaning, "slack:view:T1:V5:U7");
        assert_eq!(arrival.account, "T9/U7");
        let (plan, reason) = ("12345678".to_owned(), Some("not today".to_owned()));
        assert_eq!(arrival.said, Said::Button { word: Word::Deny, request: 41, plan, reason });
        let place = Place::SlackChannel { channel: "C1".to_owned(), thread: Some("17.1".to_owned()) };
        assert_eq!(arrival.place, place);
        let foreign = sent(&|payload| payload["view"]["callback_id"] = json!("another"));
        assert_eq!(foreign, Answer::Nothing);
        let spoiled = sent(&|payload| payload["view"]["private_metadata"] = json!("{}"));
        assert_eq!(spoiled, Answer::Malformed);
        let elsewhere = sent(&|payload| payload["team"]["id"] = json!("T2"));
        assert_eq!(elsewhere, Answer::Elsewhere);
    }

    #[test]
    fn a_home_tab_that_is_opened_is_looked_at() {
        let opened = |tab: &str| {
            let body = json!({
                "type": "event_callback", "team_id": "T1", "event_id": "Ev1",
                "event": {"type": "app_home_opened", "user": "U1", "tab": tab, "channel": "D1"},
            });
            event(body.to_string().as_bytes(), &settings())
        };
        assert_eq!(opened("home"), Answer::Home("U1".to_owned()));
        assert_eq!(opened("messages"), Answer::Nothing);
    }

    #[test]
    fn a_mention_is_heard_and_an_edited_one_is_not() {
        let said = |change: &dyn Fn(&mut Value)| {
            let mut body = json!({
                "type": "event_callback", "team_id": "T1", "event_id": "Ev1",
                "event": {"type": "app_mention", "channel": "C1", "user": "U1", "ts": "19.1", "text": "<@UB> status region-a"},
            });
            change(&mut body);
            event(body.to_string().as_bytes(), &settings())
        };
        let (meaning, arrival) = kept(said(&|_| {}));
        assert_eq!(meaning, "slack:message:T1:C1:19.1");
        assert_eq!(arrival.said, Said::Text { text: "/migrate status region-a".to_owned() });
        let (meaning, arrival) = kept(said(&|body| body["event"]["edited"] = json!({"ts": "20.1"})));
        assert_eq!((meaning.as_str(), arrival.said), ("slack:message:T1:C1:19.1:edited", Said::Edited));
        for (name, value) in [
            ("bot_id", "B1"),
            ("subtype", "bot_message"),
            ("channel", "C2"),
            ("type", "message"),
            ("text", "<@UB> `status`"),
        ] {
            assert_eq!(said(&|body| body["event"][name] = json!(value)), Answer::Nothing, "{name}");
        }
        assert_eq!(
            event(br#"{"type":"url_verification","challenge":"abc"}"#, &settings()),
            Answer::Echo("abc".to_owned())
        );
        assert_eq!(event(b"[]", &settings()), Answer::Malformed);
    }
}
