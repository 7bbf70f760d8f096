//! The bot as a whole: endpoints, worker and senders, started and stopped together.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use journal::Holder;
use journal::plan::Platform;
use journal_store::{Mailroom, Store};
use runtime::{Clock, Scrubber};
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::arrival::Place;
use crate::board::{Audience, Board, Plain};
use crate::config::Config;
use crate::conversation::Conversation;
use crate::discord::{DiscordSender, Gateway, Reception};
use crate::github::{App, Client, Desk, GithubAudience, GithubSender, Sweep, Watch};
use crate::groups::{self, Groups};
use crate::inbound::{DiscordDoor, Doors, GithubDoor, SlackDoor, router};
use crate::outbound::{Carrier, Sender};
use crate::slack::{Readers, SlackAudience, SlackSender, Sockets, Windows};
use crate::worker::Worker;
use crate::{discord, metrics, slack, words};

/// How long what is under way may take when it is told to stop. It goes on after the next start all the same.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the bot works with.
#[derive(Debug, Clone)]
pub struct Parts {
    /// The journal.
    pub store: Arc<dyn Store>,
    /// Inbox and outbox.
    pub mailroom: Arc<dyn Mailroom>,
    /// This instance.
    pub holder: Holder,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Does what is said; it does not ask groups yet.
    pub conversation: Conversation,
    /// Keeps secrets out of texts.
    pub scrubber: Scrubber,
}

/// A running bot.
#[derive(Debug)]
pub struct Service {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Service {
    /// Starts it.
    ///
    /// # Errors
    /// It cannot listen, or a platform's settings are not usable: the sentence for it.
    pub async fn start(config: Config, parts: Parts) -> Result<Self, String> {
        config.teach(&parts.scrubber);
        let slack = slack_client(&config)?;
        let github = github_client(&config, &parts)?;
        let groups = Arc::new(Groups::new(github.clone(), slack.clone(), Arc::clone(&parts.clock)));
        let conversation = parts.conversation.clone().asking(Arc::clone(&groups));
        let parts = Parts { conversation, ..parts };
        let desk = desk(&config, &parts, github, &groups);
        let readers = Arc::new(Readers::new(Arc::clone(&parts.clock)));
        let discord = discord_client(&config)?;
        let carriers = carriers(&config, &parts, desk.as_ref(), slack.as_ref(), discord.as_ref());
        let listen = config.http.listen;
        let no_listener = |error: &std::io::Error| words::no_listener(&listen.to_string(), error);
        let listener = TcpListener::bind(listen).await.map_err(|error| no_listener(&error))?;
        let address = listener.local_addr().map_err(|error| no_listener(&error))?;
        let (arrived, written) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();

        let board = Board {
            store: Arc::clone(&parts.store),
            mailroom: Arc::clone(&parts.mailroom),
            audiences: audiences(&config, &readers),
            clock: Arc::clone(&parts.clock),
            written: Arc::clone(&written),
        };
        board.audiences.iter().for_each(|audience| metrics::begin(audience.platform()));
        tasks.spawn(board.run(stopped.clone()));
        if let (Some(desk), Some(github)) = (&desk, &config.github) {
            let sweep = Sweep {
                client: Arc::clone(&desk.client),
                mailroom: Arc::clone(&parts.mailroom),
                clock: Arc::clone(&parts.clock),
                arrived: Arc::clone(&arrived),
                every: github.sweep,
            };
            tasks.spawn(sweep.run(stopped.clone()));
            let watch = Watch {
                desk: desk.clone(),
                mailroom: Arc::clone(&parts.mailroom),
                clock: Arc::clone(&parts.clock),
                written: Arc::clone(&written),
            };
            tasks.spawn(watch.run(stopped.clone()));
        }
        let watch = groups::Watch {
            groups: Arc::clone(&groups),
            store: Arc::clone(&parts.store),
            clock: Arc::clone(&parts.clock),
        };
        tasks.spawn(watch.run(stopped.clone()));
        let by_socket = config.slack.as_ref().is_some_and(|slack| slack.app_token.is_some());
        let by_gateway = config.discord.as_ref().filter(|discord| discord.gateway);
        let by_gateway = by_gateway.map(|discord| discord.bot_token.clone());
        let slack_parts = slack.clone().map(|client| (client, readers));
        let doors = Arc::new(doors(config, &parts, &arrived, slack_parts));
        if let Some(client) = slack.clone().filter(|_| by_socket) {
            let clock = Arc::clone(&parts.clock);
            let sockets = Sockets { client, doors: Arc::clone(&doors), clock };
            tasks.spawn(sockets.run(stopped.clone()));
        }
        if let Some((client, token)) = discord.zip(by_gateway) {
            let clock = Arc::clone(&parts.clock);
            let gateway = Gateway { client, token, doors: Arc::clone(&doors), clock };
            tasks.spawn(gateway.run(stopped.clone()));
        }
        let mut until = stopped.clone();
        let served = axum::serve(listener, router(doors)).with_graceful_shutdown(async move {
            // An error means that the sender is gone, which is a stop too.
            let _stopped = until.wait_for(|stop| *stop).await.is_ok();
        });
        tasks.spawn(async move {
            if let Err(error) = served.await {
                tracing::error!(%error, "the endpoints ended");
            }
        });
        let worker = Worker {
            store: Arc::clone(&parts.store),
            mailroom: Arc::clone(&parts.mailroom),
            holder: parts.holder.clone(),
            clock: Arc::clone(&parts.clock),
            arrived,
            desk,
            slack,
            conversation: parts.conversation.clone(),
            written: Arc::clone(&written),
        };
        tasks.spawn(worker.run(stopped.clone()));
        for carrier in carriers {
            let sender = Sender {
                carrier,
                mailroom: Arc::clone(&parts.mailroom),
                holder: parts.holder.clone(),
                clock: Arc::clone(&parts.clock),
                written: Arc::clone(&written),
                scrubber: parts.scrubber.clone(),
            };
            tasks.spawn(sender.run(stopped.clone()));
        }
        tracing::info!(%address, "the bot listens");
        Ok(Self { address, stop, tasks })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops it: nothing new is taken, what is in hand is finished.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(PATIENCE, ended).await.is_err() {
            tracing::warn!("something of the bot is still under way: it goes on after the next start");
        }
    }
}

fn doors(
    config: Config,
    parts: &Parts,
    arrived: &Arc<Notify>,
    slack: Option<(Arc<slack::Client>, Arc<Readers>)>,
) -> Doors {
    Doors {
        store: Arc::clone(&parts.store),
        mailroom: Arc::clone(&parts.mailroom),
        clock: Arc::clone(&parts.clock),
        arrived: Arc::clone(arrived),
        github: config
            .github
            .map(|github| GithubDoor { secrets: github.webhook_secrets, repository: github.repository }),
        slack: config.slack.zip(slack).map(|(slack, (client, readers))| SlackDoor {
            secrets: slack.signing_secrets,
            settings: slack::Settings { team: slack.team, channels: slack.channels },
            windows: Windows { client, store: Arc::clone(&parts.store) },
            readers,
        }),
        discord: config.discord.map(|discord| DiscordDoor {
            key: discord.public_key,
            settings: discord::Settings {
                application: discord.application_id.to_string(),
                guild: discord.guild.to_string(),
            },
            reception: Reception { store: Arc::clone(&parts.store) },
        }),
    }
}

/// What calls Slack, if it is configured.
fn slack_client(config: &Config) -> Result<Option<Arc<slack::Client>>, String> {
    let Some(slack) = &config.slack else { return Ok(None) };
    let client = slack::Client::new(&slack.api_url, slack.bot_token.clone(), slack.app_token.clone());
    client.map(|client| Some(Arc::new(client))).map_err(|error| words::no_client(Platform::Slack, &error))
}

/// What calls Discord, if it is configured.
fn discord_client(config: &Config) -> Result<Option<Arc<discord::Client>>, String> {
    let Some(discord) = &config.discord else { return Ok(None) };
    let client = discord::Client::new(discord.api_url.as_deref(), discord.bot_token.clone());
    client.map(|client| Some(Arc::new(client))).map_err(|error| words::no_client(Platform::Discord, &error))
}

fn audiences(config: &Config, readers: &Arc<Readers>) -> Vec<Box<dyn Audience>> {
    let mut audiences: Vec<Box<dyn Audience>> = Vec::new();
    if config.github.is_some() {
        audiences.push(Box::new(GithubAudience));
    }
    if let Some(slack) = &config.slack {
        let channel = slack.channels.first().cloned();
        audiences.push(Box::new(SlackAudience::new(channel, Arc::clone(readers))));
    }
    if let Some(discord) = &config.discord {
        let channel = discord.channel.to_string();
        let channel = Some(Place::DiscordChannel { channel, token: None });
        audiences.push(Box::new(Plain { platform: Platform::Discord, channel }));
    }
    audiences
}

/// What calls GitHub, if it is configured.
fn github_client(config: &Config, parts: &Parts) -> Result<Option<Arc<Client>>, String> {
    let Some(github) = &config.github else { return Ok(None) };
    let app = App {
        id: github.app_id,
        key: &github.private_key,
        api: &github.api_url,
        repository: &github.repository,
    };
    let client = Client::new(&app, Arc::clone(&parts.clock));
    client.map(|client| Some(Arc::new(client))).map_err(|error| words::no_client(Platform::Github, &error))
}

/// What reads GitHub before a word counts, if it is configured.
fn desk(config: &Config, parts: &Parts, client: Option<Arc<Client>>, groups: &Arc<Groups>) -> Option<Desk> {
    let (github, client) = config.github.as_ref().zip(client)?;
    Some(Desk {
        client,
        store: Arc::clone(&parts.store),
        plan_path: github.plan_path.clone(),
        conversation: parts.conversation.clone(),
        groups: Arc::clone(groups),
    })
}

fn carriers(
    config: &Config,
    parts: &Parts,
    desk: Option<&Desk>,
    slack: Option<&Arc<slack::Client>>,
    discord: Option<&Arc<discord::Client>>,
) -> Vec<Box<dyn Carrier>> {
    let mut carriers: Vec<Box<dyn Carrier>> = Vec::new();
    if let Some(desk) = desk {
        carriers.push(Box::new(GithubSender::new(Arc::clone(&desk.client))));
    }
    if let (Some(slack), Some(client)) = (&config.slack, slack) {
        carriers.push(Box::new(SlackSender {
            client: Arc::clone(client),
            mailroom: Arc::clone(&parts.mailroom),
            channel: slack.channels.first().cloned(),
        }));
    }
    if let (Some(discord), Some(client)) = (&config.discord, discord) {
        carriers.push(Box::new(DiscordSender {
            client: Arc::clone(client),
            application: discord.application_id,
            mailroom: Arc::clone(&parts.mailroom),
            channel: discord.channel.to_string(),
        }));
    }
    carriers
}
