//! What goes over the socket.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The version of these objects.
pub const VERSION: u8 = 1;

/// The longest line that is read.
pub const MOST_BYTES: usize = 64 * 1024;

/// The longest id that a client gives to a text.
const MOST_ID: usize = 100;

/// What a person says. Unknown fields are ignored, so that a later client may say more.
#[derive(Clone, Serialize, Deserialize)]
pub struct Ask {
    /// The version.
    pub v: u8,
    /// Who.
    pub person: String,
    /// Their token.
    pub token: String,
    /// Made by the client before its first try; the same for each repeat.
    pub command_id: String,
    /// One or more commands.
    pub text: String,
    /// Whether the last one's operation is to be followed.
    #[serde(default)]
    pub wait: bool,
}

impl fmt::Debug for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ask")
            .field("person", &self.person)
            .field("command_id", &self.command_id)
            .field("text", &self.text)
            .field("wait", &self.wait)
            .finish_non_exhaustive()
    }
}

impl Ask {
    /// What is wrong with it.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        if self.v != VERSION {
            return Some(format!("it is version {}, and this server speaks version {VERSION}", self.v));
        }
        let is_id = |text: &str| text.chars().all(|c| c.is_ascii_graphic());
        if self.command_id.is_empty() || self.command_id.len() > MOST_ID || !is_id(&self.command_id) {
            return Some(format!("its command_id is not 1 to {MOST_ID} printable ASCII characters"));
        }
        None
    }
}

/// What the server answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Whether it was done.
    pub ok: bool,
    /// What a person reads.
    pub reply: String,
    /// The code of what was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Whether more lines follow.
    #[serde(default, skip_serializing_if = "is_false")]
    pub more: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}

impl Answer {
    /// A refusal.
    #[must_use]
    pub fn refused(reply: String, code: &str) -> Self {
        Self { ok: false, reply, code: Some(code.to_owned()), more: false }
    }
}
