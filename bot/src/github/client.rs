//! Requests to GitHub as the App and as its installation in one repository.
//!
//! When GitHub asks to wait, nobody of this process asks anything until the time is over: going on is what gets an App
//! banned. What was read once is asked for with its tag, and an answer that nothing changed costs nothing of the hour's
//! requests.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex as Plain, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use octocrab::Octocrab;
use octocrab::models::{AppId, InstallationId};
use runtime::{Clock, Secret};
use serde_json::Value;
use tokio::sync::Mutex;

/// What GitHub asks for after a refusal for haste that names no time.
const SECONDARY: Duration = Duration::from_secs(60);

/// The longest wait that is believed.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// How many answers are remembered with their tags.
const REMEMBERED: usize = 500;

/// Items a page, and pages read of one list at most.
pub(super) const PAGE: usize = 100;
const PAGES: usize = 50;

/// The App cannot be spoken for.
#[derive(Debug, thiserror::Error)]
pub enum GithubError {
    /// The key or the address is wrong.
    #[error("its key or address is not usable: {0}")]
    Settings(String),
}

/// Why there is no success.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It was not done, or nobody knows. The wait is GitHub's wish.
    #[error("{why}")]
    Later {
        /// How long to wait at least.
        wait: Option<Duration>,
        /// Why.
        why: String,
    },
    /// It is not there, or the App may not see it.
    #[error("GitHub has nothing there")]
    Missing,
    /// GitHub will never do it.
    #[error("{0}")]
    Refused(String),
}

impl Failure {
    fn later(why: impl ToString) -> Self {
        Self::Later { wait: None, why: why.to_string() }
    }
}

/// What the App is.
#[derive(Debug)]
pub struct App<'s> {
    /// Its number.
    pub id: u64,
    /// Its private key, PEM.
    pub key: &'s Secret,
    /// Where the API is.
    pub api: &'s str,
    /// `owner/name`.
    pub repository: &'s str,
}

/// How a request is made.
#[derive(Debug, Clone, Copy)]
enum Method {
    Post,
    Patch,
}

/// An answer, read.
struct Answered {
    status: u16,
    headers: HeaderMap,
    body: Value,
}

/// A page of a list.
#[derive(Debug)]
pub(super) struct Page {
    /// Its items.
    pub(super) items: Vec<Value>,
    /// The cursor of the next page, where a list has cursors.
    pub(super) cursor: Option<String>,
}

/// Speaks to GitHub.
#[derive(Debug)]
pub struct Client {
    app: Octocrab,
    repository: String,
    /// The base of GraphQL's address, where it is not that of REST.
    graphql: Option<String>,
    /// The installation's client; it renews its own token.
    installed: Mutex<Option<Octocrab>>,
    clock: Arc<dyn Clock>,
    /// Until when GitHub asked to wait, in the clock's milliseconds.
    quiet_until: Plain<i64>,
    tags: Plain<BTreeMap<String, (HeaderValue, Value)>>,
}

/// Reads an answer; a macro, since the client does not say the type of its bodies.
macro_rules! read {
    ($client:expr, $response:expr) => {{
        let response = $response.await.map_err(Failure::later)?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = $client.body_to_string(response).await.map_err(Failure::later)?;
        Answered { status, headers, body: serde_json::from_str(&text).unwrap_or_default() }
    }};
}

fn locked<T>(of: &Plain<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where GraphQL is beside another place than REST: an Enterprise Server has it one step up.
fn graphql_base(api: &str) -> Option<&str> {
    api.strip_suffix("/v3")
}

impl Client {
    /// A client. Nothing is connected yet. To be called within a tokio runtime.
    ///
    /// # Errors
    /// The key is no RSA key in PEM, the address is none.
    pub fn new(app: &App<'_>, clock: Arc<dyn Clock>) -> Result<Self, GithubError> {
        let wrong = |error: octocrab::Error| GithubError::Settings(error.to_string());
        let built = Octocrab::builder()
            .base_uri(app.api)
            .and_then(|builder| builder.app_from_rsa_pem(AppId(app.id), app.key.expose()))
            .map_err(wrong)?
            .set_connect_timeout(Some(Duration::from_secs(10)))
            .set_read_timeout(Some(Duration::from_secs(30)))
            .build()
            .map_err(wrong)?;
        Ok(Self {
            app: built,
            repository: app.repository.to_owned(),
            graphql: graphql_base(app.api).map(str::to_owned),
            installed: Mutex::new(None),
            clock,
            quiet_until: Plain::new(0),
            tags: Plain::new(BTreeMap::new()),
        })
    }

    /// `owner/name`.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// Nothing, unless GitHub has asked to wait.
    fn may_ask(&self) -> Result<(), Failure> {
        let left = *locked(&self.quiet_until) - self.clock.now_millis();
        match u64::try_from(left) {
            Ok(left) if left > 0 => {
                let wait = Some(Duration::from_millis(left));
                Err(Failure::Later { wait, why: "GitHub has asked to wait".to_owned() })
            }
            _ => Ok(()),
        }
    }

    async fn client(&self) -> Result<Octocrab, Failure> {
        let mut installed = self.installed.lock().await;
        if let Some(client) = installed.as_ref() {
            return Ok(client.clone());
        }
        let path = format!("/repos/{}/installation", self.repository);
        let found = self.checked(read!(self.app, self.app._get(path)))?;
        let Some(id) = found.body.get("id").and_then(Value::as_u64) else {
            return Err(Failure::later("the App's installation has no id"));
        };
        let client = self.app.installation(InstallationId(id)).map_err(Failure::later)?;
        *installed = Some(client.clone());
        Ok(client)
    }

    /// The answer, if it is a success; otherwise what to do.
    fn checked(&self, answered: Answered) -> Result<Answered, Failure> {
        match answered.status {
            200..300 | 304 => Ok(answered),
            _ => Err(self.failed(&answered)),
        }
    }

    fn failed(&self, answered: &Answered) -> Failure {
        let said = answered.body.get("message").and_then(Value::as_str).unwrap_or("no message");
        let details: Vec<String> = answered
            .body
            .get("errors")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .map(|error| {
                error.get("message").and_then(Value::as_str).map_or_else(|| error.to_string(), str::to_owned)
            })
            .collect();
        let mut why = format!("GitHub answered {}: {said}", answered.status);
        if !details.is_empty() {
            why = format!("{why} ({})", details.join("; "));
        }
        let number = |name: &str| answered.headers.get(name)?.to_str().ok()?.trim().parse::<i64>().ok();
        let is_limited = answered.status == 429
            || (answered.status == 403
                && (number("retry-after").is_some()
                    || number("x-ratelimit-remaining") == Some(0)
                    || said.contains("rate limit")));
        if is_limited {
            let until_reset = number("x-ratelimit-reset")
                .filter(|_| number("x-ratelimit-remaining") == Some(0))
                // A second for clocks that differ.
                .map(|reset| reset - self.clock.now_millis().div_euclid(1000) + 1);
            let seconds = number("retry-after").or(until_reset).and_then(|wait| u64::try_from(wait).ok());
            let wait = seconds.map_or(SECONDARY, Duration::from_secs).min(LONGEST_WAIT);
            let millis = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
            let mut quiet_until = locked(&self.quiet_until);
            *quiet_until = (*quiet_until).max(self.clock.now_millis().saturating_add(millis));
            return Failure::Later { wait: Some(wait), why };
        }
        if matches!(answered.status, 301 | 302 | 307 | 308) {
            let has_moved =
                "the repository or its owner has another name by now: correct `repository` in the bot's file";
            return Failure::later(format!("{why}; {has_moved}"));
        }
        match answered.status {
            404 | 410 => Failure::Missing,
            // To say it again changes nothing.
            400 | 403 | 409 | 422 | 451 => Failure::Refused(why),
            _ => Failure::later(why),
        }
    }

    /// Forgets the installation when its token is not taken any more; the next request begins anew.
    async fn known(
        &self,
        answered: Result<Answered, Failure>,
        was_denied: bool,
    ) -> Result<Answered, Failure> {
        if was_denied {
            *self.installed.lock().await = None;
        }
        answered
    }

    /// Reads. `path` begins with `/`.
    ///
    /// # Errors
    /// It cannot be read now, or is not there.
    pub async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.may_ask()?;
        let client = self.client().await?;
        let tag = locked(&self.tags).get(path).map(|(tag, _)| tag.clone());
        let headers = tag.map(|tag| HeaderMap::from_iter([(header::IF_NONE_MATCH, tag)]));
        let answered = read!(client, client._get_with_headers(path, headers));
        let was_denied = answered.status == 401;
        let answered = self.known(self.checked(answered), was_denied).await?;
        if answered.status == 304 {
            let remembered = locked(&self.tags).get(path).map(|(_, body)| body.clone());
            return remembered.ok_or_else(|| Failure::later("an answer was forgotten meanwhile"));
        }
        if let Some(tag) = answered.headers.get(header::ETAG) {
            let mut tags = locked(&self.tags);
            if tags.len() >= REMEMBERED {
                tags.clear();
            }
            tags.insert(path.to_owned(), (tag.clone(), answered.body.clone()));
        }
        Ok(answered.body)
    }

    /// Reads a path of the repository.
    ///
    /// # Errors
    /// It cannot be read now, or is not there.
    pub async fn of_repository(&self, rest: &str) -> Result<Value, Failure> {
        self.get(&format!("/repos/{}{rest}", self.repository)).await
    }

    /// Reads a whole list of the repository; `rest` has a query. Lists that never end are read to their five thousandth item.
    ///
    /// # Errors
    /// It cannot be read now, or is not there.
    pub async fn list(&self, rest: &str) -> Result<Vec<Value>, Failure> {
        let mut items = Vec::new();
        for page in 1..=PAGES {
            let found = self.of_repository(&format!("{rest}&per_page={PAGE}&page={page}")).await?;
            let found = found.as_array().cloned().unwrap_or_default();
            let is_last = found.len() < PAGE;
            items.extend(found);
            if is_last {
                break;
            }
        }
        Ok(items)
    }

    async fn send(&self, method: Method, path: &str, body: &Value) -> Result<Value, Failure> {
        self.may_ask()?;
        let client = self.client().await?;
        let answered = match method {
            Method::Post => read!(client, client._post(path, Some(body))),
            Method::Patch => read!(client, client._patch(path, Some(body))),
        };
        let was_denied = answered.status == 401;
        Ok(self.known(self.checked(answered), was_denied).await?.body)
    }

    /// Makes something in the repository.
    ///
    /// # Errors
    /// It was not made, or nobody knows.
    pub async fn post(&self, rest: &str, body: &Value) -> Result<Value, Failure> {
        self.send(Method::Post, &format!("/repos/{}{rest}", self.repository), body).await
    }

    /// Changes something in the repository.
    ///
    /// # Errors
    /// It was not changed, or nobody knows.
    pub async fn patch(&self, rest: &str, body: &Value) -> Result<Value, Failure> {
        self.send(Method::Patch, &format!("/repos/{}{rest}", self.repository), body).await
    }

    /// Asks GraphQL.
    ///
    /// # Errors
    /// It was not done, or nobody knows; what GraphQL refuses in its own way is refused.
    pub async fn graphql(&self, body: &Value) -> Result<Value, Failure> {
        const PATH: &str = "/graphql";
        let answered = match &self.graphql {
            None => self.send(Method::Post, PATH, body).await?,
            Some(base) => {
                self.may_ask()?;
                let token = self.client().await?.installation_token().await.map_err(Failure::later)?;
                let beside = Octocrab::builder()
                    .base_uri(base.as_str())
                    .and_then(|builder| builder.personal_token(token).build())
                    .map_err(Failure::later)?;
                self.checked(read!(beside, beside._post(PATH, Some(body))))?.body
            }
        };
        match answered.get("errors").and_then(Value::as_array).filter(|errors| !errors.is_empty()) {
            Some(errors) => {
                let said: Vec<&str> =
                    errors.iter().filter_map(|error| error.get("message")?.as_str()).collect();
                Err(Failure::Refused(format!("GitHub answered: {}", said.join("; "))))
            }
            None => Ok(answered),
        }
    }

    /// Reads a page of a list that is the App's own, with its cursor.
    ///
    /// # Errors
    /// It cannot be read now.
    pub(super) async fn of_app(&self, path: &str) -> Result<Page, Failure> {
        self.may_ask()?;
        let answered = self.checked(read!(self.app, self.app._get(path)))?;
        let link = answered.headers.get(HeaderName::from_static("link"));
        let cursor = link.and_then(|link| link.to_str().ok()).and_then(next_cursor);
        Ok(Page { items: answered.body.as_array().cloned().unwrap_or_default(), cursor })
    }

    /// Makes something that is the App's own.
    ///
    /// # Errors
    /// It was not made, or nobody knows.
    pub(super) async fn post_as_app(&self, path: &str) -> Result<(), Failure> {
        self.may_ask()?;
        self.checked(read!(self.app, self.app._post(path, None::<&Value>)))?;
        Ok(())
    }
}

/// The cursor of the next page in a `Link` header.
fn next_cursor(link: &str) -> Option<String> {
    let next = link.split(',').find(|part| part.contains("rel=\"next\""))?;
    let url = next.split_once('<')?.1.split_once('>')?.0;
    let query = url.split_once('?')?.1;
    query.split('&').find_map(|pair| pair.strip_prefix("cursor=")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::{graphql_base, next_cursor};

    #[test]
    fn an_enterprise_server_has_graphql_one_step_up() {
        assert_eq!(graphql_base("https://api.github.com"), None);
        assert_eq!(graphql_base("https://git.example.org/api/v3"), Some("https://git.example.org/api"));
    }

    #[test]
    fn the_next_page_is_where_the_header_says() {
        let link = "<https://x/app/hook/deliveries?per_page=100&cursor=v1_5>; rel=\"next\", <https://x/y>; rel=\"first\"";
        assert_eq!(next_cursor(link).as_deref(), Some("v1_5"));
        assert_eq!(next_cursor("<https://x/y?cursor=v1_1>; rel=\"prev\""), None);
        assert_eq!(next_cursor(""), None);
    }
}
