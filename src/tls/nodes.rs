//! Connections to storage nodes: HTTP as ever, and TLS below it for those who are to have it.
//!
//! Addresses of files stay `http://HOST:PORT/…`, in the database, on the wire and in logs: old clients need them so. Whoever
//! has this turns to another port of the same host instead. There is no way back to plain HTTP when that fails.

use super::client::{ClientTls, ClientTlsFiles, Transport};
use super::files::TlsError;
use crate::service::access::AddressList;
use crate::settings::NodeClientSettings;
use arc_swap::ArcSwap;
use hyper::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use std::error::Error;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tower_service::Service;

/// Which nodes are reached by TLS, and how. Clones are one.
#[derive(Clone, Debug)]
pub struct NodeTls {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    tls: ArcSwap<ClientTls>,
    port: u16,
    /// Whom all certificates are for; none: the host of the address.
    name: Option<String>,
    /// None: all.
    nodes: Option<AddressList>,
}

impl NodeTls {
    /// As the settings have it; none if all is in the clear.
    ///
    /// # Errors
    /// A file cannot be used.
    pub fn of(settings: &NodeClientSettings) -> Result<Option<Self>, TlsError> {
        if !settings.uses_tls() {
            return Ok(None);
        }
        let shared = Shared {
            tls: ArcSwap::from_pointee(ClientTls::load(&files(settings))?),
            port: settings.tls_port,
            name: Some(settings.tls_name.clone()).filter(|name| !name.is_empty()),
            // Settings are checked when they are read.
            nodes: (!settings.tls).then(|| AddressList::parse(&settings.tls_nodes).unwrap_or_default()),
        };
        Ok(Some(Self { shared: Arc::new(shared) }))
    }

    /// For all nodes.
    pub fn for_all(tls: ClientTls, port: u16, name: Option<String>) -> Self {
        Self { shared: Arc::new(Shared { tls: ArcSwap::from_pointee(tls), port, name, nodes: None }) }
    }

    /// Reads the files again, for connections from now on.
    ///
    /// # Errors
    /// One cannot be used; all stays as it was then.
    pub fn reload(&self, settings: &NodeClientSettings) -> Result<(), TlsError> {
        self.shared.tls.store(Arc::new(ClientTls::load(&files(settings))?));
        Ok(())
    }

    fn covers(&self, host: &str) -> bool {
        let address = || host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        self.shared.nodes.as_ref().is_none_or(|nodes| address().is_ok_and(|address| nodes.allows(address)))
    }
}

fn files(settings: &NodeClientSettings) -> ClientTlsFiles {
    ClientTlsFiles {
        ca_file: settings.ca_file.clone(),
        certificate_file: settings.certificate_file.clone(),
        key_file: settings.key_file.clone(),
        named_by: ["node_client.ca_file", "node_client.certificate_file", "node_client.key_file"],
    }
}

/// Opens connections for the HTTP library.
#[derive(Clone)]
pub struct NodeConnector {
    plain: HttpConnector,
    tls: Option<NodeTls>,
    handshake_timeout: Duration,
}

impl NodeConnector {
    pub fn new(plain: HttpConnector, tls: Option<NodeTls>, handshake_timeout: Duration) -> Self {
        Self { plain, tls, handshake_timeout }
    }
}

type Failure = Box<dyn Error + Send + Sync>;

impl Service<Uri> for NodeConnector {
    type Response = TokioIo<Transport>;
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Failure>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.plain.poll_ready(cx).map_err(Failure::from)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let host = uri.host().unwrap_or_default();
        let Some(tls) = self.tls.clone().filter(|tls| tls.covers(host)) else {
            let connecting = self.plain.call(uri);
            return Box::pin(async { Ok(TokioIo::new(Transport::Plain(connecting.await?.into_inner()))) });
        };
        let name = tls.shared.name.clone().unwrap_or_else(|| host.to_owned());
        let address =
            Uri::builder().scheme("http").authority(format!("{host}:{}", tls.shared.port)).path_and_query("/");
        let connecting = address.build().map(|address| self.plain.call(address));
        let limit = self.handshake_timeout;
        Box::pin(async move {
            let stream = connecting?.await?.into_inner();
            let tls = tls.shared.tls.load_full();
            let late = |_elapsed| io::Error::new(io::ErrorKind::TimedOut, "the TLS handshake took too long");
            let stream = tokio::time::timeout(limit, tls.connect(&name, stream)).await.map_err(late)??;
            Ok(TokioIo::new(Transport::Tls(Box::new(stream))))
        })
    }
}

impl Connection for Transport {
    fn connected(&self) -> Connected {
        match self {
            Self::Plain(stream) => stream.connected(),
            Self::Tls(stream) => stream.get_ref().0.connected(),
        }
    }
}
