//! From TOML to a checked configuration.

use std::net::SocketAddr;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use ed25519_dalek::VerifyingKey;
use executors::kept;
use journal::SecretRef;
use runtime::Secret;
use serde::Deserialize;
use toml::Spanned;

use super::{Config, Discord, Github, Heard, Http, Problem, Slack};
use crate::inbound::signature::Labelled;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    http: RawHttp,
    github: Option<RawGithub>,
    slack: Option<RawSlack>,
    discord: Option<RawDiscord>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHttp {
    listen: Spanned<String>,
    public_url: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGithub {
    app_id: Spanned<u64>,
    private_key: Spanned<String>,
    webhook_secrets: Spanned<Vec<Spanned<String>>>,
    repository: Spanned<String>,
    plan_path: Option<Spanned<String>>,
    sweep_seconds: Option<Spanned<u64>>,
    api_url: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSlack {
    signing_secrets: Option<Spanned<Vec<Spanned<String>>>>,
    bot_token: Spanned<String>,
    app_token: Option<Spanned<String>>,
    team: Spanned<String>,
    #[serde(default)]
    channels: Vec<Spanned<String>>,
    api_url: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDiscord {
    public_key: Option<Spanned<String>>,
    #[serde(default)]
    gateway: bool,
    application_id: Spanned<String>,
    bot_token: Spanned<String>,
    guild: Spanned<String>,
    channel: Spanned<String>,
    api_url: Option<Spanned<String>>,
}

/// Gathers what is wrong on the way.
struct Reader<'t> {
    text: &'t str,
    folder: &'t Path,
    problems: Vec<Problem>,
}

pub(super) fn heard(text: &str) -> Result<Heard, Vec<Problem>> {
    let raw = raw(text)?;
    Ok(Heard {
        github: raw.github.is_some(),
        slack_team: raw.slack.map(|slack| slack.team.into_inner()),
        discord: raw.discord.is_some(),
    })
}

fn raw(text: &str) -> Result<RawConfig, Vec<Problem>> {
    toml::from_str(text).map_err(|error| {
        let mut reader = Reader { text, folder: Path::new(""), problems: Vec::new() };
        reader.problem(error.span().unwrap_or(0..0), error.message());
        reader.problems
    })
}

pub(super) fn config(text: &str, folder: &Path) -> Result<Config, Vec<Problem>> {
    let raw = raw(text)?;
    let mut reader = Reader { text, folder, problems: Vec::new() };
    let listen = reader.listen(&raw.http.listen);
    let public_url = raw.http.public_url.as_ref().and_then(|url| reader.url(url));
    let github = raw.github.as_ref().map(|raw| reader.github(raw));
    let slack = raw.slack.as_ref().map(|raw| reader.slack(raw));
    let discord = raw.discord.as_ref().map(|raw| reader.discord(raw));
    if github.is_none() && slack.is_none() && discord.is_none() {
        reader.problem(
            0..0,
            "none of [github], [slack] and [discord] is there: the bot would have nobody to hear",
        );
    }
    // A section that could not be read has left its problem.
    match listen {
        Some(listen) if reader.problems.is_empty() => Ok(Config {
            http: Http { listen, public_url },
            github: github.flatten(),
            slack: slack.flatten(),
            discord: discord.flatten(),
        }),
        _ => Err(reader.problems),
    }
}

impl Reader<'_> {
    fn problem(&mut self, at: Range<usize>, what: impl Into<String>) {
        let line = self.text.get(..at.start).unwrap_or_default().matches('\n').count() + 1;
        self.problems.push(Problem { line, what: what.into() });
    }

    fn listen(&mut self, text: &Spanned<String>) -> Option<SocketAddr> {
        let address = text.get_ref().parse().ok();
        if address.is_none() {
            self.problem(text.span(), "`listen` must be an address and a port, as in 127.0.0.1:8080");
        }
        address
    }

    fn url(&mut self, text: &Spanned<String>) -> Option<String> {
        let url = text.get_ref().trim_end_matches('/');
        if url.starts_with("https://") || url.starts_with("http://") {
            return Some(url.to_owned());
        }
        self.problem(text.span(), format!("`{url}` is no address: expected https://…"));
        None
    }

    fn api(&mut self, text: Option<&Spanned<String>>, default: &str) -> Option<String> {
        text.map_or_else(|| Some(default.to_owned()), |text| self.url(text))
    }

    /// A secret, from where it is kept. Its text is never shown, not even if it stands in the file by mistake.
    fn secret(&mut self, text: &Spanned<String>, key: &str) -> Option<Secret> {
        let Some(place) = SecretRef::parse(text.get_ref()) else {
            let what =
                format!("`{key}` must say where it is kept, env:NAME or file:PATH, never the secret itself");
            self.problem(text.span(), what);
            return None;
        };
        match kept::secret(&place, self.folder) {
            Ok(secret) => Some(secret),
            Err(error) => {
                self.problem(text.span(), format!("`{key}`: {error}"));
                None
            }
        }
    }

    fn secrets(&mut self, list: &Spanned<Vec<Spanned<String>>>, key: &str) -> Option<Vec<Labelled>> {
        if list.get_ref().is_empty() {
            self.problem(
                list.span(),
                format!("`{key}` is empty: without one anybody could speak for the platform"),
            );
            return None;
        }
        let found: Vec<Labelled> = list
            .get_ref()
            .iter()
            .filter_map(|text| {
                let secret = self.secret(text, key)?;
                Some(Labelled { label: text.get_ref().clone(), secret })
            })
            .collect();
        (found.len() == list.get_ref().len()).then_some(found)
    }

    /// An id of a letter that tells its kind, then capitals and digits.
    fn slack_id(&mut self, text: &Spanned<String>, kinds: &[char], key: &str) -> Option<String> {
        let id = text.get_ref();
        let is_id = id.starts_with(kinds)
            && id.len() > 1
            && id.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit());
        if !is_id {
            let what = format!(
                "`{key}` must be Slack's id, not a name: it begins with {}",
                kinds.iter().collect::<String>()
            );
            self.problem(text.span(), what);
        }
        is_id.then(|| id.clone())
    }

    fn snowflake(&mut self, text: &Spanned<String>, key: &str) -> Option<u64> {
        let number = text.get_ref().parse().ok().filter(|number| *number > 0);
        if number.is_none() {
            self.problem(text.span(), format!("`{key}` must be Discord's id, digits in quotes, not a name"));
        }
        number
    }

    fn github(&mut self, raw: &RawGithub) -> Option<Github> {
        let private_key = self.secret(&raw.private_key, "private_key");
        let webhook_secrets = self.secrets(&raw.webhook_secrets, "webhook_secrets");
        let app_id = *raw.app_id.get_ref();
        if app_id == 0 {
            self.problem(raw.app_id.span(), "`app_id` is the App's number, from 1");
        }
        let repository = raw.repository.get_ref();
        let is_part = |part: &str| {
            !part.is_empty()
                && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        };
        let is_repository =
            repository.split_once('/').is_some_and(|(owner, name)| is_part(owner) && is_part(name));
        if !is_repository {
            self.problem(raw.repository.span(), "`repository` must be owner/name");
        }
        let api_url = self.api(raw.api_url.as_ref(), "https://api.github.com");
        let sweep = raw.sweep_seconds.as_ref().map_or(60, |seconds| *seconds.get_ref());
        if let Some(seconds) = raw.sweep_seconds.as_ref().filter(|_| !(1..=3600).contains(&sweep)) {
            self.problem(seconds.span(), "`sweep_seconds` must be from 1 to 3600");
        }
        let plan_path = raw.plan_path.as_ref().map_or("switchyard.toml", |path| path.get_ref().as_str());
        let is_path = plan_path.split('/').all(|part| !matches!(part, "" | "." | ".."));
        if let Some(path) = raw.plan_path.as_ref().filter(|_| !is_path) {
            self.problem(path.span(), "`plan_path` must be a path in the repository, as in plans/shop.toml");
        }
        Some(Github {
            app_id,
            private_key: private_key?,
            webhook_secrets: webhook_secrets?,
            repository: repository.clone(),
            plan_path: plan_path.to_owned(),
            sweep: Duration::from_secs(sweep),
            api_url: api_url?,
        })
    }

    fn slack(&mut self, raw: &RawSlack) -> Option<Slack> {
        let signing_secrets = match (&raw.signing_secrets, &raw.app_token) {
            (Some(secrets), _) => self.secrets(secrets, "signing_secrets"),
            (None, Some(_)) => Some(Vec::new()),
            (None, None) => {
                self.problem(
                    raw.bot_token.span(),
                    "[slack] needs `signing_secrets`, to know what comes over HTTP, or `app_token`, for Socket Mode",
                );
                None
            }
        };
        let bot_token = self.secret(&raw.bot_token, "bot_token");
        let app_token = raw.app_token.as_ref().map(|token| self.secret(token, "app_token"));
        let team = self.slack_id(&raw.team, &['T', 'E'], "team");
        let channels: Vec<String> = raw
            .channels
            .iter()
            .filter_map(|channel| self.slack_id(channel, &['C', 'G', 'D'], "channels"))
            .collect();
        let api_url = self.api(raw.api_url.as_ref(), "https://slack.com/api");
        Some(Slack {
            signing_secrets: signing_secrets?,
            bot_token: bot_token?,
            app_token: match app_token {
                None => None,
                Some(token) => Some(token?),
            },
            team: team?,
            channels,
            api_url: api_url?,
        })
    }

    fn public_key(&mut self, text: &Spanned<String>) -> Option<VerifyingKey> {
        let mut bytes = [0; 32];
        let is_hex = hex::decode_to_slice(text.get_ref(), &mut bytes).is_ok();
        let public_key = VerifyingKey::from_bytes(&bytes).ok().filter(|key| is_hex && !key.is_weak());
        if public_key.is_none() {
            self.problem(text.span(), "`public_key` must be the application's: 64 hexadecimal digits");
        }
        public_key
    }

    fn discord(&mut self, raw: &RawDiscord) -> Option<Discord> {
        let public_key = match &raw.public_key {
            Some(text) => Some(self.public_key(text)),
            None if raw.gateway => None,
            None => {
                self.problem(
                    raw.application_id.span(),
                    "[discord] needs `public_key`, to know what comes over HTTP, or `gateway = true`",
                );
                None
            }
        };
        let application_id = self.snowflake(&raw.application_id, "application_id");
        let bot_token = self.secret(&raw.bot_token, "bot_token");
        let guild = self.snowflake(&raw.guild, "guild");
        let channel = self.snowflake(&raw.channel, "channel");
        let api_url = match raw.api_url.as_ref() {
            None => None,
            Some(text) => Some(self.url(text)?),
        };
        Some(Discord {
            public_key: match public_key {
                None => None,
                Some(key) => Some(key?),
            },
            gateway: raw.gateway,
            application_id: application_id?,
            bot_token: bot_token?,
            guild: guild?,
            channel: channel?,
            api_url,
        })
    }
}
