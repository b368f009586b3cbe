//! `wait_copies` and `wait_ms` of `create_close`: the answer comes when the file has so many copies, or when the time is
//! over. The file is stored in either case.

use crate::ids::Fid;
use crate::jobs::copy_notices::CopyListener;
use crate::jobs::query::Query;
use crate::jobs::query::error::CommandResult;
use crate::protocol::response::Pairs;
use crate::store::{StoreResult, file_on};
use std::time::{Duration, Instant};

/// How long to wait if the client does not say.
const WAIT_DEFAULT_MS: i64 = 5000;
/// The answer leaves so long before the request as a whole would be given up.
const ANSWER_MARGIN: Duration = Duration::from_secs(1);
/// Copies that other trackers record are found by looking.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// What a client asked to wait for.
pub struct WaitCopies {
    wanted: usize,
    until: Instant,
}

impl WaitCopies {
    /// `None` if the request does not ask for it. To be made when the request begins.
    pub fn from_args(query: &Query<'_>) -> Option<Self> {
        query.args.truthy("wait_copies")?;
        let wanted = usize::try_from(query.args.int("wait_copies")).unwrap_or(0);
        let asked_ms = if query.args.flag("wait_ms") { query.args.int("wait_ms") } else { WAIT_DEFAULT_MS };
        let request_timeout = Duration::from_millis(query.ctx.settings.limits.request_timeout_ms);
        let wait = Duration::from_millis(u64::try_from(asked_ms).unwrap_or(0));
        let longest = request_timeout.saturating_sub(ANSWER_MARGIN);
        Some(Self { wanted, until: Instant::now() + wait.min(longest) })
    }

    /// Waits, and answers how many copies there are and what ended the wait. The file is stored: a database that cannot
    /// be read now is no failure, only an early end.
    pub async fn answer(&self, query: &Query<'_>, fid: Fid, copies: &CopyListener) -> CommandResult {
        let mut count = 1;
        let ended_by = loop {
            let next = copies.next();
            match count_copies(query, fid) {
                Ok(found) => count = found,
                Err(error) => {
                    slog::warn!(query.ctx.log, "cannot count copies that a client waits for";
                        "fid" => fid, "error" => %error);
                    break "failure";
                }
            }
            if count >= self.wanted {
                break "copies";
            }
            let left = self.until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break "time";
            }
            // Ended by a notice or by the clock: looked at anew either way.
            let _noticed = tokio::time::timeout(left.min(LOOK_INTERVAL), next).await;
        };
        let mut pairs = Pairs::new();
        pairs.push_display("copies", count);
        pairs.push("wait_ended_by", ended_by);
        Ok(pairs)
    }
}

fn count_copies(query: &Query<'_>, fid: Fid) -> StoreResult<usize> {
    Ok(query.ctx.session.read(|conn| file_on::devids(conn, fid))?.len())
}
