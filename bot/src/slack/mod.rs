//! Slack: slash commands, buttons, windows and mentions in, messages and home tabs out.

mod account;
mod audience;
mod client;
mod receive;
mod send;
mod socket;
mod text;
mod user_group;
mod window;

pub use account::{Standing, standing};
pub(crate) use audience::home;
pub use audience::{Readers, SlackAudience};
pub use client::{Client, Failed};
pub use receive::{Answer, Settings, command, event, interaction};
pub use send::SlackSender;
pub use socket::Sockets;
pub(crate) use user_group::user_group;
pub(crate) use window::REASON;
pub use window::{Press, Windows};
