//! The App's settings, as its owner changes them, and where its webhook goes.

use serde_json::{Value, json};

use super::Github;
use super::api::{Answer, Api, Request};

impl Github {
    /// Changes what the App may; `None` takes a permission from it.
    pub fn permit(&self, permission: &str, level: Option<&str>) {
        let mut inner = self.shared.lock();
        match level {
            Some(level) => inner.permissions.insert(permission.to_owned(), level.to_owned()),
            None => inner.permissions.remove(permission),
        };
    }

    /// Gives the repository another name, or another owner: what was under the old one is found under the new one.
    pub fn rename(&self, to: &str) {
        let mut inner = self.shared.lock();
        let before = std::mem::replace(&mut inner.world.repository, to.to_owned());
        inner.world.former_name = Some(before);
    }

    /// Takes an event from the App.
    pub fn unsubscribe(&self, event: &str) {
        self.shared.lock().events.remove(event);
    }
}

impl Api<'_> {
    /// Where a request under the repository's former name is led to.
    pub(super) fn led(&self, request: &Request) -> Option<Answer> {
        let [repos, owner, name, rest @ ..] = request.path.as_slice() else { return None };
        let former = self.world.former_name.as_deref()?;
        if repos != "repos" || !format!("{owner}/{name}").eq_ignore_ascii_case(former) {
            return None;
        }
        let path: String = rest.iter().map(|part| format!("/{part}")).collect();
        let query: Vec<String> =
            request.query.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let location = format!("/repos/{}{path}?{}", self.world.repository, query.join("&"));
        Some(Answer { headers: vec![("location", location)], ..Answer::refusal(301, "Moved Permanently") })
    }

    /// Where webhooks go; the secret is never shown.
    pub(super) fn hook_config(&self) -> Answer {
        let url = self.post.url.clone().map_or(Value::Null, Value::String);
        Answer::ok(json!({"content_type": "json", "insecure_ssl": "0", "secret": "********", "url": url}))
    }
}
