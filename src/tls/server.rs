//! The listening side: certificate, key, and whether clients need a certificate, too.

use super::files::{Named, TlsError};
use super::{provider, validity};
use crate::settings::TlsSettings;
use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use slog::{Logger, info, warn};
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// What a listener shows and asks for. Clones are one: files that are read again hold for all.
#[derive(Clone, Debug)]
pub struct ServerTls {
    loaded: Arc<ArcSwap<Loaded>>,
    handshake_timeout: Duration,
    asks_for_certificates: bool,
}

/// What was read last.
#[derive(Debug)]
struct Loaded {
    config: Arc<ServerConfig>,
    ends_at_unix_secs: Option<u64>,
}

/// A certificate that ends within this time is worth a warning.
const ENDS_SOON: Duration = Duration::from_secs(14 * 24 * 3600);

impl ServerTls {
    /// Reads the files.
    ///
    /// # Errors
    /// One of them is missing or not what it should be.
    pub fn load(settings: &TlsSettings) -> Result<Self, TlsError> {
        Ok(Self {
            loaded: Arc::new(ArcSwap::from_pointee(load(settings)?)),
            handshake_timeout: Duration::from_millis(settings.handshake_timeout_ms),
            asks_for_certificates: settings.asks_for_certificates(),
        })
    }

    /// Reads the same files again; conversations that have begun go on with what they have.
    ///
    /// # Errors
    /// As for [`ServerTls::load`]; all stays as it was then.
    pub fn reload(&self, settings: &TlsSettings) -> Result<(), TlsError> {
        self.loaded.store(Arc::new(load(settings)?));
        Ok(())
    }

    /// Is nobody let in who has no certificate?
    pub fn asks_for_certificates(&self) -> bool {
        self.asks_for_certificates
    }

    /// Until when the certificate is valid, in seconds since 1970; none if that could not be read.
    pub fn ends_at_unix_secs(&self) -> Option<u64> {
        self.loaded.load().ends_at_unix_secs
    }

    /// Says until when the certificate is valid, and loudly if that is soon.
    pub fn tell_validity(&self, log: &Logger) {
        let Some(ends_at) = self.ends_at_unix_secs().map(|secs| UNIX_EPOCH + Duration::from_secs(secs)) else { return };
        let end = httpdate::fmt_http_date(ends_at);
        match ends_at.duration_since(SystemTime::now()) {
            Err(_past) => warn!(log, "the certificate has expired: clients refuse it"; "ended" => end),
            Ok(left) if left < ENDS_SOON => warn!(log, "the certificate ends soon"; "ends" => end),
            Ok(_) => info!(log, "certificate"; "ends" => end),
        }
    }

    /// The handshake, within its time limit.
    ///
    /// # Errors
    /// The client has no right certificate, does not talk TLS, is gone, or too slow.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let acceptor = TlsAcceptor::from(Arc::clone(&self.loaded.load().config));
        match tokio::time::timeout(self.handshake_timeout, acceptor.accept(stream)).await {
            Ok(accepted) => accepted,
            Err(_elapsed) => Err(io::Error::new(io::ErrorKind::TimedOut, "the TLS handshake took too long")),
        }
    }
}

fn load(settings: &TlsSettings) -> Result<Loaded, TlsError> {
    let certificate = Named { path: &settings.certificate_file, by: "tls.certificate_file" };
    let key = Named { path: &settings.key_file, by: "tls.key_file" };
    let chain = certificate.certificates()?;
    let ends_at_unix_secs = chain.first().and_then(|own| validity::ends_at_unix_secs(own));
    let private_key = key.private_key()?;
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| certificate.wrong(error.to_string()))?;
    let builder = if settings.asks_for_certificates() {
        let authority = Named { path: &settings.client_ca_file, by: "tls.client_ca_file" };
        let roots = Arc::new(authority.authorities()?);
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider()).build();
        builder.with_client_cert_verifier(verifier.map_err(|error| authority.wrong(error.to_string()))?)
    } else {
        builder.with_no_client_auth()
    };
    let config = builder.with_single_cert(chain, private_key).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => key.wrong("is not the key of the certificate (tls.certificate_file)"),
        error => key.wrong(format!("cannot be used with the certificate: {error}")),
    })?;
    Ok(Loaded { config: Arc::new(config), ends_at_unix_secs })
}
