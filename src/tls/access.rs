//! How storage nodes are reached: by TLS or in the clear, and with or without a signature of what is asked of them.

use super::files::TlsError;
use super::nodes::NodeTls;
use crate::clock::unix_now_secs;
use crate::service::signature::{self, SigningKey};
use crate::settings::NodeClientSettings;
use hyper::Request;
use hyper::header::HeaderValue;

/// What a client of storage nodes has. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct NodeAccess {
    /// None: all is in the clear.
    pub tls: Option<NodeTls>,
    /// None: nodes know us by our address, or take everybody.
    pub signing_key: Option<SigningKey>,
}

impl NodeAccess {
    /// As the settings have it.
    ///
    /// # Errors
    /// A file cannot be used.
    pub fn of(settings: &NodeClientSettings) -> Result<Self, TlsError> {
        let path = &settings.signing_key_file;
        let named_by = "node_client.signing_key_file";
        let signing_key =
            SigningKey::read(path).map_err(|problem| TlsError { path: path.clone(), problem, named_by })?;
        Ok(Self { tls: NodeTls::of(settings)?, signing_key })
    }

    /// Signs a request that changes something, if there is a key.
    pub fn sign<B>(&self, request: &mut Request<B>) {
        let Some(key) = self.signing_key.as_ref().filter(|_| signature::is_write(request.method().as_str())) else {
            return;
        };
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let value = key.sign(request.method().as_str(), path, unix_now_secs());
        if let Ok(value) = HeaderValue::from_str(&value) {
            request.headers_mut().insert(signature::HEADER, value);
        }
    }
}
