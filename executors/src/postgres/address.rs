//! A connection string, and what of it the driver does not read: TLS, as the field's own client library has it.
//!
//! `sslmode` takes the six words of libpq. Without one it is `prefer`: encrypted if the server can, and then the
//! certificate is not looked at. `require` insists on encryption alone, unless `sslrootcert` names whom to trust;
//! `verify-ca` checks that a trusted authority signed the certificate, `verify-full` also that it is this host's.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::time::timeout;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use tokio_postgres::tls::TlsConnect;
use tokio_postgres::{Client, Config, Connection, SimpleQueryMessage, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_rustls::TlsConnector;

use super::line::{Line, Plain, Pulse, Tls, Wire, tcp};

/// What of a connection string is read here, and kept from the driver, which refuses what it does not know.
const OURS: [&str; 8] = [
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    // These change nothing for this program, and stand in strings that others made.
    "sslcompression",
    "gssencmode",
    "krbsrvname",
    "sslsni",
];

/// A connection of the driver, in the one shape it has here.
pub type Driven =
    Connection<Socket, <MakeRustlsConnect as tokio_postgres::tls::MakeTlsConnect<Socket>>::Stream>;

/// The same over a line whose silence is noticed.
pub(crate) type Lined = Connection<Wire, <Tls as TlsConnect<Wire>>::Stream>;

/// How long one host may take to let us in.
pub(crate) const HOST_PATIENCE: Duration = Duration::from_secs(5);

/// Why no host let us in: of the last that was tried.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// The way there.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The server, or the driver.
    #[error("{}", super::database::chain(.0))]
    Server(#[from] tokio_postgres::Error),
    /// It does not answer, or is not what the connection string wants.
    #[error("{0}")]
    Refused(&'static str),
}

/// How a server is reached.
#[derive(Clone)]
pub struct Address {
    config: Config,
    tls: Arc<ClientConfig>,
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Address")
    }
}

impl Address {
    /// Reads a connection string, `postgres://…` or `key=value …`, and the certificates it names.
    ///
    /// # Errors
    /// What is wrong with it. The text may hold parts of the string: it has to be scrubbed.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (rest, ours) = split(text.trim())?;
        let mut config: Config = rest.parse().map_err(|error| super::database::chain(&error))?;
        let mode = ours.get("sslmode").map_or("prefer", String::as_str);
        config.ssl_mode(match mode {
            "disable" => SslMode::Disable,
            "allow" | "prefer" => SslMode::Prefer,
            "require" | "verify-ca" | "verify-full" => SslMode::Require,
            other => {
                return Err(format!(
                    "sslmode={other} is not known: expected disable, allow, prefer, require, verify-ca or verify-full"
                ));
            }
        });
        let tls = Arc::new(client_config(mode, &ours)?);
        Ok(Self { config, tls })
    }

    /// What the driver reads.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// The same, to be changed.
    pub const fn config_mut(&mut self) -> &mut Config {
        &mut self.config
    }

    /// The same way of connecting, by the same role, to another place. `host` may be a socket's folder.
    #[must_use]
    pub fn elsewhere(&self, host: &str, port: u16, database: &str) -> Self {
        let mut config = Config::new();
        config.host(host).port(port).dbname(database).ssl_mode(self.config.get_ssl_mode());
        if let Some(user) = self.config.get_user() {
            config.user(user);
        }
        if let Some(password) = self.config.get_password() {
            config.password(password);
        }
        Self { config, tls: Arc::clone(&self.tls) }
    }

    /// Connects. The connection has to be driven for the client to get answers.
    ///
    /// # Errors
    /// The driver's.
    pub async fn connect(&self) -> Result<(Client, Driven), tokio_postgres::Error> {
        self.config.connect(MakeRustlsConnect::new(ClientConfig::clone(&self.tls))).await
    }

    /// Connects over a line whose silence is noticed: to the first host that lets us in, as the driver does it.
    ///
    /// # Errors
    /// None does.
    pub(crate) async fn line(&self) -> Result<(Client, Lined, Pulse), ConnectError> {
        let mut last = ConnectError::Refused("the connection string names no host");
        for at in 0..self.hosts() {
            match timeout(HOST_PATIENCE, self.line_to(at)).await {
                Ok(Ok(connected)) => return Ok(connected),
                Ok(Err(error)) => last = error,
                Err(_) => last = ConnectError::Refused("no answer within 5 s"),
            }
        }
        Err(last)
    }

    async fn line_to(&self, at: usize) -> Result<(Client, Lined, Pulse), ConnectError> {
        let pulse = Pulse::default();
        let wire = Line::new(self.dial(at).await?, pulse.clone());
        let tls = Tls::new(&self.tls, &self.name(at), pulse.clone())?;
        let (client, mut connection) = self.config.connect_raw(wire, tls).await?;
        let wanted = self.config.get_target_session_attrs();
        if wanted != TargetSessionAttrs::Any {
            let answer = tokio::select! {
                answer = client.simple_query("show transaction_read_only") => answer?,
                ended = &mut connection => {
                    ended?;
                    return Err(ConnectError::Refused("it ended the connection"));
                }
            };
            let is_read_only = answer
                .iter()
                .any(|message| matches!(message, SimpleQueryMessage::Row(row) if row.get(0) == Some("on")));
            match (is_read_only, wanted) {
                (true, TargetSessionAttrs::ReadWrite) => {
                    return Err(ConnectError::Refused("it takes no writes"));
                }
                (false, TargetSessionAttrs::ReadOnly) => {
                    return Err(ConnectError::Refused("it takes writes"));
                }
                _ => {}
            }
        }
        Ok((client, connection, pulse))
    }

    /// How many hosts the connection string names.
    pub(crate) fn hosts(&self) -> usize {
        self.config.get_hosts().len().max(self.config.get_hostaddrs().len())
    }

    fn port(&self, at: usize) -> u16 {
        let ports = self.config.get_ports();
        *ports.get(at).or_else(|| ports.first()).unwrap_or(&5432)
    }

    /// The name of a host, as its certificate has it.
    pub(crate) fn name(&self, at: usize) -> String {
        match (self.config.get_hosts().get(at), self.config.get_hostaddrs().get(at)) {
            (Some(Host::Tcp(name)), _) => name.clone(),
            (_, Some(address)) => address.to_string(),
            (Some(Host::Unix(folder)), None) => folder.display().to_string(),
            (None, None) => String::new(),
        }
    }

    /// A socket to one of the hosts; nothing is said yet.
    ///
    /// # Errors
    /// It cannot be reached.
    pub(crate) async fn dial(&self, at: usize) -> io::Result<Plain> {
        let port = self.port(at);
        Ok(match (self.config.get_hosts().get(at), self.config.get_hostaddrs().get(at)) {
            (_, Some(address)) => Plain::Tcp(tcp((*address, port)).await?),
            (Some(Host::Tcp(name)), None) => Plain::Tcp(tcp((name.as_str(), port)).await?),
            (Some(Host::Unix(folder)), None) => {
                Plain::Unix(UnixStream::connect(folder.join(format!(".s.PGSQL.{port}"))).await?)
            }
            (None, None) => return Err(io::Error::other("the connection string names no host")),
        })
    }

    /// Whether one of the hosts is reached by the file of a socket, on which nobody speaks TLS.
    pub(crate) fn is_local(&self, at: usize) -> bool {
        let named = self.config.get_hosts().get(at);
        matches!(named, Some(Host::Unix(_))) && self.config.get_hostaddrs().get(at).is_none()
    }

    /// The place, for people: each host with its port, and the database. Never who is let in there, nor by what.
    #[must_use]
    pub fn place(&self) -> String {
        let hosts: Vec<String> =
            (0..self.hosts()).map(|at| format!("{}:{}", self.name(at), self.port(at))).collect();
        let database = self.config.get_dbname().or_else(|| self.config.get_user()).unwrap_or("unnamed");
        format!("{}, database {database}", hosts.join(" or "))
    }

    /// Wraps a socket on which the server has agreed to speak TLS.
    ///
    /// # Errors
    /// The name is none that a certificate can have, or the handshake fails.
    pub async fn secure<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        host: &str,
        socket: S,
    ) -> std::io::Result<tokio_rustls::client::TlsStream<S>> {
        let name = ServerName::try_from(host.to_owned()).map_err(std::io::Error::other)?;
        TlsConnector::from(Arc::clone(&self.tls)).connect(name, socket).await
    }
}

/// Takes out of a connection string what is read here.
fn split(text: &str) -> Result<(String, BTreeMap<&'static str, String>), String> {
    if text.starts_with("postgres://") || text.starts_with("postgresql://") {
        split_url(text)
    } else {
        split_pairs(text)
    }
}

fn ours(key: &str) -> Option<&'static str> {
    OURS.into_iter().find(|known| *known == key)
}

fn split_url(text: &str) -> Result<(String, BTreeMap<&'static str, String>), String> {
    // The driver would take what follows the first of them for the host, and that is named wherever it is not reached.
    let authority = text.split_once("://").and_then(|(_, rest)| rest.split(['/', '?']).next());
    if authority.is_some_and(|authority| authority.matches('@').count() > 1) {
        return Err("its user or password holds an `@` as it is: write that as %40 (so too / as %2F, : as %3A, ? as %3F)"
            .to_owned());
    }
    let Some((head, query)) = text.split_once('?') else { return Ok((text.to_owned(), BTreeMap::new())) };
    let mut found = BTreeMap::new();
    let mut kept = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=').and_then(|(key, value)| Some((ours(key)?, value))) {
            Some((key, value)) => {
                found.insert(key, unescape(value)?);
            }
            None => kept.push(pair),
        }
    }
    let rest = if kept.is_empty() { head.to_owned() } else { format!("{head}?{}", kept.join("&")) };
    Ok((rest, found))
}

/// Percent-decoding of a value.
fn unescape(value: &str) -> Result<String, String> {
    let wrong =
        || "a value of the connection string has a % that no two hexadecimal digits follow".to_owned();
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next().ok_or_else(wrong)?, rest.next().ok_or_else(wrong)?];
            let digits = std::str::from_utf8(&digits).map_err(|_| wrong())?;
            bytes.push(u8::from_str_radix(digits, 16).map_err(|_| wrong())?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

/// `key = value` pairs, as libpq reads them: a value may stand in single quotes, and a backslash takes the next
/// character as it is.
fn split_pairs(text: &str) -> Result<(String, BTreeMap<&'static str, String>), String> {
    let mut found = BTreeMap::new();
    let mut kept = String::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (key, value) =
            rest.split_once('=').ok_or("the connection string is neither a URL nor key=value pairs")?;
        let value = value.trim_start();
        let (read, length) = one_value(value)?;
        let key = key.trim_end();
        match ours(key) {
            Some(known) => {
                found.insert(known, read);
            }
            None => {
                kept.push_str(key);
                kept.push('=');
                kept.push_str(value.get(..length).unwrap_or_default());
                kept.push(' ');
            }
        }
        rest = value.get(length..).unwrap_or_default().trim_start();
    }
    Ok((kept.trim_end().to_owned(), found))
}

/// The value at the beginning of a text, and how many bytes it takes there.
fn one_value(text: &str) -> Result<(String, usize), String> {
    let mut read = String::new();
    let mut letters = text.char_indices();
    let quoted = text.starts_with('\'');
    if quoted {
        letters.next();
    }
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => read.extend(letters.next().map(|(_, letter)| letter)),
            '\'' if quoted => return Ok((read, at + 1)),
            _ if !quoted && letter.is_whitespace() => return Ok((read, at)),
            _ => read.push(letter),
        }
    }
    if quoted {
        Err("a quoted value of the connection string does not end".to_owned())
    } else {
        Ok((read, text.len()))
    }
}

fn client_config(mode: &str, ours: &BTreeMap<&'static str, String>) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let root = ours.get("sslrootcert").map(String::as_str);
    let verifies = matches!(mode, "verify-ca" | "verify-full") || (mode == "require" && root.is_some());
    let verifier = Verifier {
        provider: Arc::clone(&provider),
        trust: if verifies { Some(Trust::read(root.unwrap_or("system"), &provider)?) } else { None },
        by_name: mode == "verify-full",
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    match (ours.get("sslcert"), ours.get("sslkey")) {
        (None, None) => Ok(builder.with_no_client_auth()),
        (Some(certificate), Some(key)) => {
            let chain = certificates(certificate)?;
            let key = PrivateKeyDer::from_pem_file(key)
                .map_err(|error| format!("sslkey {key} cannot be read: {error}"))?;
            builder.with_client_auth_cert(chain, key).map_err(|error| format!("sslcert and sslkey: {error}"))
        }
        _ => Err("sslcert and sslkey go together".to_owned()),
    }
}

fn certificates(file: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = |error: &dyn fmt::Display| format!("the certificate file {file} cannot be read: {error}");
    let found: Vec<_> = CertificateDer::pem_file_iter(Path::new(file))
        .map_err(|error| read(&error))?
        .collect::<Result<_, _>>()
        .map_err(|error| read(&error))?;
    if found.is_empty() {
        Err(format!("the certificate file {file} holds no certificate"))
    } else {
        Ok(found)
    }
}

/// Whom a server's certificate has to come from.
#[derive(Debug)]
struct Trust {
    verifier: Arc<WebPkiServerVerifier>,
    /// A server's own certificate may stand in the file, whether it says that it is an authority or not.
    pinned: Vec<CertificateDer<'static>>,
}

impl Trust {
    fn read(root: &str, provider: &Arc<CryptoProvider>) -> Result<Self, String> {
        let mut store = RootCertStore::empty();
        let pinned = if root == "system" {
            let found = rustls_native_certs::load_native_certs();
            store.add_parsable_certificates(found.certs);
            Vec::new()
        } else {
            let found = certificates(root)?;
            store.add_parsable_certificates(found.iter().cloned());
            found
        };
        if store.is_empty() {
            return Err(format!("sslrootcert={root} names no certificate authority: give the file of one"));
        }
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(store), Arc::clone(provider))
            .build()
            .map_err(|error| format!("sslrootcert={root}: {error}"))?;
        Ok(Self { verifier, pinned })
    }
}

/// The verification that an `sslmode` means.
#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
    trust: Option<Trust>,
    by_name: bool,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(trust) = &self.trust else { return Ok(ServerCertVerified::assertion()) };
        if trust.pinned.iter().any(|pinned| pinned == end_entity) {
            if self.by_name {
                rustls::client::verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
            }
            return Ok(ServerCertVerified::assertion());
        }
        let verified =
            trust.verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verified {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.by_name => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(text: &str) -> (String, Vec<(&'static str, String)>) {
        let (rest, found) = split(text).unwrap();
        (rest, found.into_iter().collect())
    }

    #[test]
    fn a_url_keeps_what_the_driver_reads() {
        let (rest, found) = take(
            "postgres://u:p%40@h:1/d?sslmode=verify-full&application_name=x&sslrootcert=%2Fetc%2Fca.pem",
        );
        assert_eq!(rest, "postgres://u:p%40@h:1/d?application_name=x");
        assert_eq!(found, [("sslmode", "verify-full".to_owned()), ("sslrootcert", "/etc/ca.pem".to_owned())]);
    }

    #[test]
    fn an_at_sign_in_a_password_is_refused_and_nothing_of_it_is_said() {
        for url in ["postgres://u:Pre@TAIL77@h:1/d", "postgresql://a@TAIL77:p@h?sslmode=disable"] {
            let refused = Address::parse(url).map(drop).unwrap_err();
            assert!(refused.contains("%40") && !refused.contains("TAIL77"), "{refused}");
        }
        let (rest, _) = take("postgres://u:p%40@h/d?options=a@b@c");
        assert_eq!(rest, "postgres://u:p%40@h/d?options=a@b@c");
    }

    #[test]
    fn pairs_keep_quotes_and_backslashes() {
        let (rest, found) =
            take(r"host = h password='it\'s = ours' sslmode=require sslkey='/a b/\'k' dbname=d\ b");
        assert_eq!(rest, r"host=h password='it\'s = ours' dbname=d\ b");
        assert_eq!(found, [("sslkey", "/a b/'k".to_owned()), ("sslmode", "require".to_owned())]);
        let config: Config = rest.parse().unwrap();
        assert_eq!(config.get_password(), Some("it's = ours".as_bytes()));
        assert_eq!(config.get_dbname(), Some("d b"));
    }

    #[test]
    fn a_place_is_named_without_who_is_let_in() {
        for (text, place) in [
            ("postgres://mover:geheim@db.example:6432/shop", "db.example:6432, database shop"),
            ("host=a,b port=1,2 user=mover password=geheim", "a:1 or b:2, database mover"),
            ("host=a hostaddr=10.0.0.7 dbname=shop", "a:5432, database shop"),
            ("host=/run/postgresql dbname=shop", "/run/postgresql:5432, database shop"),
        ] {
            assert_eq!(Address::parse(text).unwrap().place(), place);
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, what) in [
            ("host=h sslmode=maybe", "expected disable, allow, prefer"),
            ("nonsense", "neither a URL nor key=value pairs"),
            ("host='h", "does not end"),
            ("postgres://h/d?sslmode=%zz", "hexadecimal"),
            ("host=h sslmode=verify-full sslrootcert=/no/such/file", "/no/such/file"),
            ("host=h sslcert=/a", "go together"),
        ] {
            let said = Address::parse(text).unwrap_err();
            assert!(said.contains(what), "{text}: {said}");
        }
    }
}
