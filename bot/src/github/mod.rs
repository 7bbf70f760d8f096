//! GitHub: what people do in pull requests comes in, comments, check runs and deployments go out.

mod audience;
mod client;
mod desk;
mod event;
mod look;
mod pulls;
mod receive;
mod repository;
mod review;
mod send;
mod sweep;
mod team;

pub use audience::GithubAudience;
pub use client::{App, Client, Failure, GithubError};
pub use desk::{Binding, Desk, Stopped};
pub use event::Event;
pub use look::Watch;
pub use receive::{Arrived, receive};
pub use send::GithubSender;
pub use sweep::Sweep;
pub(crate) use team::team;
