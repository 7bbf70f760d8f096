//! GitHub's teams.

use std::collections::BTreeSet;

use journal::Group;
use serde_json::Value;

use super::client::{Client, Failure};

/// Members a page.
const PAGE: usize = 100;

/// The accounts of a team, its child teams' included. It is found by its name and taken by its number.
pub(crate) async fn team(client: &Client, group: &Group) -> Result<BTreeSet<String>, String> {
    let Some((org, slug)) = group.name.as_deref().and_then(|name| name.split_once('/')) else {
        return Err("it has no name".to_owned());
    };
    let team = client.get(&format!("/orgs/{org}/teams/{slug}")).await.map_err(|why| told(&why))?;
    let number = |pointer: &str| team.pointer(pointer).and_then(Value::as_u64);
    let (Some(id), Some(organization)) = (number("/id"), number("/organization/id")) else {
        return Err("GitHub's answer has no number for it".to_owned());
    };
    if id.to_string() != group.id {
        return Err(format!("another team has its name now: {id}"));
    }
    let mut accounts = BTreeSet::new();
    for page in 1.. {
        // By number: between the two answers the name could change hands.
        let path = format!("/organizations/{organization}/team/{id}/members?per_page={PAGE}&page={page}");
        let found = client.get(&path).await.map_err(|why| told(&why))?;
        let found = found.as_array().map(Vec::as_slice).unwrap_or_default();
        accounts.extend(found.iter().filter_map(|user| user.get("id")?.as_u64()).map(|id| id.to_string()));
        if found.len() < PAGE {
            break;
        }
    }
    Ok(accounts)
}

fn told(why: &Failure) -> String {
    match why {
        Failure::Missing => {
            "GitHub shows no such team: it is not there, or the App is not installed in its organization"
                .to_owned()
        }
        Failure::Refused(why) if why.contains("not accessible") => {
            format!("the App lacks the organization permission members: read ({why})")
        }
        Failure::Refused(why) | Failure::Later { why, .. } => why.clone(),
    }
}
