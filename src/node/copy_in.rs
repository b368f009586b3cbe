//! COPYFROM: a tracker tells this node to fetch a file from another node (decision 0011).
//!
//! The answer comes when the file is in its place, as durable as an upload; a copy that takes longer is answered at once
//! and tells its result at the end. Nothing but stored files is fetched, and nothing is stored that is not exactly as long
//! as the tracker said.

use super::NodeShared;
use super::answer::{self, Answer};
use super::body::{LongWork, NodeBody};
use super::pulse::Pulse;
use super::upload::{self, Sink, Target, UploadError};
use crate::cluster::checksum::{Checksum, HashType};
use crate::node_client::copy_order::{CopyOrder, CopyResult};
use crate::node_client::{Download, Limits, NodeClient};
use crate::tls::NodeAccess;
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Reaching a source, and each answer of it.
const SOURCE_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections kept to each source.
const IDLE_CONNECTIONS_PER_SOURCE: usize = 20;
/// A copy that takes longer is answered before it is done.
const ANSWER_AT_ONCE: Duration = Duration::from_millis(500);

/// The client for reading from other nodes, for the current thread.
pub(crate) fn sources(shared: &NodeShared) -> NodeClient {
    let limits = Limits {
        node_timeout: SOURCE_TIMEOUT,
        stall_timeout: shared.idle_timeout,
        idle_connections_per_node: IDLE_CONNECTIONS_PER_SOURCE,
        side_channel_port: None,
    };
    // Sources are only read from: nothing to sign.
    let access = NodeAccess { tls: shared.sources_tls.clone(), signing_key: None };
    NodeClient::with_limits(limits, access, shared.log.clone())
}

/// Answers a COPYFROM: 200 with the result as the last line, or why the copy could not begin. Then nothing was stored.
pub(crate) async fn copy_in(
    shared: &Arc<NodeShared>,
    sources: &NodeClient,
    pulse: &Rc<Pulse>,
    request: Request<Incoming>,
) -> Answer {
    let Some(order) = CopyOrder::read(request.headers()) else {
        return answer::text(StatusCode::BAD_REQUEST, "no order that may be carried out");
    };
    let begun = async {
        let target = upload::target(shared, request.uri().path())?;
        target.check()?;
        let download = sources.download(&order.source_url, order.length).await?;
        Ok((target, download))
    };
    let (target, download) = match begun.await {
        Ok(begun) => begun,
        Err(error) => {
            upload::note(shared, request.uri().path(), &error);
            return upload::refusal(&error);
        }
    };
    let work = carry_out(Arc::clone(shared), Rc::clone(pulse), order, target, download);
    let mut work = Box::pin(async move { work.await.to_string() });
    match tokio::time::timeout(ANSWER_AT_ONCE, work.as_mut()).await {
        Ok(result) => answer::with_body(StatusCode::OK, NodeBody::Full(Some(Bytes::from(format!("{result}\n"))))),
        Err(_elapsed) => answer::with_body(StatusCode::OK, NodeBody::Work(LongWork::new(work))),
    }
}

async fn carry_out(
    shared: Arc<NodeShared>,
    pulse: Rc<Pulse>,
    order: CopyOrder,
    target: Target,
    download: Download,
) -> CopyResult {
    // The tracker waits without sending anything.
    let _waiting_for_source = pulse.disk_work();
    let path = target.file.display().to_string();
    match store(&shared, &pulse, order.hashtype, target, download).await {
        Ok(checksum) => CopyResult::Stored { length: order.length, checksum },
        Err(UploadError::Source(error)) => CopyResult::SourceFailed(error.to_string()),
        Err(error) => {
            upload::note(&shared, &path, &error);
            CopyResult::TargetFailed(error.to_string())
        }
    }
}

async fn store(
    shared: &NodeShared,
    pulse: &Rc<Pulse>,
    hashtype: Option<HashType>,
    target: Target,
    mut download: Download,
) -> Result<Option<Checksum>, UploadError> {
    let sink = Sink::open(&target, None, hashtype)?;
    let mut pace = shared.background_pace();
    let next = async || {
        let piece = download.next().await?;
        pace.held_back(piece.as_ref().map_or(0, Bytes::len)).await;
        Ok(piece)
    };
    let sink = upload::receive(next, pulse, sink).await?;
    let (sink, checksum) = sink.digested();
    sink.place(target, pulse, shared.sync).await?;
    Ok(checksum)
}
