//! From Slack's three kinds of requests to what was said.

use std::collections::BTreeMap;

use journal::plan::Platform;
use journal_store::Letter;
use serde::Deserialize;
use serde_json::Value;

use super::text::{typed, without_mention};
use super::window::{CALLBACK, Kept, Press, REASON, word};
use crate::arrival::{Arrival, Place, Said, Word, button};
use crate::language::{Dialect, PREFIX, read};
use crate::words;

/// What the bot listens to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The workspace, or the organization (`E…`) that the app is installed in as a whole.
    pub team: String,
    /// The channels; none means all that it is in.
    pub channels: Vec<String>,
}

impl Settings {
    fn listens(&self, channel: &str) -> bool {
        self.channels.is_empty() || self.channels.iter().any(|each| each == channel)
    }

    /// Whether it comes from where the app is: the workspace, or the organization that this belongs to.
    fn is_ours(&self, team: Option<&str>, organization: Option<&str>) -> bool {
        let is_it = |id: Option<&str>| id == Some(self.team.as_str());
        is_it(team) || is_it(organization)
    }

    /// An account as the plan names it: a person of the organization is one in all of its workspaces.
    fn account(&self, team: &str, user: &str) -> String {
        if self.team.starts_with('E') { format!("{}/{user}", self.team) } else { format!("{team}/{user}") }
    }
}

/// What a request is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Something to answer later.
    Letter(Box<Letter>),
    /// A press on a button: a window is opened for it.
    Window(Box<Press>),
    /// A press where the bot does not listen: whoever pressed is told at this address.
    Unheard(Option<String>),
    /// Something is wrong with what was sent from a window: it stays open, and this is shown in it.
    Amend(String),
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
    let organization = field("enterprise_id").map(String::as_str);
    if !settings.is_ours(Some(team.as_str()), organization) || !settings.listens(channel) {
        return Answer::Elsewhere;
    }
    let line = typed(form.get("text").map_or("", String::as_str));
    // One line, whatever the box let through.
    let line = line.lines().collect::<Vec<_>>().join(" ");
    let line = if line.trim().is_empty() { "help".to_owned() } else { line };
    let arrival = Arrival {
        account: settings.account(team, user),
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
    /// None: the app is the organization's.
    team: Option<Id>,
    enterprise: Option<Id>,
    channel: Option<Id>,
    /// None: it is shown to one person alone, or stands in no channel.
    message: Option<Shown>,
    container: Option<Container>,
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

/// What holds the button.
#[derive(Deserialize)]
struct Container {
    channel_id: Option<String>,
    message_ts: Option<String>,
    thread_ts: Option<String>,
}

#[derive(Deserialize)]
struct Action {
    value: Option<Value>,
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

impl Interaction {
    fn is_ours(&self, settings: &Settings) -> bool {
        let id = |of: &Option<Id>| of.as_ref().map(|of| of.id.clone());
        settings.is_ours(id(&self.team).as_deref(), id(&self.enterprise).as_deref())
    }
}

fn pressed(given: Interaction, settings: &Settings) -> Answer {
    // Links, menus and other parts of messages are pressed, too, and are nobody's word.
    let value = given.actions.first().and_then(|action| action.value.as_ref()?.as_str());
    let Some(Said::Button { word, request, plan, .. }) = value.and_then(button) else {
        return Answer::Nothing;
    };
    let is_ours = given.is_ours(settings);
    let container = given.container;
    let of_container = |part: fn(&Container) -> Option<&String>| container.as_ref().and_then(part).cloned();
    let channel =
        given.channel.map(|channel| channel.id).or_else(|| of_container(|it| it.channel_id.as_ref()));
    let message = given.message.map(|shown| shown.thread_ts.unwrap_or(shown.ts));
    let message = message.or_else(|| of_container(|it| it.thread_ts.as_ref().or(it.message_ts.as_ref())));
    let (Some(channel), Some(thread), Some(trigger)) = (channel, message, given.trigger_id) else {
        return Answer::Malformed;
    };
    let response_url = given.response_url;
    if !is_ours || !settings.listens(&channel) {
        return Answer::Unheard(response_url);
    }
    Answer::Window(Box::new(Press { trigger, response_url, word, request, plan, channel, thread }))
}

/// A word from a window: it is known by the window, which Slack lets be sent once.
fn submitted(given: Interaction, settings: &Settings) -> Answer {
    let is_ours = given.is_ours(settings);
    let Some(view) = given.view else { return Answer::Malformed };
    if view.callback_id.as_deref() != Some(CALLBACK) {
        return Answer::Nothing;
    }
    let kept = view.private_metadata.as_deref().and_then(|text| serde_json::from_str::<Kept>(text).ok());
    let Some(kept) = kept else { return Answer::Malformed };
    if !is_ours || !settings.listens(&kept.channel) {
        return Answer::Amend(words::not_heard_here());
    }
    let reason = view.state.as_ref().and_then(|state| {
        state.pointer(&format!("/values/{REASON}/{REASON}/value"))?.as_str().map(str::to_owned)
    });
    let Some(said) = word(&kept, reason) else { return Answer::Malformed };
    // Slack asks for a reason, and takes blanks for one.
    if matches!(said, Said::Button { word: Word::Deny, reason: None, .. }) {
        return Answer::Amend(words::denial_needs_reason().to_owned());
    }
    // In a shared channel the person's workspace is another than the one that the app is in.
    let home = given.team.or(given.enterprise).map(|team| team.id).unwrap_or_default();
    let theirs = given.user.team_id.unwrap_or_else(|| home.clone());
    let meaning = format!("slack:view:{home}:{}:{}", view.id, given.user.id);
    let arrival = Arrival {
        account: settings.account(&theirs, &given.user.id),
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
    enterprise_id: Option<String>,
    event_id: Option<String>,
    event: Option<Event>,
    /// The installations that it is sent to: in a shared channel it may have happened in another workspace.
    #[serde(default)]
    authorizations: Vec<Installation>,
}

#[derive(Deserialize)]
struct Installation {
    team_id: Option<String>,
    enterprise_id: Option<String>,
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
    let of = |team: &Option<String>, organization: &Option<String>| {
        settings.is_ours(team.as_deref(), organization.as_deref())
    };
    let is_ours = of(&given.team_id, &given.enterprise_id)
        || given.authorizations.iter().any(|to| of(&to.team_id, &to.enterprise_id));
    match (given.kind.as_str(), given.challenge, given.event) {
        ("url_verification", Some(challenge), _) => Answer::Echo(challenge),
        ("event_callback", _, Some(event)) => match (given.team_id.or(given.enterprise_id), given.event_id) {
            (Some(_), Some(_)) if !is_ours => Answer::Nothing,
            (Some(_), Some(_)) if event.kind == "app_home_opened" => home(event),
            (Some(team), Some(id)) => mention(event, &team, &id, settings),
            _ => Answer::Malformed,
        },
        ("url_verification" | "event_callback", ..) => Answer::Malformed,
        _ => Answer::Nothing,
    }
}

fn home(event: Event) -> Answer {
    match (event.user, event.tab.as_deref()) {
        (Some(user), Some("home")) => Answer::Home(user),
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
    if !settings.listens(&channel) {
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
        account: settings.account(event.user_team.as_deref().unwrap_or(team), &user),
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
        assert_eq!(elsewhere, Answer::Amend(words::not_heard_here()));
        let reason = "/view/state/values/reason/reason/value";
        let blank = sent(&|payload| *payload.pointer_mut(reason).unwrap() = json!(" \n"));
        assert_eq!(blank, Answer::Amend(words::denial_needs_reason().to_owned()));
        let closed = sent(&|payload| payload["type"] = json!("view_closed"));
        assert_eq!(closed, Answer::Nothing);
    }

    #[test]
    fn a_press_under_what_one_person_alone_is_shown_is_like_any_other() {
        let press = |value: Value| {
            said(&json!({
                "type": "block_actions", "user": {"id": "U7", "team_id": "T1"}, "team": {"id": "T1"}, "trigger_id": "1.2.3",
                "container": {"type": "message", "message_ts": "17.1", "channel_id": "C1", "is_ephemeral": true},
                "channel": {"id": "C1"}, "response_url": "https://hooks.example/1", "actions": [value],
            }))
        };
        let value = "approve:41:12345678";
        let Answer::Window(window) = press(json!({"type": "button", "value": value})) else {
            panic!("no window")
        };
        assert_eq!((window.channel.as_str(), window.thread.as_str()), ("C1", "17.1"));
        // A link that was followed, a menu, and a button of the home tab, which stands in no message.
        for other in
            [json!({"type": "button", "url": "https://x"}), json!({"type": "checkboxes", "value": 1})]
        {
            assert_eq!(press(other), Answer::Nothing);
        }
        let on_home = said(&json!({
            "type": "block_actions", "user": {"id": "U7"}, "team": {"id": "T1"}, "view": {"id": "V1"}, "actions": [{"value": "x"}],
        }));
        assert_eq!(on_home, Answer::Nothing);
        let elsewhere = said(&json!({
            "type": "block_actions", "user": {"id": "U7"}, "team": {"id": "T1"}, "trigger_id": "1", "response_url": "u",
            "channel": {"id": "C2"}, "message": {"ts": "1.1"}, "actions": [{"value": value}],
        }));
        assert_eq!(elsewhere, Answer::Unheard(Some("u".to_owned())));
    }

    #[test]
    fn in_an_organization_a_person_is_one_in_all_of_its_workspaces() {
        let settings = Settings { team: "E1".to_owned(), channels: Vec::new() };
        let mut form = form(&SAID);
        assert_eq!(command(&form, &settings), Answer::Elsewhere);
        form.insert("enterprise_id".to_owned(), "E1".to_owned());
        assert_eq!(kept(command(&form, &settings)).1.account, "E1/U1");
        let sent = json!({
            "type": "view_submission", "user": {"id": "W7", "team_id": "T9"}, "team": null, "enterprise": {"id": "E1"},
            "is_enterprise_install": true, "view": {
                "id": "V5", "callback_id": CALLBACK, "state": {"values": {}},
                "private_metadata": r#"{"value":"approve:41:12345678","channel":"C1","thread":"17.1"}"#,
            },
        });
        let (meaning, arrival) = kept(interaction_of(&sent.to_string(), &settings));
        assert_eq!((meaning.as_str(), arrival.account.as_str()), ("slack:view:E1:V5:W7", "E1/W7"));
    }

    #[test]
    fn what_happened_in_another_workspace_is_heard_where_the_app_is_installed() {
        let said = |to: &str| {
            let body = json!({
                "type": "event_callback", "team_id": "T9", "event_id": "Ev1", "authorizations": [{"team_id": to}],
                "event": {"type": "app_mention", "channel": "C1", "user": "U7", "user_team": "T9", "ts": "1.1", "text": "<@U> status"},
            });
            event(body.to_string().as_bytes(), &settings())
        };
        assert_eq!(said("T8"), Answer::Nothing);
        assert_eq!(kept(said("T1")).1.account, "T9/U7");
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
