//! `switchyard token new`.

use std::fs::File;
use std::io::Read as _;

use clap::Subcommand;
use sha2::{Digest as _, Sha256};

use super::exit::{Exit, Failure};
use super::output;
use crate::words;

/// What to do with tokens.
#[derive(Debug, Subcommand)]
pub enum What {
    /// Print a new token for a person, and the line that the plan needs to know it
    New,
}

/// Runs it.
///
/// # Errors
/// The system gives no randomness.
pub fn run(what: What) -> Result<Exit, Failure> {
    match what {
        What::New => {
            let mut random = [0_u8; 32];
            let read = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut random));
            read.map_err(|error| Failure::refused(format!("The system gives no randomness: {error}.")))?;
            let token = hex::encode(random);
            output::say(&words::new_token(&token, &hex::encode(Sha256::digest(token.as_bytes()))));
            Ok(Exit::Done)
        }
    }
}
