//! The App's settings, as its owner changes them, and where its webhook goes.

use serde_json::{Value, json};

use super::Github;
use super::api::{Answer, Api};

impl Github {
    /// Changes what the App may; `None` takes a permission from it.
    pub fn permit(&self, permission: &str, level: Option<&str>) {
        let mut inner = self.shared.lock();
        match level {
            Some(level) => inner.permissions.insert(permission.to_owned(), level.to_owned()),
            None => inner.permissions.remove(permission),
        };
    }

    /// Takes an event from the App.
    pub fn unsubscribe(&self, event: &str) {
        self.shared.lock().events.remove(event);
    }
}

impl Api<'_> {
    /// Where webhooks go; the secret is never shown.
    pub(super) fn hook_config(&self) -> Answer {
        let url = self.post.url.clone().map_or(Value::Null, Value::String);
        Answer::ok(json!({"content_type": "json", "insecure_ssl": "0", "secret": "********", "url": url}))
    }
}
