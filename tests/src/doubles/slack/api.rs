//! The Web API, and the URLs where an answer may go: what Slack takes, what it refuses, and in which words.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Map, Value, json};

use super::blocks::{self, Surface};
use super::state::{APP, BOT, BOT_USER, Message, State, TEAM, View, seconds};
use super::{APP_TOKEN, BOT_TOKEN, Inner};
use crate::doubles::http::{self, Fault};
use crate::doubles::ledger::Said;

/// A refusal in Slack's words; the second part goes into `response_metadata.messages`.
struct No(&'static str, Option<String>);

type Done = Result<Value, No>;

const fn no<T>(error: &'static str) -> Result<T, No> {
    Err(No(error, None))
}

/// A call.
struct Call {
    given: Map<String, Value>,
    is_json: bool,
}

impl Call {
    fn text(&self, key: &str) -> Option<&str> {
        self.given.get(key).and_then(Value::as_str)
    }

    fn needs(&self, key: &str) -> Result<&str, No> {
        self.text(key)
            .filter(|text| !text.is_empty())
            .ok_or(No("invalid_arguments", Some(format!("[ERROR] missing required field: {key}"))))
    }
}

/// Reads query or body, as the content type says.
fn read(method: &Method, query: &str, headers: &HeaderMap, body: &Bytes) -> Result<Call, No> {
    let form = |text: &str| -> Map<String, Value> {
        crate::doubles::slack::form(text).into_iter().map(|(key, value)| (key, json!(value))).collect()
    };
    if method == Method::GET {
        return Ok(Call { given: form(query), is_json: false });
    }
    let kind = headers.get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    match kind.split(';').next().unwrap_or_default() {
        "application/json" => match serde_json::from_slice(body) {
            Ok(Value::Object(given)) => Ok(Call { given, is_json: true }),
            Ok(_) => no("json_not_object"),
            Err(_) => no("invalid_json"),
        },
        "application/x-www-form-urlencoded" => {
            Ok(Call { given: form(&String::from_utf8_lossy(body)), is_json: false })
        }
        _ if body.is_empty() => Ok(Call { given: Map::new(), is_json: false }),
        _ => no("invalid_post_type"),
    }
}

impl Inner {
    /// Answers a call of the Web API.
    pub(super) async fn api(
        &self,
        name: &str,
        method: &Method,
        query: &str,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Response {
        self.calls.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(name.to_owned());
        let fault = self.faults.take(name);
        match &fault {
            Some(Fault::Status(status)) => {
                return StatusCode::from_u16(*status).unwrap_or(StatusCode::BAD_GATEWAY).into_response();
            }
            Some(Fault::Limit(wait)) => return limited(*wait),
            Some(Fault::Refuse(error)) => {
                return http::json(StatusCode::OK, &json!({"ok": false, "error": error}));
            }
            Some(Fault::LoseAnswer) | None => {}
        }
        let given = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let token = if name == "apps.connections.open" { APP_TOKEN } else { BOT_TOKEN };
        let done = if given != format!("Bearer {token}") {
            self.ledger.violated(format!("{name} with a wrong token"));
            no(if given.is_empty() { "not_authed" } else { "invalid_auth" })
        } else {
            read(method, query, headers, body).and_then(|call| self.done(name, &call))
        };
        let answer = match done {
            Ok(mut value) => {
                value["ok"] = json!(true);
                let mut answer = http::json(StatusCode::OK, &value);
                let scopes = Vec::from_iter(self.state().scopes.iter().cloned()).join(",");
                if let Ok(scopes) = scopes.parse() {
                    answer.headers_mut().insert("x-oauth-scopes", scopes);
                }
                answer
            }
            Err(No("ratelimited", _)) => limited(1),
            Err(No(error, detail)) => {
                let messages: Vec<String> = detail.into_iter().collect();
                let value = json!({"ok": false, "error": error, "response_metadata": {"messages": messages}});
                if is_our_mistake(error) {
                    self.ledger.violated(format!("{name}: {value} for {}", String::from_utf8_lossy(body)));
                }
                http::json(StatusCode::OK, &value)
            }
        };
        http::carried(fault, async { answer }).await
    }

    fn done(&self, name: &str, call: &Call) -> Done {
        let mut state = self.state();
        match name {
            "auth.test" => Ok(json!({
                "url": "https://shop.slack.test/", "team": "Shop", "user": "switchyard", "team_id": TEAM,
                "user_id": BOT_USER, "bot_id": BOT, "is_enterprise_install": false,
            })),
            "chat.postMessage" => self.post(&mut state, call),
            "chat.update" => self.update(&mut state, call),
            "conversations.history" | "conversations.replies" => history(&state, call, name),
            "users.info" => person(&state, call),
            "usergroups.users.list" => {
                scope(&state, "usergroups:read")?;
                let members =
                    state.groups.get(call.needs("usergroup")?).ok_or(No("no_such_subteam", None))?;
                Ok(json!({"users": members}))
            }
            "views.open" => self.open(&mut state, call),
            "views.publish" => self.publish(&mut state, call),
            "apps.connections.open" => {
                let ticket = state.number();
                self.tickets
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner)
                    .insert(ticket.to_string());
                Ok(json!({"url": format!("{}/link/?ticket={ticket}&app_id={APP}", self.socket_base)}))
            }
            _ => no("unknown_method"),
        }
    }

    /// What a message says, checked.
    fn content(&self, call: &Call) -> Result<(String, Value), No> {
        let text = call.text("text").unwrap_or_default();
        let blocks = match call.given.get("blocks") {
            None => json!([]),
            Some(Value::String(text)) => {
                serde_json::from_str(text).map_err(|_| No("invalid_blocks_format", None))?
            }
            Some(blocks) if call.is_json => blocks.clone(),
            Some(_) => return no("invalid_blocks_format"),
        };
        if text.is_empty() && blocks.as_array().is_some_and(Vec::is_empty) {
            return no("no_text");
        }
        if text.chars().count() > 40_000 {
            return no("msg_too_long");
        }
        if let Some(why) = blocks::wrong(&blocks, Surface::Message) {
            return Err(No("invalid_blocks", Some(why)));
        }
        if let Err(why) = blocks::pings(text, "a message's text") {
            self.ledger.violated(why);
        }
        if call.given.contains_key("parse") || call.given.contains_key("link_names") {
            self.ledger.violated("a message asks Slack to find names in what people wrote");
        }
        if let Some(metadata) = call.given.get("metadata") {
            let kind = metadata.get("event_type").and_then(Value::as_str).unwrap_or_default();
            let is_kind = !kind.is_empty() && kind.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            if !is_kind || !metadata.get("event_payload").is_some_and(Value::is_object) {
                return no("invalid_metadata_format");
            }
        }
        Ok((text.to_owned(), with_ids(blocks)))
    }

    fn post(&self, state: &mut State, call: &Call) -> Done {
        scope(state, "chat:write")?;
        let name = call.needs("channel")?.to_owned();
        let (text, blocks) = self.content(call)?;
        let ts = state.ts();
        let channel = open_channel(state, &name)?;
        let thread = call.text("thread_ts").map(str::to_owned);
        if thread.as_ref().is_some_and(|thread| !channel.messages.contains_key(thread)) {
            return no("thread_not_found");
        }
        let now = Instant::now();
        channel.posted.retain(|at| now.duration_since(*at) < Duration::from_secs(4));
        if channel.posted.len() >= 8 {
            return no("ratelimited");
        }
        channel.posted.push(now);
        let message = Message {
            ts: ts.clone(),
            thread,
            user: BOT_USER.to_owned(),
            is_ours: true,
            text,
            blocks,
            metadata: call.given.get("metadata").cloned(),
        };
        let value = message.value(true);
        self.ledger.note(Said::now(&name, &ts, shown(&message), value.clone()));
        channel.messages.insert(ts.clone(), message);
        Ok(json!({"channel": name, "ts": ts, "message": value}))
    }

    fn update(&self, state: &mut State, call: &Call) -> Done {
        scope(state, "chat:write")?;
        let (name, ts) = (call.needs("channel")?.to_owned(), call.needs("ts")?.to_owned());
        let (text, blocks) = self.content(call)?;
        let channel = open_channel(state, &name)?;
        let message = channel.messages.get_mut(&ts).ok_or(No("message_not_found", None))?;
        if !message.is_ours {
            return no("cant_update_message");
        }
        message.text = text;
        message.blocks = blocks;
        if let Some(metadata) = call.given.get("metadata") {
            message.metadata = Some(metadata.clone());
        }
        let value = message.value(true);
        self.ledger.note(Said::now(&name, &ts, shown(message), value.clone()).edit());
        Ok(json!({"channel": name, "ts": ts, "text": message.text, "message": value}))
    }

    fn open(&self, state: &mut State, call: &Call) -> Done {
        let id = call.needs("trigger_id")?;
        let view = call.given.get("view").cloned().ok_or(No("invalid_arguments", None))?;
        let life = state.trigger_life;
        let trigger = state.triggers.get_mut(id).ok_or(No("invalid_trigger_id", None))?;
        if std::mem::replace(&mut trigger.was_used, true) {
            return no("exchanged_trigger_id");
        }
        if trigger.made.elapsed() > life {
            return no("expired_trigger_id");
        }
        let user = trigger.user.clone();
        if let Some(why) =
            blocks::wrong_view(&view).or_else(|| (view["type"] != "modal").then(|| "no window".to_owned()))
        {
            return Err(No("invalid_arguments", Some(why)));
        }
        let id = format!("V{}", state.number());
        let mut body = view;
        body["id"] = json!(id);
        body["team_id"] = json!(TEAM);
        body["hash"] = json!(format!("{}.{id}", seconds()));
        body["blocks"] = with_ids(body["blocks"].clone());
        let place = format!("window/{user}");
        let title = body.pointer("/title/text").and_then(Value::as_str).unwrap_or_default();
        let text = format!("{title}\n{}", blocks::read(&body["blocks"]));
        self.ledger.note(Said::now(&place, &id, text, body.clone()));
        state.views.insert(id.clone(), View { user, body: body.clone() });
        Ok(json!({"view": body}))
    }

    fn publish(&self, state: &mut State, call: &Call) -> Done {
        let user = call.needs("user_id")?.to_owned();
        let view = call.given.get("view").cloned().ok_or(No("invalid_arguments", None))?;
        if !state.users.contains_key(&user) {
            return no("user_not_found");
        }
        if let Some(why) =
            blocks::wrong_view(&view).or_else(|| (view["type"] != "home").then(|| "no home".to_owned()))
        {
            return Err(No("invalid_arguments", Some(why)));
        }
        let said = Said::now(
            &format!("home/{user}"),
            &format!("home/{user}"),
            blocks::read(&view["blocks"]),
            view.clone(),
        );
        self.ledger.note(if state.homes.insert(user, view.clone()).is_some() { said.edit() } else { said });
        Ok(json!({"view": view}))
    }

    /// A POST to a response URL.
    pub(super) fn respond(&self, path: &str, headers: &HeaderMap, body: &Bytes) -> Response {
        let mut state = self.state();
        let Some(response) = state.responses.get_mut(path) else {
            return (StatusCode::NOT_FOUND, "no_such_url").into_response();
        };
        response.uses += 1;
        if response.has_run_out {
            self.ledger.violated("a response URL was used after it had run out");
        }
        if response.has_run_out || response.uses > 5 || response.made.elapsed() > Duration::from_secs(1800) {
            return (StatusCode::NOT_FOUND, "used_url").into_response();
        }
        let is_json =
            headers.get("content-type").is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
        let given: Option<Value> = is_json.then(|| serde_json::from_slice(body).ok()).flatten();
        let Some(given) = given else {
            self.ledger.violated("a response URL was sent something that is no JSON");
            return (StatusCode::BAD_REQUEST, "invalid_payload").into_response();
        };
        let (channel, user) = (response.channel.clone(), response.user.clone());
        self.whisper(&mut state, &channel, &user, &given);
        (StatusCode::OK, "ok").into_response()
    }

    /// What an app says to one person, or to the channel, without a token.
    pub(super) fn whisper(&self, state: &mut State, channel: &str, user: &str, given: &Value) {
        let text = given["text"].as_str().unwrap_or_default();
        let blocks = given.get("blocks").cloned().unwrap_or_else(|| json!([]));
        if let Some(why) =
            blocks::wrong(&blocks, Surface::Message).or_else(|| blocks::pings(text, "a whisper").err())
        {
            self.ledger.violated(why);
        }
        let read = if blocks.as_array().is_some_and(|blocks| !blocks.is_empty()) {
            blocks::read(&blocks)
        } else {
            blocks::shown(text)
        };
        if read.is_empty() {
            return;
        }
        let ts = state.ts();
        let place = if given["response_type"] == "in_channel" {
            channel.to_owned()
        } else {
            format!("{channel}/{user}")
        };
        self.ledger.note(Said::now(&place, &ts, read, given.clone()));
    }
}

/// Errors that only a caller can make who does not know Slack.
fn is_our_mistake(error: &str) -> bool {
    !matches!(
        error,
        "channel_not_found"
            | "not_in_channel"
            | "is_archived"
            | "message_not_found"
            | "thread_not_found"
            | "expired_trigger_id"
            | "user_not_found"
            | "no_such_subteam"
            | "missing_scope"
    )
}

fn limited(wait: u64) -> Response {
    let headers = [("retry-after", wait.to_string()), ("content-type", "application/json".to_owned())];
    (StatusCode::TOO_MANY_REQUESTS, headers, r#"{"ok":false,"error":"ratelimited"}"#).into_response()
}

fn scope(state: &State, needed: &'static str) -> Result<(), No> {
    if state.scopes.contains(needed) { Ok(()) } else { no("missing_scope") }
}

/// A channel in which the bot may speak.
fn open_channel<'s>(state: &'s mut State, name: &str) -> Result<&'s mut super::state::Channel, No> {
    let channel = state.channels.get_mut(name).ok_or(No("channel_not_found", None))?;
    match (channel.is_archived, channel.has_bot) {
        (true, _) => no("is_archived"),
        (_, false) => no("not_in_channel"),
        _ => Ok(channel),
    }
}

/// Blocks with an id each, as Slack gives them.
fn with_ids(blocks: Value) -> Value {
    let Value::Array(mut blocks) = blocks else { return blocks };
    for (index, block) in blocks.iter_mut().enumerate() {
        if block.get("block_id").is_none() {
            block["block_id"] = json!(format!("b{index}"));
        }
    }
    Value::Array(blocks)
}

fn shown(message: &Message) -> String {
    let read = blocks::read(&message.blocks);
    if read.is_empty() { blocks::shown(&message.text) } else { read }
}

fn history(state: &State, call: &Call, name: &str) -> Done {
    if call.is_json {
        return no("invalid_arguments");
    }
    scope(state, "channels:history")?;
    let channel = state.channels.get(call.needs("channel")?).ok_or(No("channel_not_found", None))?;
    if !channel.has_bot {
        return no("not_in_channel");
    }
    let oldest = call.text("oldest").unwrap_or("0");
    let limit: usize = call.text("limit").unwrap_or("100").parse().map_err(|_| No("invalid_limit", None))?;
    if limit == 0 || limit > 999 {
        return no("invalid_limit");
    }
    let with_metadata = call.text("include_all_metadata") == Some("true");
    let newer = |message: &&Message| number(&message.ts) > number(oldest);
    let messages: Vec<Value> = if name == "conversations.replies" {
        let thread = call.needs("ts")?;
        let parent = channel.messages.get(thread).ok_or(No("thread_not_found", None))?;
        let replies = channel.messages.values().filter(|message| message.thread.as_deref() == Some(thread));
        let replies = replies.filter(newer).take(limit);
        std::iter::once(parent).chain(replies).map(|message| message.value(with_metadata)).collect()
    } else {
        let at_top = channel.messages.values().rev().filter(|message| message.thread.is_none());
        at_top.filter(newer).take(limit).map(|message| message.value(with_metadata)).collect()
    };
    Ok(json!({"messages": messages, "has_more": false}))
}

/// Seconds and the number behind them.
fn number(ts: &str) -> (u64, u64) {
    let (seconds, rest) = ts.split_once('.').unwrap_or((ts, "0"));
    (seconds.parse().unwrap_or(0), rest.parse().unwrap_or(0))
}

fn person(state: &State, call: &Call) -> Done {
    if call.is_json {
        return no("invalid_arguments");
    }
    scope(state, "users:read")?;
    let id = call.needs("user")?;
    let user = state.users.get(id).ok_or(No("user_not_found", None))?;
    Ok(json!({"user": {
        "id": id, "team_id": user.team, "name": id.to_lowercase(), "deleted": user.is_deleted, "is_bot": user.is_bot,
        "is_restricted": user.is_restricted, "is_ultra_restricted": user.is_ultra_restricted, "is_stranger": user.team != TEAM,
    }}))
}

/// The fields of a form, the first of each name.
pub(super) type Form = BTreeMap<String, String>;
