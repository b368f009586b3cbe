//! The calling side: whom it believes, what it shows of itself, and in which words it complains.

use super::files::{Named, TlsError};
use super::provider;
use rustls::pki_types::{InvalidDnsNameError, ServerName};
use rustls::{AlertDescription, CertificateError, ClientConfig, Error, RootCertStore};
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Files of the calling side; an empty path is none.
#[derive(Clone, Debug, Default)]
pub struct ClientTlsFiles {
    /// Authorities to believe; none: those that the system believes.
    pub ca_file: PathBuf,
    /// What to show those who ask.
    pub certificate_file: PathBuf,
    pub key_file: PathBuf,
    /// Where the three were said, for complaints.
    pub named_by: [&'static str; 3],
}

/// What connections are opened with. Clones are one.
#[derive(Clone, Debug)]
pub struct ClientTls {
    config: Arc<ClientConfig>,
    /// Who is believed, for complaints.
    authorities: Arc<str>,
}

impl ClientTls {
    /// Reads the files.
    ///
    /// # Errors
    /// One of them is missing or not what it should be.
    pub fn load(files: &ClientTlsFiles) -> Result<Self, TlsError> {
        let [ca, certificate, key] = files.named_by;
        let ca = Named { path: &files.ca_file, by: ca };
        let certificate = Named { path: &files.certificate_file, by: certificate };
        let key = Named { path: &files.key_file, by: key };
        let is_none = |named: Named<'_>| named.path.as_os_str().is_empty();
        let (roots, authorities) = match is_none(ca) {
            true => (system_roots(), "of no authority that this system believes".to_owned()),
            false => (ca.authorities()?, format!("of no authority in {} ({})", ca.path.display(), ca.by)),
        };
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| ca.wrong(error.to_string()))?
            .with_root_certificates(roots);
        let config = match (is_none(certificate), is_none(key)) {
            (true, true) => builder.with_no_client_auth(),
            _ => {
                let (chain, private_key) = (certificate.certificates()?, key.private_key()?);
                let built = builder.with_client_auth_cert(chain, private_key);
                built.map_err(|error| key.wrong(format!("cannot be used with the certificate: {error}")))?
            }
        };
        Ok(Self { config: Arc::new(config), authorities: authorities.into() })
    }

    /// The handshake. The certificate must be for `name`: a host name or an address.
    ///
    /// # Errors
    /// Why not, in words for people; or the connection broke.
    pub async fn connect(&self, name: &str, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let name = name.trim_start_matches('[').trim_end_matches(']');
        let no_name = |error: InvalidDnsNameError| io::Error::new(io::ErrorKind::InvalidInput, error);
        let name = ServerName::try_from(name).map_err(no_name)?.to_owned();
        let connecting = TlsConnector::from(Arc::clone(&self.config)).connect(name, stream);
        Box::pin(connecting).await.map_err(|error| match refusal_of(&error) {
            // One of the same name with another key is another authority.
            Some(Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature)) => {
                in_other_words(&error, format!("its certificate is {}", self.authorities))
            }
            _ => in_words(error),
        })
    }
}

/// What the system believes; what of it is unreadable is not.
fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

fn refusal_of(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

fn in_other_words(error: &io::Error, words: String) -> io::Error {
    io::Error::new(error.kind(), words)
}

/// What of an error is about TLS, in words for people. Those about certificates may come with the first answer, too.
pub fn in_words(error: io::Error) -> io::Error {
    use AlertDescription as Alert;
    let words = match refusal_of(&error) {
        Some(Error::InvalidCertificate(why)) => match why {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "its certificate has expired".to_owned()
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "its certificate is not valid yet".to_owned()
            }
            CertificateError::NotValidForNameContext { expected, presented } => {
                let expected = expected.to_str();
                format!("its certificate is not for {expected}, but for {}", presented.join(", "))
            }
            why => format!("its certificate is refused: {why}"),
        },
        Some(Error::AlertReceived(Alert::CertificateRequired)) => "it lets nobody in without a certificate".to_owned(),
        Some(Error::AlertReceived(
            Alert::UnknownCA
            | Alert::BadCertificate
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::DecryptError
            | Alert::AccessDenied,
        )) => "it does not believe our certificate".to_owned(),
        Some(Error::InvalidMessage(_)) => "it does not talk TLS there".to_owned(),
        Some(other) => format!("TLS: {other}"),
        None => return error,
    };
    in_other_words(&error, words)
}

/// A connection with or without TLS.
#[derive(Debug)]
pub enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Transport {
    /// Is there nothing to read but the end, or something where nothing should be?
    pub fn is_readable(&mut self) -> bool {
        let mut byte = [0_u8; 1];
        match self {
            Self::Plain(stream) => {
                !matches!(stream.try_read(&mut byte), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
            }
            // What the library itself has to say to the other side's does not count.
            Self::Tls(stream) => futures::FutureExt::now_or_never(stream.read(&mut byte)).is_some(),
        }
    }
}

impl AsyncRead for Transport {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, bytes),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
