//! Doubles of the platforms, which cannot be installed: servers that speak the real protocols, sign truly, keep state,
//! refuse what the real ones refuse, and lose, repeat and delay on request.
//!
//! A double is on the side of the platform, never of the product: what the real platform would not take is refused
//! and noted as a violation, and whatever is said that no test expected is noted too. [`ledger::Ledger::close`] ends a
//! conversation: nothing was violated, and everything that was said was waited for.

pub mod discord;
pub mod github;
pub mod http;
pub mod ledger;
pub mod slack;
