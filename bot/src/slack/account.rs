//! Whether an account counts now: looked at when its word is used, not when the plan was written.

use serde_json::Value;

use super::client::{Client, Failed};

/// Why an account does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It was deactivated.
    Deleted,
    /// It is a program's.
    Bot,
    /// It is a guest's.
    Guest,
    /// There is none.
    Unknown,
    /// Slack does not let us look.
    Unseen,
}

/// What keeps the account `TEAM/USER` from counting; none if nothing does.
///
/// # Errors
/// Slack could not be asked: try again.
pub async fn standing(client: &Client, account: &str) -> Result<Option<Standing>, String> {
    let user = account.split_once('/').map_or(account, |(_, user)| user);
    match client.get("users.info", &[("user", user)]).await {
        Ok(answer) => {
            let user = answer.get("user").unwrap_or(&Value::Null);
            Ok(judge(user).or_else(|| stranger(account, user)))
        }
        Err(Failed::Refused(error)) => match error.as_str() {
            "user_not_found" | "user_not_visible" => Ok(Some(Standing::Unknown)),
            "missing_scope" => {
                tracing::error!("Slack does not let the bot look at accounts: it lacks the scope users:read");
                Ok(Some(Standing::Unseen))
            }
            _ => Err(format!("users.info: {error}")),
        },
        Err(Failed::Limited(_)) => Err("users.info: too many calls".to_owned()),
        Err(Failed::Unknown(why)) => Err(format!("users.info: {why}")),
    }
}

/// Whether an account that the plan names in an organization is not of that organization: ids are its own within it alone.
fn stranger(account: &str, user: &Value) -> Option<Standing> {
    let home = account.split_once('/').map(|(home, _)| home).filter(|home| home.starts_with('E'))?;
    let is_theirs = user.pointer("/enterprise_user/enterprise_id").and_then(Value::as_str) == Some(home);
    (!is_theirs).then_some(Standing::Unknown)
}

fn judge(user: &Value) -> Option<Standing> {
    let is = |key: &str| user.get(key).and_then(Value::as_bool).unwrap_or(false);
    if !user.is_object() {
        Some(Standing::Unknown)
    } else if is("deleted") {
        Some(Standing::Deleted)
    } else if is("is_bot") || is("is_workflow_bot") {
        Some(Standing::Bot)
    } else if is("is_restricted") || is("is_ultra_restricted") {
        Some(Standing::Guest)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Standing, judge, stranger};

    #[test]
    fn only_a_member_who_is_there_counts() {
        assert_eq!(judge(&json!({"id": "U1", "deleted": false, "is_bot": false})), None);
        for (field, standing) in [
            ("deleted", Standing::Deleted),
            ("is_bot", Standing::Bot),
            ("is_restricted", Standing::Guest),
            ("is_ultra_restricted", Standing::Guest),
        ] {
            assert_eq!(judge(&json!({"id": "U1", field: true})), Some(standing));
        }
        assert_eq!(judge(&Value::Null), Some(Standing::Unknown));
    }

    #[test]
    fn an_account_of_an_organization_is_its_own() {
        let user = json!({"id": "U1", "enterprise_user": {"enterprise_id": "E1"}});
        assert_eq!(stranger("E1/U1", &user), None);
        assert_eq!(stranger("T1/U1", &json!({"id": "U1"})), None);
        assert_eq!(stranger("E2/U1", &user), Some(Standing::Unknown));
        assert_eq!(stranger("E1/U1", &json!({"id": "U1"})), Some(Standing::Unknown));
    }
}
