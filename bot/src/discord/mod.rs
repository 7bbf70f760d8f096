//! Discord: the command `/migrate`, buttons and windows in, messages out.

mod client;
mod commands;
mod gateway;
mod limits;
mod receive;
mod reception;
mod send;

pub(crate) use client::AGENT;
pub use client::{Client, Failed, HOME};
pub use commands::{Change, NAME, changes, definition};
pub use gateway::Gateway;
pub use receive::{Answer, Press, Settings, Typing, receive};
pub use reception::Reception;
pub(crate) use reception::whispered;
pub use send::DiscordSender;
pub(crate) use send::settled;
