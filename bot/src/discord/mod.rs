//! Discord: interactions in, messages out.

mod receive;
mod send;

pub use receive::{Answer, Settings, receive};
pub use send::DiscordSender;
