//! What Slack takes of Block Kit, and what people read of it.

use std::collections::BTreeSet;

use serde_json::Value;

/// Where blocks stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Surface {
    /// In a message.
    Message,
    /// In a window.
    Modal,
    /// On the home tab.
    Home,
}

/// The first rule that blocks break; none if Slack takes them.
pub(super) fn wrong(blocks: &Value, surface: Surface) -> Option<String> {
    Check { surface, ids: BTreeSet::new() }.blocks(blocks).err()
}

struct Check {
    surface: Surface,
    ids: BTreeSet<String>,
}

type Checked = Result<(), String>;

fn text_of<'v>(value: &'v Value, key: &str) -> Option<&'v str> {
    value.get(key).and_then(Value::as_str)
}

/// Only these keys, and these of them.
fn keys(value: &Value, must: &[&str], may: &[&str]) -> Checked {
    let fields = value.as_object().ok_or_else(|| format!("{value} is no object"))?;
    if let Some(missing) = must.iter().find(|key| !fields.contains_key(**key)) {
        return Err(format!("`{missing}` is missing in {value}"));
    }
    match fields.keys().find(|key| !must.contains(&key.as_str()) && !may.contains(&key.as_str())) {
        Some(unknown) => Err(format!("`{unknown}` is not known in {value}")),
        None => Ok(()),
    }
}

/// A text of a length.
fn length(text: &str, what: &str, most: usize) -> Checked {
    match text.chars().count() {
        0 => Err(format!("{what} is empty")),
        count if count > most => Err(format!("{what} has {count} characters, at most {most} are taken")),
        _ => Ok(()),
    }
}

/// A text object.
fn text(value: &Value, what: &str, most: usize, only_plain: bool) -> Checked {
    match text_of(value, "type") {
        Some("plain_text") => keys(value, &["type", "text"], &["emoji"])?,
        Some("mrkdwn") if !only_plain => keys(value, &["type", "text"], &["verbatim"])?,
        _ => return Err(format!("{what} is no text object that may stand here: {value}")),
    }
    let shown = text_of(value, "text").ok_or_else(|| format!("{what} has no text"))?;
    length(shown, what, most)?;
    if text_of(value, "type") == Some("mrkdwn") {
        pings(shown, what)?;
    }
    Ok(())
}

/// Nothing in a text of ours calls anybody: not Slack's rule but ours, since what people wrote may stand in it.
pub(super) fn pings(text: &str, what: &str) -> Checked {
    match text.split_once('<') {
        Some((_, rest)) if rest.starts_with(['!', '@']) => Err(format!("{what} calls people: {text}")),
        Some((_, rest)) => pings(rest, what),
        None => Ok(()),
    }
}

impl Check {
    fn blocks(&mut self, blocks: &Value) -> Checked {
        let blocks = blocks.as_array().ok_or("`blocks` is no array")?;
        let most = if self.surface == Surface::Message { 50 } else { 100 };
        if blocks.is_empty() && self.surface != Surface::Message || blocks.len() > most {
            return Err(format!("{} blocks, at most {most} are taken", blocks.len()));
        }
        blocks.iter().try_for_each(|block| self.block(block))
    }

    fn block(&mut self, block: &Value) -> Checked {
        if let Some(id) = text_of(block, "block_id") {
            length(id, "a block_id", 255)?;
            if !self.ids.insert(id.to_owned()) {
                return Err(format!("the block_id {id} stands there twice"));
            }
        }
        match text_of(block, "type") {
            Some("section") => {
                keys(block, &["type"], &["text", "fields", "block_id", "accessory", "expand"])?;
                let fields = block.get("fields").and_then(Value::as_array).cloned().unwrap_or_default();
                if block.get("text").is_none() && fields.is_empty() || fields.len() > 10 {
                    return Err(format!("a section with neither text nor 1 to 10 fields: {block}"));
                }
                fields.iter().try_for_each(|field| text(field, "a field", 2000, false))?;
                if let Some(accessory) = block.get("accessory") {
                    self.button(accessory)?;
                }
                block.get("text").map_or(Ok(()), |given| text(given, "a section's text", 3000, false))
            }
            Some("header") => {
                keys(block, &["type", "text"], &["block_id"])?;
                text(block.get("text").unwrap_or(&Value::Null), "a header", 150, true)
            }
            Some("divider") => keys(block, &["type"], &["block_id"]),
            Some("context") => {
                keys(block, &["type", "elements"], &["block_id"])?;
                let elements = block.get("elements").and_then(Value::as_array).cloned().unwrap_or_default();
                if elements.is_empty() || elements.len() > 10 {
                    return Err("a context has 1 to 10 elements".to_owned());
                }
                elements.iter().try_for_each(|element| text(element, "a context's text", 3000, false))
            }
            Some("actions") => {
                keys(block, &["type", "elements"], &["block_id"])?;
                let elements = block.get("elements").and_then(Value::as_array).cloned().unwrap_or_default();
                if elements.is_empty() || elements.len() > 25 {
                    return Err("an actions block has 1 to 25 elements".to_owned());
                }
                let ids: BTreeSet<Option<&str>> =
                    elements.iter().map(|element| text_of(element, "action_id")).collect();
                if ids.len() != elements.len() {
                    return Err(format!("an action_id stands there twice: {block}"));
                }
                elements.iter().try_for_each(|element| self.button(element))
            }
            Some("input") if self.surface == Surface::Modal => input(block),
            other => Err(format!("a block of type {other:?} does not stand in {:?}", self.surface)),
        }
    }

    fn button(&self, button: &Value) -> Checked {
        if text_of(button, "type") != Some("button") {
            return Err(format!("the double knows no element but buttons: {button}"));
        }
        keys(
            button,
            &["type", "text", "action_id"],
            &["value", "style", "url", "confirm", "accessibility_label"],
        )?;
        text(button.get("text").unwrap_or(&Value::Null), "a button's text", 75, true)?;
        length(text_of(button, "action_id").unwrap_or_default(), "an action_id", 255)?;
        if let Some(value) = button.get("value") {
            length(value.as_str().unwrap_or_default(), "a button's value", 2000)?;
        }
        if !matches!(text_of(button, "style"), None | Some("primary" | "danger")) {
            return Err(format!("no such style: {button}"));
        }
        if let Some(confirm) = button.get("confirm") {
            keys(confirm, &["title", "text", "confirm", "deny"], &["style"])?;
            for (key, most) in [("title", 100), ("text", 300), ("confirm", 30), ("deny", 30)] {
                text(confirm.get(key).unwrap_or(&Value::Null), key, most, true)?;
            }
        }
        Ok(())
    }
}

fn input(block: &Value) -> Checked {
    keys(block, &["type", "label", "element"], &["block_id", "hint", "optional", "dispatch_action"])?;
    text(block.get("label").unwrap_or(&Value::Null), "a label", 2000, true)?;
    if let Some(hint) = block.get("hint") {
        text(hint, "a hint", 2000, true)?;
    }
    let element = block.get("element").unwrap_or(&Value::Null);
    keys(
        element,
        &["type", "action_id"],
        &["multiline", "max_length", "min_length", "initial_value", "placeholder", "focus_on_load"],
    )?;
    if text_of(element, "type") != Some("plain_text_input") {
        return Err(format!("the double knows no input but a text: {element}"));
    }
    if let Some(placeholder) = element.get("placeholder") {
        text(placeholder, "a placeholder", 150, true)?;
    }
    match element.get("max_length").and_then(Value::as_u64) {
        Some(0 | 3001..) => Err("max_length is from 1 to 3000".to_owned()),
        _ => Ok(()),
    }
}

/// The first rule that a view breaks.
pub(super) fn wrong_view(view: &Value) -> Option<String> {
    check_view(view).err()
}

fn check_view(view: &Value) -> Checked {
    match text_of(view, "type") {
        Some("modal") => {
            keys(
                view,
                &["type", "title", "blocks"],
                &[
                    "submit",
                    "close",
                    "callback_id",
                    "private_metadata",
                    "clear_on_close",
                    "notify_on_close",
                    "external_id",
                ],
            )?;
            for key in ["title", "submit", "close"] {
                if let Some(given) = view.get(key) {
                    text(given, key, 24, true)?;
                }
            }
            let blocks = view.get("blocks").and_then(Value::as_array).cloned().unwrap_or_default();
            if blocks.iter().any(|block| text_of(block, "type") == Some("input"))
                && view.get("submit").is_none()
            {
                return Err("a window with an input has no submit".to_owned());
            }
            wrong(view.get("blocks").unwrap_or(&Value::Null), Surface::Modal).map_or(Ok(()), Err)?;
        }
        Some("home") => {
            keys(view, &["type", "blocks"], &["callback_id", "private_metadata", "external_id"])?;
            wrong(view.get("blocks").unwrap_or(&Value::Null), Surface::Home).map_or(Ok(()), Err)?;
        }
        other => return Err(format!("a view of type {other:?}")),
    }
    if let Some(callback) = view.get("callback_id") {
        length(callback.as_str().unwrap_or_default(), "a callback_id", 255)?;
    }
    if let Some(kept) = view.get("private_metadata") {
        length(kept.as_str().unwrap_or_default(), "private_metadata", 3000)?;
    }
    Ok(())
}

/// What people read of blocks.
pub(super) fn read(blocks: &Value) -> String {
    let mut lines = Vec::new();
    for block in blocks.as_array().into_iter().flatten() {
        for text in ["/text/text", "/label/text", "/hint/text"] {
            lines.extend(block.pointer(text).and_then(Value::as_str).map(shown));
        }
        for list in ["/fields", "/elements"] {
            let elements = block.pointer(list).and_then(Value::as_array);
            for element in elements.into_iter().flatten() {
                let button =
                    element.pointer("/text/text").and_then(Value::as_str).map(|text| format!("[{text}]"));
                lines.extend(button.or_else(|| text_of(element, "text").map(shown)));
            }
        }
    }
    lines.join("\n")
}

/// Entities as people see them.
pub(super) fn shown(text: &str) -> String {
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}
