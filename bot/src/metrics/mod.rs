//! What is measured, in Prometheus's text format (version 0.0.4).
//!
//! Counters are this process's own and begin at 0 with it. Everything else is looked up when it is asked for, in the journal
//! and its projections, so that two instances say the same of it.

pub mod names;
mod page;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use journal::plan::Platform;

pub use names::Family;
pub use page::{Look, page};

/// One process has one set of counters, whoever counts: no value is read back but by who scrapes it.
static COUNTED: Mutex<Counted> = Mutex::new(BTreeMap::new());

/// By the family's name and the labels' values.
type Counted = BTreeMap<(&'static str, Vec<String>), u64>;

fn counted() -> MutexGuard<'static, Counted> {
    COUNTED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts one, under the labels' values in the family's order.
pub fn count(family: &'static Family, values: &[&str]) {
    add(family, values, 1);
}

fn add(family: &'static Family, values: &[&str], more: u64) {
    let key = (family.name, values.iter().map(|value| (*value).to_owned()).collect());
    let mut counted = counted();
    let number = counted.entry(key).or_insert(0);
    *number = number.saturating_add(more);
}

/// Lets the counters of a platform begin at 0: a rate sees the first one only if there was a number before it.
pub fn begin(platform: Platform) {
    let platform = word(platform);
    for cause in ["bad_signature", "stale", "bad_header"] {
        add(&names::REFUSED, &[platform, cause], 0);
    }
    for receipt in ["new", "duplicate", "not_kept"] {
        add(&names::LETTERS, &[platform, receipt], 0);
    }
    for outcome in ["sent", "later", "given_up"] {
        add(&names::MESSAGES, &[platform, outcome], 0);
    }
}

/// A platform, as a label.
#[must_use]
pub const fn word(platform: Platform) -> &'static str {
    match platform {
        Platform::Github => "github",
        Platform::Slack => "slack",
        Platform::Discord => "discord",
    }
}
