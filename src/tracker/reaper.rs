//! What a worker of the kind reaper does: rounds by its own clock, not rows of a queue.

use super::job_worker::{Hands, Work};
use crate::jobs::reaper::Reaper;
use futures::FutureExt as _;
use futures::future::LocalBoxFuture;

/// Removal of the locations on dead devices.
pub(super) struct ReaperWork;

impl Work for ReaperWork {
    fn rounds(hands: Hands) -> LocalBoxFuture<'static, ()> {
        reap(hands).boxed_local()
    }
}

async fn reap(Hands { context, mut retire, .. }: Hands) {
    let mut reaper = Reaper::new(&context);
    while !*retire.borrow() {
        // Reapers work without a job master too.
        context.pace.look_whether_quiet();
        let pause = context.session.on_behalf_of("job_reaper", reaper.round(&context)).await;
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = retire.wait_for(|&retire| retire) => {}
        }
    }
}
