//! Logs on standard error, without secrets.

use std::io::{self, Write};

use runtime::Scrubber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use super::serve::LogFormat;

/// Which log lines are written; `RUST_LOG` is read where it is not set.
const VARIABLE: &str = "SWITCHYARD_LOG";

/// Starts logging. A second call changes nothing.
pub fn start(format: LogFormat, scrubber: &Scrubber) {
    let filter = EnvFilter::try_from_env(VARIABLE)
        .or_else(|_| EnvFilter::try_from_default_env())
        .unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(Scrubbing { scrubber: scrubber.clone() });
    let started = match format {
        LogFormat::Text => builder.with_ansi(false).try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    if started.is_err() {
        tracing::debug!("logging had been started before");
    }
}

/// Makes writers that take the secrets out of each event before it is written.
#[derive(Debug)]
struct Scrubbing {
    scrubber: Scrubber,
}

impl<'w> MakeWriter<'w> for Scrubbing {
    type Writer = Event<'w>;

    fn make_writer(&'w self) -> Self::Writer {
        Event { scrubber: &self.scrubber, bytes: Vec::new() }
    }
}

/// One event, gathered whole, since a secret may be written in two pieces.
#[derive(Debug)]
struct Event<'w> {
    scrubber: &'w Scrubber,
    bytes: Vec<u8>,
}

impl Write for Event<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Event<'_> {
    fn drop(&mut self) {
        let clean = self.scrubber.scrub(&String::from_utf8_lossy(&self.bytes));
        // Nobody to tell if standard error is gone.
        let _gone = io::stderr().lock().write_all(clean.as_bytes()).is_err();
    }
}
