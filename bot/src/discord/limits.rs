//! What Discord said about how much it takes: by route, and altogether.
//!
//! Nothing is hard-coded, as Discord asks: each answer tells how much is left of its route's bucket and when it is full
//! again. A route that is used up, and after a global 429 every route, is not called before its time: each refused call
//! counts towards Discord's ban of those who do not listen.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::header::HeaderMap;

/// Routes that are remembered: more are only there if a bot speaks in very many places.
const MOST: usize = 1024;

/// The longest wait that is believed.
const LONGEST: Duration = Duration::from_secs(3600);

#[derive(Debug, Default)]
struct Known {
    /// No call at all before.
    global: Option<Instant>,
    /// The bucket that a route turned out to be in.
    buckets: HashMap<String, String>,
    /// No call of this route, or this bucket in this place, before.
    until: HashMap<String, Instant>,
}

/// What is known.
#[derive(Debug, Default)]
pub(super) struct Limits(Mutex<Known>);

/// A call's route, as limits are counted: the method, the path without the ids that do not matter, and the place
/// (channel, server, webhook) by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Route {
    name: String,
    place: String,
}

impl Route {
    /// The route of a call.
    pub(super) fn of(method: &str, path: &str) -> Self {
        let mut parts = path.split('/').filter(|part| !part.is_empty());
        let first = parts.next().unwrap_or_default();
        let place = parts.next().unwrap_or_default();
        // A webhook's token is part of its place.
        let token = if first == "webhooks" { parts.next().unwrap_or_default() } else { "" };
        let rest: Vec<&str> = parts
            .map(|part| if part.bytes().all(|byte| byte.is_ascii_digit()) { ":id" } else { part })
            .collect();
        Self { name: format!("{method} {first}/{}", rest.join("/")), place: format!("{place}/{token}") }
    }
}

impl Known {
    /// Under what a route's wait is kept.
    fn key(&self, route: &Route) -> String {
        let bucket = self.buckets.get(&route.name).map_or(route.name.as_str(), String::as_str);
        format!("{bucket} {}", route.place)
    }
}

impl Limits {
    /// How long a call has to wait; none if it may be made.
    pub(super) fn wait(&self, route: &Route, now: Instant) -> Option<Duration> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.until.retain(|_, until| *until > now);
        known.global = known.global.filter(|until| *until > now);
        let own = known.until.get(&known.key(route)).copied();
        known.global.max(own).map(|until| until.duration_since(now))
    }

    /// Learns from an answer's headers.
    pub(super) fn learn(&self, route: &Route, headers: &HeaderMap, now: Instant) {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let after = text("x-ratelimit-reset-after").and_then(seconds);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = text("x-ratelimit-bucket")
            && known.buckets.len() < MOST
        {
            known.buckets.insert(route.name.clone(), bucket.to_owned());
        }
        if text("x-ratelimit-remaining") == Some("0")
            && let Some(after) = after
            && known.until.len() < MOST
        {
            let key = known.key(route);
            known.until.insert(key, now + after);
        }
    }

    /// Learns from a refusal: nothing of the route, or nothing at all, before this has passed.
    pub(super) fn refused(&self, route: &Route, wait: Duration, is_global: bool, now: Instant) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let until = now + wait.min(LONGEST);
        if is_global {
            known.global = known.global.max(Some(until));
        } else {
            let key = known.key(route);
            known.until.insert(key, until);
        }
    }
}

/// A number of seconds, which may have a fraction.
pub(super) fn seconds(text: &str) -> Option<Duration> {
    let seconds: f64 = text.trim().parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok().map(|wait| wait.min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_route_is_its_method_its_path_and_its_place() {
        let post = Route::of("POST", "/channels/7/messages");
        assert_eq!(post, Route { name: "POST channels/messages".to_owned(), place: "7/".to_owned() });
        assert_eq!(
            Route::of("PATCH", "/channels/7/messages/9"),
            Route::of("PATCH", "/channels/7/messages/10")
        );
        assert_ne!(
            Route::of("PATCH", "/channels/7/messages/9"),
            Route::of("PATCH", "/channels/8/messages/9")
        );
        assert_ne!(
            Route::of("PATCH", "/webhooks/1/token-a/messages/@original"),
            Route::of("PATCH", "/webhooks/1/token-b/messages/@original")
        );
    }

    #[test]
    fn case_18_what_is_used_up_waits_until_it_is_full_again() {
        let (limits, now) = (Limits::default(), Instant::now());
        let (here, there) =
            (Route::of("POST", "/channels/7/messages"), Route::of("POST", "/channels/8/messages"));
        let left = |left: &'static str| {
            headers(&[
                ("x-ratelimit-remaining", left),
                ("x-ratelimit-reset-after", "1.5"),
                ("x-ratelimit-bucket", "b"),
            ])
        };
        limits.learn(&here, &left("1"), now);
        assert_eq!(limits.wait(&here, now), None);
        limits.learn(&here, &left("0"), now);
        assert_eq!(limits.wait(&here, now), Some(SECOND * 3 / 2));
        assert_eq!(limits.wait(&there, now), None, "another channel has its own bucket");
        assert_eq!(limits.wait(&here, now + SECOND * 2), None);
    }

    #[test]
    fn case_18_two_routes_of_one_bucket_wait_together() {
        let (limits, now) = (Limits::default(), Instant::now());
        let (post, edit) =
            (Route::of("POST", "/channels/7/messages"), Route::of("PATCH", "/channels/7/messages/9"));
        for route in [&post, &edit] {
            limits.learn(route, &headers(&[("x-ratelimit-bucket", "b")]), now);
        }
        limits.refused(&post, SECOND, false, now);
        assert_eq!(limits.wait(&edit, now), Some(SECOND));
    }

    #[test]
    fn case_18_after_a_global_limit_nothing_is_called() {
        let (limits, now) = (Limits::default(), Instant::now());
        let (one, other) = (Route::of("POST", "/channels/7/messages"), Route::of("GET", "/gateway/bot"));
        limits.refused(&one, SECOND * 4, true, now);
        assert_eq!(limits.wait(&other, now), Some(SECOND * 4));
        // A shorter one does not shorten it.
        limits.refused(&other, SECOND, true, now);
        assert_eq!(limits.wait(&one, now + SECOND), Some(SECOND * 3));
        assert_eq!(limits.wait(&one, now + SECOND * 4), None);
    }

    #[test]
    fn only_a_number_of_seconds_is_one() {
        assert_eq!(seconds("0.25"), Some(Duration::from_millis(250)));
        assert_eq!(seconds("1e9"), Some(LONGEST));
        for text in ["", "soon", "-1", "NaN"] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }
}
