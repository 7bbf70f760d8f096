//! Clock, tasks, secrets, retries, failpoints. Knows no domain.

pub mod clock;
pub mod failpoint;
pub mod retry;
pub mod secret;
pub mod tasks;

pub use clock::{Clock, SystemClock};
pub use secret::{Scrubber, Secret, SecretError};
pub use tasks::Tasks;
