//! `/healthz` and `/readyz`: for whoever starts and stops processes, or sends clients to them.

use crate::store::Store;
use crate::tracker::supervisor::{IsAlive, Supervisor};
use actix::Addr;
use serde_json::json;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;

/// Who has not answered after so long does not live.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(3);

/// What is looked at.
pub struct Health {
    pub supervisor: Addr<Supervisor>,
    pub store: Store,
    /// The pools are started and clients are accepted.
    pub serving: watch::Receiver<bool>,
}

/// Yes or no, and why, as JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub is_good: bool,
    pub json: String,
}

impl Health {
    /// Do the Supervisor and the Monitor answer? If not, only a restart helps.
    pub async fn lives(&self) -> Verdict {
        let answer = timeout(ANSWER_TIME_MAX, self.supervisor.send(IsAlive)).await;
        let lives = matches!(answer, Ok(Ok(true)));
        verdict([(lives, "the Supervisor or the Monitor does not answer")])
    }

    /// Would a client be served now?
    pub async fn is_ready(&self) -> Verdict {
        let Verdict { is_good: lives, .. } = self.lives().await;
        verdict([
            (lives, "the Supervisor or the Monitor does not answer"),
            (*self.serving.borrow(), "the first round of the monitor is not done"),
            (!self.store.is_away(), "the database is away"),
        ])
    }
}

fn verdict<const COUNT: usize>(checks: [(bool, &str); COUNT]) -> Verdict {
    let reasons: Vec<_> = checks.iter().filter(|(is_good, _)| !is_good).map(|(_, reason)| *reason).collect();
    let is_good = reasons.is_empty();
    let json = json!({ "status": if is_good { "ok" } else { "unavailable" }, "reasons": reasons });
    Verdict { is_good, json: format!("{json}\n") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_names_every_reason() {
        assert_eq!(verdict([(true, "a")]).json, "{\"reasons\":[],\"status\":\"ok\"}\n");
        let bad = verdict([(false, "a"), (true, "b"), (false, "c")]);
        assert_eq!((bad.is_good, bad.json.contains("[\"a\",\"c\"]")), (false, true));
    }
}
