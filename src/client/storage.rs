//! HTTP to storage nodes: PUT and GET, with time limits and kept connections.

use super::{StorageError, Timeouts, UploadBody};
use crate::tls::NodeAccess;
use crate::tls::nodes::NodeConnector;
use hyper::body::{Body as _, Incoming};
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// A client of any number of storage nodes. Cloning shares its connections.
#[derive(Clone)]
pub struct StorageClient {
    http: Client<NodeConnector, UploadBody>,
    access: NodeAccess,
    timeouts: Timeouts,
}

impl StorageClient {
    /// Connects to nothing yet.
    pub fn new(timeouts: Timeouts) -> Self {
        Self::with_access(timeouts, NodeAccess::default())
    }

    /// The same, with what nodes ask for.
    pub fn with_access(timeouts: Timeouts, access: NodeAccess) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(timeouts.connect));
        let connector = NodeConnector::new(connector, access.tls.clone(), timeouts.connect);
        Self { http: Client::builder(TokioExecutor::new()).build(connector), access, timeouts }
    }

    pub(super) fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }

    /// Sends a file and waits for the node's answer, without a limit of time.
    ///
    /// # Errors
    /// The node could not be reached, or did not answer with success.
    pub async fn put(&self, url: &str, body: UploadBody) -> Result<(), StorageError> {
        let mut request = Request::builder().method(Method::PUT).uri(url);
        // Said even when it is 0: without the header some nodes refuse an empty file.
        if let Some(length_bytes) = body.size_hint().exact() {
            request = request.header(header::CONTENT_LENGTH, length_bytes);
        }
        let mut request = request.body(body).map_err(|error| StorageError::caused(url, &error))?;
        self.access.sign(&mut request);
        let response = self.http.request(request).await.map_err(|error| StorageError::caused(url, &error))?;
        match response.status() {
            status if status.is_success() => Ok(()),
            status => Err(StorageError::new(url, format!("the node answered {status}"))),
        }
    }

    /// Begins to fetch a file, from the offset on. The answer is 200 (from the start) or 206 (from the offset).
    ///
    /// # Errors
    /// As for [`StorageClient::put`], or no answer in time.
    pub async fn get(&self, url: &str, offset_bytes: u64) -> Result<Response<Incoming>, StorageError> {
        let mut request = Request::builder().method(Method::GET).uri(url);
        if offset_bytes > 0 {
            request = request.header(header::RANGE, format!("bytes={offset_bytes}-"));
        }
        let request = request.body(UploadBody::empty()).map_err(|error| StorageError::caused(url, &error))?;
        let response = tokio::time::timeout(self.timeouts.stall, self.http.request(request))
            .await
            .map_err(|_elapsed| StorageError::new(url, format!("no answer within {:?}", self.timeouts.stall)))?
            .map_err(|error| StorageError::caused(url, &error))?;
        match response.status() {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(response),
            status => Err(StorageError::new(url, format!("the node answered {status}"))),
        }
    }
}
