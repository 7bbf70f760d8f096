//! `switchyard chat`.

use std::path::PathBuf;

use runtime::{Secret, SystemClock};

use super::exit::{Exit, Failure};
use super::open::{self, PlanFile};
use super::output;
use crate::local::client::{self, ClientError, Saying};
use crate::words;

/// Where the token is.
const TOKEN: &str = "SWITCHYARD_TOKEN";

/// Arguments of `chat`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// The person of the plan who speaks
    #[arg(long = "as", value_name = "PERSON", env = "SWITCHYARD_AS")]
    person: String,
    #[command(flatten)]
    plan: PlanFile,
    /// The server's socket, instead of the plan's
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Follow the operation until it rests, is blocked, or is undone, and print each step
    #[arg(long)]
    wait: bool,
    /// The command, best in single quotes; without one, a prompt
    #[arg(value_name = "COMMAND")]
    words: Vec<String>,
}

const AFTER_HELP: &str = "\
The person's token is read from SWITCHYARD_TOKEN, or asked for.

Examples:
  switchyard chat --as ana '/migrate region-a cutover' --wait
  switchyard chat --as ben '/migrate approve #41'
  switchyard chat --as ben 'deny #41 --reason \"release freeze\"'
  switchyard chat --as ana help

Exit codes: 0 done (with --wait: completed), 1 refused (with --wait: undone, void or blocked), 2 wrong usage,
3 the server cannot be reached.";

/// Runs it.
///
/// # Errors
/// The server cannot be reached.
pub async fn run(args: Args) -> Result<Exit, Failure> {
    let socket = match &args.socket {
        Some(socket) => socket.clone(),
        None => open::read(&args.plan.plan)?.socket(),
    };
    let token = token(&args.person)?;
    let chat = Chat { person: args.person, token, socket, wait: args.wait };
    if !args.words.is_empty() {
        return chat.say(&args.words.join(" ")).await;
    }
    if output::input_is_a_terminal() { chat.talk().await } else { chat.say(&input()?).await }
}

/// The person's token, from the environment or typed in.
pub(super) fn token(person: &str) -> Result<Secret, Failure> {
    if let Ok(token) = Secret::from_env(TOKEN) {
        return Ok(token);
    }
    let typed = rpassword::prompt_password(format!("token of {person}: "))
        .map_err(|_| Failure::usage(words::no_token(TOKEN)))?;
    Ok(Secret::new(typed.trim()))
}

/// Everything that comes in.
fn input() -> Result<String, Failure> {
    std::io::read_to_string(std::io::stdin())
        .map_err(|error| Failure::usage(format!("The commands cannot be read: {error}.")))
}

struct Chat {
    person: String,
    token: Secret,
    socket: PathBuf,
    wait: bool,
}

impl Chat {
    async fn say(&self, text: &str) -> Result<Exit, Failure> {
        let saying = Saying { person: &self.person, token: &self.token, text, wait: self.wait };
        let answer =
            client::say(&self.socket, &saying, &SystemClock, |answer| output::say(&answer.reply)).await;
        match answer {
            Ok(answer) if answer.ok => Ok(Exit::Done),
            // What could not be read as a command is wrong usage; what was understood and not done is refused.
            Ok(answer) if answer.code.as_deref().is_some_and(is_of_the_language) => Ok(Exit::Usage),
            Ok(_) => Ok(Exit::Refused),
            Err(ClientError::NotReachable(error)) => {
                Err(Failure::unreachable(words::not_reachable(&self.socket, &error)))
            }
            Err(ClientError::Lost) => Err(Failure::unreachable(words::answer_lost(&self.socket))),
        }
    }

    /// A prompt, until the input ends.
    async fn talk(&self) -> Result<Exit, Failure> {
        output::say(&words::greeting(&self.person));
        loop {
            output::prompt(&format!("{}> ", self.person));
            let mut line = String::new();
            let read =
                tokio::task::spawn_blocking(move || std::io::stdin().read_line(&mut line).map(|n| (n, line)));
            match read.await {
                Ok(Ok((count, line))) if count > 0 => match line.trim() {
                    "" => {}
                    "exit" | "quit" => return Ok(Exit::Done),
                    line => {
                        self.say(line).await?;
                    }
                },
                Ok(Ok(_)) => return Ok(Exit::Done),
                Ok(Err(_)) | Err(_) => return Err(Failure::usage("The input cannot be read.")),
            }
        }
    }
}

/// Codes of lines that are no commands.
fn is_of_the_language(code: &str) -> bool {
    matches!(code.strip_prefix("SW-06").and_then(|number| number.parse::<u8>().ok()), Some(1..=13))
}
