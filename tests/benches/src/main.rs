//! The benches: each measures the product beside what it is compared with, in the same run, and prints the ratio.
//!
//! `make bench` runs all; `bench NAME…` those whose names begin so. A line a bench, then one line of JSON. Nothing here
//! fails for being slow: a machine that is busy says nothing about the program.

mod append;
mod batches;
mod replay;
mod report;
mod webhooks;
mod work;

use std::process::ExitCode;

use report::Report;

#[tokio::main]
async fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let mut report = Report::new(wanted);
    let done = async {
        append::sqlite(&mut report).await?;
        append::postgres(&mut report).await?;
        batches::callers(&mut report).await?;
        batches::sqlite(&mut report).await?;
        batches::postgres(&mut report).await?;
        replay::memory(&mut report)?;
        replay::sqlite(&mut report).await?;
        replay::postgres(&mut report).await?;
        webhooks::acknowledged(&mut report).await
    };
    match done.await {
        Ok(()) => {
            report.close();
            ExitCode::SUCCESS
        }
        Err(error) => {
            report.line(&format!("the bench went wrong: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
