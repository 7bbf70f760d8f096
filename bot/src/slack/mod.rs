//! Slack: slash commands, buttons and mentions in, messages out.

mod receive;
mod send;
mod text;

pub use receive::{Answer, Settings, command, event, interaction};
pub use send::SlackSender;
