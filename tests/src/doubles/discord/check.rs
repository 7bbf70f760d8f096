//! What Discord takes: messages, components, windows, commands.

use std::collections::BTreeSet;

use serde_json::Value;

type Checked = Result<(), String>;

fn text<'v>(value: &'v Value, key: &str) -> Option<&'v str> {
    value.get(key).and_then(Value::as_str)
}

fn kind(value: &Value) -> u64 {
    value.get("type").and_then(Value::as_u64).unwrap_or(0)
}

fn length(given: Option<&str>, what: &str, least: usize, most: usize) -> Checked {
    let count = given.unwrap_or_default().chars().count();
    if (least..=most).contains(&count) {
        Ok(())
    } else {
        Err(format!("{what} has {count} characters: from {least} to {most} are taken"))
    }
}

/// The first rule that a message breaks.
pub(super) fn message(body: &Value) -> Checked {
    let known = [
        "content",
        "nonce",
        "enforce_nonce",
        "tts",
        "embeds",
        "allowed_mentions",
        "message_reference",
        "components",
        "flags",
        "attachments",
    ];
    let fields = body.as_object().ok_or("a message is an object")?;
    if let Some(unknown) = fields.keys().find(|key| !known.contains(&key.as_str())) {
        return Err(format!("a message has no field {unknown}"));
    }
    length(text(body, "content"), "content", 0, 2000)?;
    let embeds = body.get("embeds").and_then(Value::as_array).cloned().unwrap_or_default();
    if embeds.len() > 10 {
        return Err("at most 10 embeds are taken".to_owned());
    }
    let mut all = 0;
    for embed in &embeds {
        length(text(embed, "title"), "an embed's title", 0, 256)?;
        length(text(embed, "description"), "an embed's description", 0, 4096)?;
        length(embed.pointer("/footer/text").and_then(Value::as_str), "a footer", 0, 2048)?;
        all += [text(embed, "title"), text(embed, "description")]
            .into_iter()
            .flatten()
            .map(|t| t.chars().count())
            .sum::<usize>();
        let fields = embed.get("fields").and_then(Value::as_array).cloned().unwrap_or_default();
        if fields.len() > 25 {
            return Err("at most 25 fields are taken".to_owned());
        }
        for field in &fields {
            length(text(field, "name"), "a field's name", 1, 256)?;
            length(text(field, "value"), "a field's value", 1, 1024)?;
            all += [text(field, "name"), text(field, "value")]
                .into_iter()
                .flatten()
                .map(|t| t.chars().count())
                .sum::<usize>();
        }
    }
    if all > 6000 {
        return Err("embeds of more than 6000 characters".to_owned());
    }
    if text(body, "content").unwrap_or_default().is_empty() && embeds.is_empty() {
        return Err("50006 an empty message".to_owned());
    }
    if let Some(nonce) = body.get("nonce") {
        length(nonce.as_str(), "a nonce", 1, 25)?;
    }
    rows(body.get("components").unwrap_or(&Value::Null))
}

/// Nothing of ours calls anybody, since what people wrote may stand in it. Not Discord's rule but ours.
pub(super) fn calls_nobody(body: &Value) -> Checked {
    let parse = body.pointer("/allowed_mentions/parse").and_then(Value::as_array);
    if parse.is_some_and(Vec::is_empty) {
        Ok(())
    } else {
        Err("a message whose allowed_mentions are not empty".to_owned())
    }
}

fn rows(components: &Value) -> Checked {
    let rows = match components {
        Value::Null => return Ok(()),
        Value::Array(rows) => rows,
        _ => return Err("components are an array".to_owned()),
    };
    let mut ids = BTreeSet::new();
    if rows.len() > 5 {
        return Err("at most 5 rows are taken".to_owned());
    }
    for row in rows {
        let buttons = row.get("components").and_then(Value::as_array).cloned().unwrap_or_default();
        if kind(row) != 1 || buttons.is_empty() || buttons.len() > 5 {
            return Err(format!("a row has 1 to 5 buttons: {row}"));
        }
        for button in &buttons {
            let style = button.get("style").and_then(Value::as_u64).unwrap_or(0);
            if kind(button) != 2 || !(1..=4).contains(&style) {
                return Err(format!("the double knows no such component: {button}"));
            }
            length(text(button, "label"), "a label", 1, 80)?;
            length(text(button, "custom_id"), "a custom_id", 1, 100)?;
            if !ids.insert(text(button, "custom_id").unwrap_or_default().to_owned()) {
                return Err("a custom_id stands there twice".to_owned());
            }
        }
    }
    Ok(())
}

/// The first rule that a window breaks.
pub(super) fn modal(data: &Value) -> Checked {
    length(text(data, "custom_id"), "a custom_id", 1, 100)?;
    length(text(data, "title"), "a title", 1, 45)?;
    let components = data.get("components").and_then(Value::as_array).cloned().unwrap_or_default();
    if components.is_empty() || components.len() > 5 {
        return Err("a window has 1 to 5 components".to_owned());
    }
    for component in &components {
        match kind(component) {
            // A text.
            10 => length(text(component, "content"), "a text", 1, 4000)?,
            // A label with an input.
            18 => {
                length(text(component, "label"), "a label", 1, 45)?;
                length(text(component, "description"), "a description", 0, 100)?;
                let input = component.get("component").unwrap_or(&Value::Null);
                let style = input.get("style").and_then(Value::as_u64).unwrap_or(0);
                if kind(input) != 4 || !(1..=2).contains(&style) || input.get("label").is_some() {
                    return Err(format!("no text input: {input}"));
                }
                length(text(input, "custom_id"), "a custom_id", 1, 100)?;
                length(text(input, "placeholder"), "a placeholder", 0, 100)?;
                let most = input.get("max_length").and_then(Value::as_u64).unwrap_or(4000);
                let least = input.get("min_length").and_then(Value::as_u64).unwrap_or(0);
                if !(1..=4000).contains(&most) || least > most {
                    return Err("an input's lengths".to_owned());
                }
            }
            other => return Err(format!("the double knows no component {other} in a window")),
        }
    }
    Ok(())
}

/// The first rule that a list of commands breaks.
pub(super) fn commands(given: &Value) -> Checked {
    let commands = given.as_array().ok_or("a list is expected")?;
    if commands.len() > 100 {
        return Err("30032 at most 100 commands are taken".to_owned());
    }
    for command in commands {
        let mut all = 0;
        named(command, &mut all)?;
        options(command, 0, &mut all)?;
        if all > 8000 {
            return Err("50035 a command has more than 8000 characters".to_owned());
        }
        if command
            .get("default_member_permissions")
            .is_some_and(|given| !given.is_string() && !given.is_null())
        {
            return Err("permissions are a string".to_owned());
        }
    }
    Ok(())
}

fn named(given: &Value, all: &mut usize) -> Checked {
    let name = text(given, "name").unwrap_or_default();
    length(Some(name), "a name", 1, 32)?;
    if !name.chars().all(|c| c.is_alphanumeric() && !c.is_uppercase() || matches!(c, '-' | '_' | '\'')) {
        return Err(format!("`{name}` is no name of a command"));
    }
    length(text(given, "description"), "a description", 1, 100)?;
    *all += name.chars().count() + text(given, "description").unwrap_or_default().chars().count();
    Ok(())
}

fn options(given: &Value, depth: u8, all: &mut usize) -> Checked {
    let given = given.get("options").and_then(Value::as_array).cloned().unwrap_or_default();
    if given.len() > 25 {
        return Err("at most 25 options are taken".to_owned());
    }
    let mut names = BTreeSet::new();
    let mut was_optional = false;
    let subcommands = given.iter().filter(|option| matches!(kind(option), 1 | 2)).count();
    if subcommands != 0 && subcommands != given.len() {
        return Err("subcommands beside other options".to_owned());
    }
    for option in &given {
        named(option, all)?;
        if !names.insert(text(option, "name").unwrap_or_default().to_owned()) {
            return Err("an option's name stands there twice".to_owned());
        }
        match (kind(option), depth) {
            (1, 0 | 1) | (2, 0) => options(option, depth + 1, all)?,
            (3..=11, _) => {
                let is_required = option.get("required") == Some(&Value::Bool(true));
                if is_required && was_optional {
                    return Err("a required option behind an optional one".to_owned());
                }
                was_optional |= !is_required;
                let choices = option.get("choices").and_then(Value::as_array).cloned().unwrap_or_default();
                if choices.len() > 25
                    || (!choices.is_empty() && option.get("autocomplete") == Some(&Value::Bool(true)))
                {
                    return Err("at most 25 choices, and none beside autocomplete".to_owned());
                }
            }
            (other, _) => return Err(format!("an option of type {other} at depth {depth}")),
        }
    }
    Ok(())
}

/// What a command's choices are taken as.
pub(super) fn choices(data: &Value) -> Checked {
    let choices = data.get("choices").and_then(Value::as_array).ok_or("choices are an array")?;
    if choices.len() > 25 {
        return Err(format!("{} choices, at most 25 are taken", choices.len()));
    }
    choices.iter().try_for_each(|choice| {
        length(text(choice, "name"), "a choice's name", 1, 100)?;
        match choice.get("value") {
            Some(Value::String(value)) => length(Some(value), "a choice's value", 1, 100),
            Some(Value::Number(_)) => Ok(()),
            other => Err(format!("{other:?} is no value of a choice")),
        }
    })
}

/// What people read of a message.
pub(super) fn read(body: &Value) -> String {
    let mut lines: Vec<String> =
        text(body, "content").filter(|text| !text.is_empty()).map(str::to_owned).into_iter().collect();
    for embed in body.get("embeds").and_then(Value::as_array).into_iter().flatten() {
        lines.extend(["title", "description"].iter().filter_map(|key| text(embed, key)).map(str::to_owned));
        for field in embed.get("fields").and_then(Value::as_array).into_iter().flatten() {
            lines.push(format!(
                "{}: {}",
                text(field, "name").unwrap_or_default(),
                text(field, "value").unwrap_or_default()
            ));
        }
        lines.extend(embed.pointer("/footer/text").and_then(Value::as_str).map(str::to_owned));
    }
    for row in body.get("components").and_then(Value::as_array).into_iter().flatten() {
        lines.extend(text(row, "content").map(str::to_owned));
        lines.extend(text(row, "label").map(str::to_owned));
        for button in row.get("components").and_then(Value::as_array).into_iter().flatten() {
            lines.extend(text(button, "label").map(|label| format!("[{label}]")));
        }
    }
    lines.join("\n")
}
