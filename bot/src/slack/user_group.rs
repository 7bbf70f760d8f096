//! Slack's user groups.

use std::collections::BTreeSet;

use journal::Group;
use serde_json::Value;

use super::client::{Client, Failed};

/// The accounts of a user group, in its workspace.
pub(crate) async fn user_group(client: &Client, group: &Group) -> Result<BTreeSet<String>, String> {
    let Some((team, id)) = group.id.split_once('/') else { return Err("its id has no team".to_owned()) };
    match client.get("usergroups.users.list", &[("usergroup", id)]).await {
        Ok(answer) => {
            let users = answer.get("users").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            Ok(users.iter().filter_map(Value::as_str).map(|user| format!("{team}/{user}")).collect())
        }
        Err(Failed::Refused(error)) => Err(match error.as_str() {
            "missing_scope" => "the app lacks the scope usergroups:read".to_owned(),
            "no_such_subteam" => "Slack has no such user group, or it is disabled".to_owned(),
            _ => format!("usergroups.users.list: {error}"),
        }),
        Err(Failed::Limited(_)) => Err("usergroups.users.list: too many calls".to_owned()),
        Err(Failed::Unknown(why)) => Err(format!("usergroups.users.list: {why}")),
    }
}
