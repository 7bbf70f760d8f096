//! The bot's own file: where it listens, which platforms it speaks to, and where their secrets are kept.
//!
//! It is no part of the plan: nobody approves it, and it may differ between two instances. Everything that is wrong in
//! it is told at once.

mod read;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use ed25519_dalek::VerifyingKey;
use journal::plan::Platform;
use runtime::{Scrubber, Secret};

use crate::inbound::signature::Labelled;

/// One thing wrong in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Line, from 1.
    pub line: usize,
    /// What is wrong and what was expected.
    pub what: String,
}

/// The file, checked, with its secrets.
#[derive(Debug)]
pub struct Config {
    /// Where the endpoints are.
    pub http: Http,
    /// GitHub.
    pub github: Option<Github>,
    /// Slack.
    pub slack: Option<Slack>,
    /// Discord.
    pub discord: Option<Discord>,
}

/// The endpoints.
#[derive(Debug)]
pub struct Http {
    /// The address that is listened on; a proxy with TLS stands before it.
    pub listen: SocketAddr,
    /// How the world reaches it.
    pub public_url: Option<String>,
}

/// The GitHub App.
#[derive(Debug)]
pub struct Github {
    /// The App's number.
    pub app_id: u64,
    /// Its private key, PEM.
    pub private_key: Secret,
    /// What deliveries are signed with.
    pub webhook_secrets: Vec<Labelled>,
    /// `owner/name`.
    pub repository: String,
    /// The plan's file in the repository.
    pub plan_path: String,
    /// How often what webhooks did not bring is looked for.
    pub sweep: Duration,
    /// Where the API is.
    pub api_url: String,
}

/// The Slack app.
#[derive(Debug)]
pub struct Slack {
    /// What requests are signed with; none if they come through a socket alone.
    pub signing_secrets: Vec<Labelled>,
    /// What messages are posted with.
    pub bot_token: Secret,
    /// What sockets are opened with, for Socket Mode.
    pub app_token: Option<Secret>,
    /// The workspace.
    pub team: String,
    /// The channels that are listened to; none means all that the bot is in.
    pub channels: Vec<String>,
    /// Where the API is.
    pub api_url: String,
}

/// The Discord application.
#[derive(Debug)]
pub struct Discord {
    /// What interactions are signed with; none if they come through the gateway alone.
    pub public_key: Option<VerifyingKey>,
    /// Whether interactions come through the gateway.
    pub gateway: bool,
    /// The application's number.
    pub application_id: u64,
    /// What messages are posted with.
    pub bot_token: Secret,
    /// The server.
    pub guild: u64,
    /// The channel for what nobody asked for.
    pub channel: u64,
    /// Where the API is, if it is not Discord's own.
    pub api_url: Option<String>,
}

/// Which platforms a file speaks to, without its secrets: for whoever has the file and not what it points at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    github: bool,
    slack_team: Option<String>,
    discord: bool,
}

impl Heard {
    /// Reads the file's text, and none of the secrets.
    ///
    /// # Errors
    /// It is no configuration.
    pub fn read(text: &str) -> Result<Self, Vec<Problem>> {
        read::heard(text)
    }

    /// Whether a platform is spoken to.
    #[must_use]
    pub const fn hears(&self, platform: Platform) -> bool {
        match platform {
            Platform::Github => self.github,
            Platform::Slack => self.slack_team.is_some(),
            Platform::Discord => self.discord,
        }
    }

    /// All that are.
    #[must_use]
    pub fn platforms(&self) -> Vec<Platform> {
        let all = [Platform::Github, Platform::Slack, Platform::Discord];
        all.into_iter().filter(|platform| self.hears(*platform)).collect()
    }

    /// Slack's workspace.
    #[must_use]
    pub fn slack_team(&self) -> Option<&str> {
        self.slack_team.as_deref()
    }
}

impl Config {
    /// Reads the file's text and the secrets that it points at; relative paths are relative to the file's folder, wherever it is
    /// read from.
    ///
    /// # Errors
    /// Everything that is wrong; a secret that is missing or empty is wrong.
    pub fn read(text: &str, folder: &Path) -> Result<Self, Vec<Problem>> {
        read::config(text, folder)
    }

    /// Teaches the scrubber every secret.
    pub fn teach(&self, scrubber: &Scrubber) {
        if let Some(github) = &self.github {
            scrubber.learn(&github.private_key);
            github.webhook_secrets.iter().for_each(|each| scrubber.learn(&each.secret));
        }
        if let Some(slack) = &self.slack {
            scrubber.learn(&slack.bot_token);
            slack.app_token.iter().for_each(|token| scrubber.learn(token));
            slack.signing_secrets.iter().for_each(|each| scrubber.learn(&each.secret));
        }
        if let Some(discord) = &self.discord {
            scrubber.learn(&discord.bot_token);
        }
    }
}
