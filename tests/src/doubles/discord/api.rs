//! Discord's HTTP API, and what the answers to interactions do.

use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use super::state::{
    APPLICATION, BEGIN_THREADS, Channel, FIRST_ANSWER, GUILD, Message, ROLE, State, TOKEN_LIFE,
    WRITE_IN_THREADS,
};
use super::{Inner, TOKEN, check};
use crate::doubles::http::{self, Fault};
use crate::doubles::ledger::Said;

/// What a call came to: a status and a body.
pub(super) type Done = Result<(StatusCode, Value), No>;

/// A refusal: status, Discord's code, its words.
#[derive(Debug)]
pub(super) struct No(StatusCode, u32, String);

fn no<T>(status: StatusCode, code: u32, what: impl Into<String>) -> Result<T, No> {
    Err(No(status, code, what.into()))
}

const fn ok(value: Value) -> Done {
    Ok((StatusCode::OK, value))
}

fn bad_form<T>(why: String) -> Result<T, No> {
    let code = if why.starts_with("50006") { 50_006 } else { 50_035 };
    no(StatusCode::BAD_REQUEST, code, why)
}

impl Inner {
    /// Answers a call of the API.
    pub(super) async fn api(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Response {
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let name = call_name(method, &parts);
        self.calls.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(name.clone());
        let fault = self.faults.take(&name);
        match &fault {
            Some(Fault::Status(status)) => {
                return StatusCode::from_u16(*status).unwrap_or(StatusCode::BAD_GATEWAY).into_response();
            }
            Some(Fault::Limit(wait)) => return limited(*wait),
            Some(Fault::Refuse(code)) => {
                let code: u32 = code.parse().unwrap_or(0);
                let value = json!({"code": code, "message": "as it was told to"});
                return http::json(StatusCode::BAD_REQUEST, &value);
            }
            Some(Fault::LoseAnswer) | None => {}
        }
        let done = match self.allowed(&parts, headers).and_then(|()| content(method, headers, body)) {
            Ok(given) => self.done(method, &parts, given),
            Err(refused) => Err(refused),
        };
        let answer = match done {
            Ok((StatusCode::NO_CONTENT, _)) => StatusCode::NO_CONTENT.into_response(),
            Ok((status, value)) => {
                let mut answer = http::json(status, &value);
                for (name, value) in [
                    ("x-ratelimit-limit", "50"),
                    ("x-ratelimit-remaining", "49"),
                    ("x-ratelimit-reset-after", "1.000"),
                    ("x-ratelimit-bucket", "double"),
                ] {
                    answer.headers_mut().insert(
                        name,
                        value.parse().unwrap_or_else(|_| axum::http::HeaderValue::from_static("0")),
                    );
                }
                answer
            }
            Err(No(StatusCode::TOO_MANY_REQUESTS, ..)) => limited(1),
            Err(No(status, code, what)) => {
                if is_our_mistake(code) {
                    self.ledger.violated(format!("{name}: {code} {what}: {}", String::from_utf8_lossy(body)));
                }
                http::json(status, &json!({"code": code, "message": what}))
            }
        };
        http::carried(fault, async { answer }).await
    }

    fn allowed(&self, parts: &[&str], headers: &HeaderMap) -> Result<(), No> {
        let header = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if !header("user-agent").starts_with("DiscordBot (") {
            self.ledger.violated(format!("a call without Discord's User-Agent: {parts:?}"));
        }
        // A token in the address is enough.
        if matches!(parts.first(), Some(&("webhooks" | "interactions"))) {
            return Ok(());
        }
        if header("authorization") == format!("Bot {TOKEN}") {
            return Ok(());
        }
        self.ledger.violated(format!("a call with a wrong token: {parts:?}"));
        no(StatusCode::UNAUTHORIZED, 0, "401: Unauthorized")
    }

    fn done(&self, method: &Method, parts: &[&str], given: Value) -> Done {
        let mut state = self.state();
        match (method.as_str(), parts) {
            ("GET", ["users", "@me"]) => ok(
                json!({"id": APPLICATION, "username": "switchyard", "bot": true, "discriminator": "0", "avatar": null}),
            ),
            ("GET", ["applications", "@me"]) => ok(json!({
                "id": APPLICATION, "name": "switchyard", "verify_key": self.public_key, "bot": {"id": APPLICATION},
                "interactions_endpoint_url": state.endpoint,
            })),
            ("GET", ["guilds", GUILD]) => ok(json!({
                "id": GUILD, "name": "shop", "owner_id": "100000000000000001", "roles": [
                    {"id": GUILD, "name": "@everyone", "permissions": "0"},
                    {"id": ROLE, "name": "switchyard", "permissions": state.rights.to_string()},
                ],
            })),
            ("GET", ["guilds", GUILD, "members", id]) => member(&state, id),
            ("GET", ["gateway", "bot"]) => ok(json!({
                "url": self.socket_base, "shards": 1,
                "session_start_limit": {"total": 1000, "remaining": 999, "reset_after": 14_400_000, "max_concurrency": 1},
            })),
            ("GET", ["channels", id]) => {
                let denied = channel(&mut state, id)?.denied.to_string();
                ok(json!({
                    "id": id, "type": 0, "guild_id": GUILD, "name": "ops",
                    "permission_overwrites": [{"id": ROLE, "type": 0, "allow": "0", "deny": denied}],
                }))
            }
            ("POST", ["channels", id, "messages"]) => self.post(&mut state, id, given),
            ("POST", ["channels", id, "messages", message, "threads"]) => {
                begin_thread(&mut state, id, message, &given)
            }
            ("GET", ["channels", id, "messages"]) => {
                let open = channel(&mut state, id)?;
                ok(open
                    .messages
                    .values()
                    .rev()
                    .filter(|each| each.only_for.is_none())
                    .map(Message::value)
                    .collect())
            }
            ("PATCH", ["channels", id, "messages", message]) => {
                channel(&mut state, id)?;
                let message = message.parse().unwrap_or(0);
                self.patch(&mut state, id, message, &given)
            }
            ("GET", ["applications", APPLICATION, "commands"]) => {
                ok(json!(state.commands.get("global").cloned().unwrap_or_default()))
            }
            ("GET", ["applications", APPLICATION, "guilds", GUILD, "commands"]) => {
                ok(json!(state.commands.get(GUILD).cloned().unwrap_or_default()))
            }
            ("PUT", ["applications", APPLICATION, "commands"]) => register(&mut state, "global", given),
            ("PUT", ["applications", APPLICATION, "guilds", GUILD, "commands"]) => {
                register(&mut state, GUILD, given)
            }
            ("PATCH", ["webhooks", APPLICATION, token, "messages", "@original"]) => {
                self.original(&mut state, token, &given)
            }
            ("DELETE", ["webhooks", APPLICATION, token, "messages", "@original"]) => {
                taken_away(&mut state, token)
            }
            ("POST", ["webhooks", APPLICATION, token]) => self.follow_up(&mut state, token, given),
            ("POST", ["interactions", id, token, "callback"]) => {
                let is_its = state.interactions.get(*token).is_some_and(|each| each.id.to_string() == *id);
                if !is_its {
                    return no(StatusCode::NOT_FOUND, 10_062, "Unknown interaction");
                }
                self.answered(&mut state, token, &given)?;
                Ok((StatusCode::NO_CONTENT, Value::Null))
            }
            _ => no(StatusCode::NOT_FOUND, 0, format!("404: {method} {parts:?} is nowhere in Discord")),
        }
    }

    fn checked(&self, given: &Value) -> Result<(), No> {
        check::message(given).or_else(bad_form)?;
        if let Err(why) = check::calls_nobody(given) {
            self.ledger.violated(format!("{why}: {given}"));
        }
        Ok(())
    }

    fn post(&self, state: &mut State, id: &str, given: Value) -> Done {
        self.checked(&given)?;
        let number = state.id();
        let may_write = state.rights & WRITE_IN_THREADS != 0;
        let open = channel(state, id)?;
        if open.thread.is_some() && !may_write {
            return no(StatusCode::FORBIDDEN, 50_013, "Missing Permissions");
        }
        let nonce = given.get("nonce").and_then(Value::as_str).map(str::to_owned);
        if let Some(nonce) = &nonce
            && given["enforce_nonce"] == true
            && let Some(first) = open.nonces.get(nonce).and_then(|first| open.messages.get(first))
        {
            return ok(first.value());
        }
        let now = Instant::now();
        open.posted.retain(|at| now.duration_since(*at) < Duration::from_secs(5));
        if open.posted.len() >= 10 {
            return no(StatusCode::TOO_MANY_REQUESTS, 0, "");
        }
        open.posted.push(now);
        if let Some(nonce) = nonce {
            open.nonces.insert(nonce, number);
        }
        let message = Message {
            id: number,
            channel: id.to_owned(),
            body: given,
            only_for: None,
            aged: 0,
            late_edits: 0,
        };
        ok(self.put(state, message))
    }

    /// Puts a message where it is read.
    fn put(&self, state: &mut State, message: Message) -> Value {
        let place = match &message.only_for {
            Some(user) => format!("{}/{user}", message.channel),
            None => message.channel.clone(),
        };
        self.ledger.note(Said::now(
            &place,
            &message.id.to_string(),
            check::read(&message.body),
            message.body.clone(),
        ));
        let value = message.value();
        let place = state.channels.entry(message.channel.clone()).or_default();
        place.messages.insert(message.id, message);
        value
    }

    fn patch(&self, state: &mut State, id: &str, number: u64, given: &Value) -> Done {
        self.checked(given)?;
        let place = state.channels.get_mut(id);
        let Some(message) = place.and_then(|channel| channel.messages.get_mut(&number)) else {
            return no(StatusCode::NOT_FOUND, 10_008, "Unknown Message");
        };
        if message.aged > 3600 {
            message.late_edits += 1;
            if message.late_edits > 3 {
                return no(
                    StatusCode::TOO_MANY_REQUESTS,
                    30_046,
                    "Maximum number of edits to messages older than 1 hour reached.",
                )
                .map_err(|No(_, code, what)| No(StatusCode::BAD_REQUEST, code, what));
            }
        }
        for (key, value) in given.as_object().into_iter().flatten() {
            message.body[key.as_str()] = value.clone();
        }
        let place = match &message.only_for {
            Some(user) => format!("{id}/{user}"),
            None => id.to_owned(),
        };
        self.ledger.note(
            Said::now(&place, &number.to_string(), check::read(&message.body), message.body.clone()).edit(),
        );
        ok(message.value())
    }

    fn original(&self, state: &mut State, token: &str, given: &Value) -> Done {
        let interaction = living(state, token)?.clone();
        match (interaction.answer, interaction.original) {
            (Some(_), Some(original)) => self.patch(state, &interaction.channel, original, given),
            // "Thinking" becomes the message.
            (Some(5), None) => {
                self.checked(given)?;
                let message = self.message_of(state, &interaction, given.clone());
                let id = message.id;
                let value = self.put(state, message);
                if let Some(kept) = state.interactions.get_mut(token) {
                    kept.original = Some(id);
                }
                ok(value)
            }
            _ => no(StatusCode::NOT_FOUND, 10_008, "Unknown Message"),
        }
    }

    fn follow_up(&self, state: &mut State, token: &str, given: Value) -> Done {
        let interaction = living(state, token)?.clone();
        if interaction.answer.is_none() {
            return no(StatusCode::NOT_FOUND, 10_015, "Unknown Webhook");
        }
        self.checked(&given)?;
        let message = self.message_of(state, &interaction, given);
        ok(self.put(state, message))
    }

    fn message_of(&self, state: &mut State, interaction: &super::state::Interaction, body: Value) -> Message {
        let is_whisper = interaction.is_whisper
            || body.get("flags").and_then(Value::as_u64).is_some_and(|flags| flags & 64 != 0);
        let only_for = is_whisper.then(|| interaction.user.clone());
        Message {
            id: state.id(),
            channel: interaction.channel.clone(),
            body,
            only_for,
            aged: 0,
            late_edits: 0,
        }
    }

    /// The first answer to an interaction.
    pub(super) fn answered(&self, state: &mut State, token: &str, given: &Value) -> Result<(), No> {
        let Some(interaction) = state.interactions.get(token).cloned() else {
            return no(StatusCode::NOT_FOUND, 10_062, "Unknown interaction");
        };
        if interaction.answer.is_some() {
            return no(StatusCode::BAD_REQUEST, 40_060, "Interaction has already been acknowledged.");
        }
        if interaction.made.elapsed() > FIRST_ANSWER {
            return no(StatusCode::NOT_FOUND, 10_062, "Unknown interaction");
        }
        let kind = given.get("type").and_then(Value::as_u64).unwrap_or(0);
        let fits = match interaction.kind {
            2 => matches!(kind, 4 | 5 | 9),
            3 => matches!(kind, 4..=7 | 9),
            4 => kind == 8,
            5 => matches!(kind, 4..=7),
            _ => false,
        };
        if !fits {
            return bad_form(format!(
                "an answer of type {kind} to an interaction of type {}",
                interaction.kind
            ));
        }
        let data = given.get("data").cloned().unwrap_or_else(|| json!({}));
        let flags = data.get("flags").and_then(Value::as_u64).unwrap_or(0);
        let mut kept = interaction.clone();
        kept.answer = Some(kind);
        kept.is_whisper = flags & 64 != 0;
        match kind {
            4 => {
                self.checked(&data)?;
                let message = self.message_of(state, &kept, data);
                kept.original = Some(message.id);
                self.put(state, message);
            }
            5 if data.as_object().is_some_and(|data| data.keys().any(|key| key != "flags"))
                || flags & !64 != 0 =>
            {
                return bad_form(format!("a deferral takes no more than one flag: {data}"));
            }
            7 => {
                let Some(original) = kept.original else { return bad_form("nothing to update".to_owned()) };
                self.patch(state, &interaction.channel, original, &data)?;
            }
            8 => {
                check::choices(&data).or_else(bad_form)?;
                kept.choices = Some(data["choices"].clone());
            }
            9 => {
                check::modal(&data).or_else(bad_form)?;
                let text = format!("{}\n{}", data["title"].as_str().unwrap_or_default(), check::read(&data));
                self.ledger.note(Said::now(&format!("window/{}", kept.user), token, text, data.clone()));
                kept.modal = Some(data);
            }
            _ => {}
        }
        state.interactions.insert(token.to_owned(), kept);
        Ok(())
    }

    /// The first answer, as it came with the acknowledgement.
    pub(super) fn answered_at_once(&self, token: &str, given: &Value) -> Result<(), String> {
        self.answered(&mut self.state(), token, given).map_err(|No(_, code, what)| {
            self.ledger.violated(format!("the answer to an interaction: {code} {what}: {given}"));
            what
        })
    }
}

/// Takes away the answer to an interaction, or the "thinking" that stands for it.
fn taken_away(state: &mut State, token: &str) -> Done {
    let interaction = living(state, token)?.clone();
    if interaction.answer.is_none() || interaction.is_settled {
        return no(StatusCode::NOT_FOUND, 10_008, "Unknown Message");
    }
    if let (Some(message), Some(channel)) =
        (interaction.original, state.channels.get_mut(&interaction.channel))
    {
        channel.messages.remove(&message);
    }
    if let Some(kept) = state.interactions.get_mut(token) {
        kept.is_settled = true;
    }
    Ok((StatusCode::NO_CONTENT, Value::Null))
}

/// An interaction whose token lives.
fn living<'s>(state: &'s State, token: &str) -> Result<&'s super::state::Interaction, No> {
    match state.interactions.get(token) {
        None => no(StatusCode::NOT_FOUND, 10_015, "Unknown Webhook"),
        Some(each) if each.made.elapsed() + each.aged > TOKEN_LIFE => {
            no(StatusCode::UNAUTHORIZED, 50_027, "Invalid Webhook Token")
        }
        Some(each) => Ok(each),
    }
}

fn member(state: &State, id: &str) -> Done {
    let (name, is_bot) = match state.members.get(id) {
        _ if id == APPLICATION => ("switchyard", true),
        Some(member) => (member.name.as_str(), member.is_bot),
        None => return no(StatusCode::NOT_FOUND, 10_007, "Unknown Member"),
    };
    let roles = if id == APPLICATION { json!([ROLE]) } else { json!([]) };
    ok(json!({"user": {"id": id, "username": name, "bot": is_bot}, "roles": roles}))
}

/// A thread at a message: it has the message's id, and there is one at most.
fn begin_thread(state: &mut State, id: &str, message: &str, given: &Value) -> Done {
    let may_begin = state.rights & BEGIN_THREADS != 0;
    let number: u64 = message.parse().unwrap_or(0);
    let place = channel(state, id)?;
    if !place.messages.contains_key(&number) {
        return no(StatusCode::NOT_FOUND, 10_008, "Unknown Message");
    }
    if place.thread.is_some() || !may_begin {
        return no(StatusCode::FORBIDDEN, 50_013, "Missing Permissions");
    }
    let name = given["name"].as_str().unwrap_or_default();
    let lasts = given["auto_archive_duration"].as_u64().unwrap_or(0);
    if !(1..=100).contains(&name.chars().count()) || ![60, 1_440, 4_320, 10_080].contains(&lasts) {
        return bad_form(format!("a thread called “{name}”, folded after {lasts} minutes"));
    }
    if state.channels.contains_key(message) {
        return no(StatusCode::BAD_REQUEST, 160_004, "A thread has already been created for this message");
    }
    let thread = Channel { thread: Some(name.to_owned()), ..Channel::default() };
    state.channels.insert(message.to_owned(), thread);
    Ok((
        StatusCode::CREATED,
        json!({"id": message, "type": 11, "guild_id": GUILD, "parent_id": id, "name": name}),
    ))
}

fn channel<'s>(state: &'s mut State, id: &str) -> Result<&'s mut Channel, No> {
    match state.channels.get_mut(id) {
        None => no(StatusCode::NOT_FOUND, 10_003, "Unknown Channel"),
        Some(channel) if channel.is_closed => no(StatusCode::FORBIDDEN, 50_001, "Missing Access"),
        Some(channel) => Ok(channel),
    }
}

/// Replaces all commands; those that stay keep their ids.
fn register(state: &mut State, place: &str, given: Value) -> Done {
    check::commands(&given).or_else(bad_form)?;
    state.registrations += 1;
    let before = state.commands.get(place).cloned().unwrap_or_default();
    let mut commands = given.as_array().cloned().unwrap_or_default();
    for command in &mut commands {
        let known = before.iter().find(|each| each["name"] == command["name"]).map(|each| each["id"].clone());
        let id = known.unwrap_or_else(|| json!(state.id().to_string()));
        command["id"] = id;
        command["application_id"] = json!(APPLICATION);
        command["version"] = json!(state.id().to_string());
        if place != "global" {
            command["guild_id"] = json!(place);
        }
        filled(command);
    }
    state.commands.insert(place.to_owned(), commands.clone());
    ok(json!(commands))
}

/// What Discord fills in where nothing was said.
fn filled(command: &mut Value) {
    let defaults = json!({
        "type": 1, "default_member_permissions": null, "nsfw": false, "name_localizations": null,
        "description_localizations": null, "contexts": null, "integration_types": [0], "dm_permission": true,
    });
    for (key, value) in defaults.as_object().into_iter().flatten() {
        if command.get(key).is_none() {
            command[key.as_str()] = value.clone();
        }
    }
}

fn content(method: &Method, headers: &HeaderMap, body: &Bytes) -> Result<Value, No> {
    if method == Method::GET || method == Method::DELETE {
        return Ok(Value::Null);
    }
    let kind = headers.get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.starts_with("application/json") {
        return no(StatusCode::BAD_REQUEST, 50_035, format!("the content type {kind}"));
    }
    serde_json::from_slice(body)
        .or_else(|_| no(StatusCode::BAD_REQUEST, 50_109, "The request body contains invalid JSON."))
}

fn is_our_mistake(code: u32) -> bool {
    !matches!(code, 10_003 | 10_007 | 10_008 | 10_015 | 10_062 | 30_046 | 50_001 | 50_013 | 50_027 | 160_004)
}

fn limited(wait: u64) -> Response {
    let headers = [
        ("retry-after", wait.to_string()),
        ("content-type", "application/json".to_owned()),
        ("x-ratelimit-scope", "user".to_owned()),
        ("x-ratelimit-reset-after", wait.to_string()),
    ];
    let body =
        json!({"message": "You are being rate limited.", "retry_after": wait, "global": false}).to_string();
    (StatusCode::TOO_MANY_REQUESTS, headers, body).into_response()
}

/// A call, without the ids in its path.
fn call_name(method: &Method, parts: &[&str]) -> String {
    let named: Vec<&str> =
        parts.iter().filter(|part| !part.chars().any(|c| c.is_ascii_digit())).copied().collect();
    format!("{method} {}", named.join("/"))
}
