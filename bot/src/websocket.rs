//! A websocket to a platform, for teams without a public address.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{WebSocketStream, client_async};

/// How long a connection may take to be made.
const LIMIT: Duration = Duration::from_secs(20);

/// What a websocket runs over.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// A websocket.
pub(crate) type Socket = WebSocketStream<Box<dyn Wire>>;

/// Why there is none. Addresses hold tickets, so none is repeated.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoSocket {
    /// The address is none.
    #[error("the address that was given is no websocket's")]
    Address,
    /// Nobody answers.
    #[error("{0}")]
    Wire(#[from] io::Error),
    /// Who answers speaks no websocket.
    #[error("the other side refused: {0}")]
    Refused(String),
    /// It took too long.
    #[error("no answer in {} s", LIMIT.as_secs())]
    Late,
}

/// Opens one: `wss://…`, or `ws://…` for a proxy or a test.
pub(crate) async fn connect(url: &str) -> Result<Socket, NoSocket> {
    tokio::time::timeout(LIMIT, open(url)).await.map_err(|_| NoSocket::Late)?
}

async fn open(url: &str) -> Result<Socket, NoSocket> {
    let request = url.into_client_request().map_err(|_| NoSocket::Address)?;
    let uri = request.uri();
    let host = uri.host().ok_or(NoSocket::Address)?.trim_matches(['[', ']']).to_owned();
    let is_secret = match uri.scheme_str() {
        Some("wss") => true,
        Some("ws") => false,
        _ => return Err(NoSocket::Address),
    };
    let port = uri.port_u16().unwrap_or(if is_secret { 443 } else { 80 });
    let plain = TcpStream::connect((host.as_str(), port)).await?;
    plain.set_nodelay(true)?;
    let wire: Box<dyn Wire> = if is_secret {
        let name = ServerName::try_from(host).map_err(|_| NoSocket::Address)?;
        Box::new(TlsConnector::from(tls()?).connect(name, plain).await?)
    } else {
        Box::new(plain)
    };
    match client_async(request, wire).await {
        Ok((socket, _)) => Ok(socket),
        Err(tokio_tungstenite::tungstenite::Error::Http(response)) => {
            Err(NoSocket::Refused(response.status().to_string()))
        }
        // The error's own text may hold the address.
        Err(_) => Err(NoSocket::Refused("no websocket was made".to_owned())),
    }
}

/// TLS with the machine's own authorities.
fn tls() -> Result<Arc<ClientConfig>, NoSocket> {
    let mut roots = RootCertStore::empty();
    for certificate in rustls_native_certs::load_native_certs().certs {
        // One that cannot be read leaves the others.
        roots.add(certificate).ok();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| NoSocket::Wire(io::Error::other(error)))?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}
