//! What lower parts tell upper parts. The lower part is given a `Recipient` at birth and knows no more of its owner.

use actix::Message;

/// There is (or may be) new work in a queue of the database: look at once.
#[derive(Message, Clone, Copy, Debug, PartialEq, Eq)]
#[rtype(result = "()")]
pub struct WakeJobs;

/// Refresh what the tracker knows of the cluster, and answer when a database reading that began after this message
/// came in, and a device round after it, are complete (protocol.md 6.3).
#[derive(Message, Clone, Copy, Debug, PartialEq, Eq)]
#[rtype(result = "()")]
pub struct RefreshCluster;

/// Answer when the monitor says the next time that a round is complete which included a reading of the database. Nothing
/// is begun for it. False if the monitor goes before.
#[derive(Message, Clone, Copy, Debug, PartialEq, Eq)]
#[rtype(result = "bool")]
pub struct AwaitMonitorRound;
