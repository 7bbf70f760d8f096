//! GitHub: comments on pull requests in, comments out.

mod receive;
mod send;

pub use receive::{Arrived, receive};
pub use send::{App, GithubError, GithubSender};
