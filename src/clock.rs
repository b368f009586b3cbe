//! Time and chance, passed in so that tests can set them by hand.
//!
//! Database time (every `nexttry`, `createtime`) is the database's own and is never taken from here.

use rand::SeedableRng;
use rand::rngs::SmallRng;
use std::time::{SystemTime, UNIX_EPOCH};

/// The source of random choices: seeded, so a test can repeat them.
pub type Chance = SmallRng;

/// A freshly seeded source of chance.
pub fn new_chance() -> Chance {
    rand::make_rng()
}

/// A source of chance that always makes the same choices.
pub fn chance_from_seed(seed: u64) -> Chance {
    SmallRng::seed_from_u64(seed)
}

/// The tracker's own Unix time, in seconds.
pub fn unix_now_secs() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since_epoch| i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX))
}
