//! How much the database is asked, and on whose behalf: statements are counted on the connections, and who asks travels
//! with the task (on SQLite with the write that is handed to the writer). Must never look at what a statement says.

use super::error::{StoreError, StoreResult};
use crate::metrics::Counter;
use diesel::connection::{Instrumentation, InstrumentationEvent};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

/// Who asks when nobody said.
const OTHERS: &str = "others";

tokio::task_local! {
    /// On whose behalf the task asks.
    static ASKER: Arc<AskerLoad>;
}

/// What one command or job asked since the store was opened.
#[derive(Debug, Default)]
pub struct AskerLoad {
    /// Readings and changes, each of one or more statements.
    pub calls: Counter,
    /// Statements, with those that begin and end transactions.
    pub statements: Counter,
    /// Of the statements, those whose text was sent to be prepared and kept.
    pub prepared: Counter,
    /// Of the calls, those that failed for the database's sake.
    pub errors: Counter,
}

/// The counters of one store. Clones are the same.
#[derive(Clone, Debug)]
pub struct DatabaseLoad {
    by_asker: Arc<RwLock<BTreeMap<&'static str, Arc<AskerLoad>>>>,
    others: Arc<AskerLoad>,
    /// Connections made.
    pub connects: Counter,
    /// Of these, those that replaced a lost one.
    pub reconnects: Counter,
    /// Changes that were tried once more because others were in the way.
    pub deadlocks_retried: Counter,
}

impl Default for DatabaseLoad {
    fn default() -> Self {
        let others = Arc::<AskerLoad>::default();
        Self {
            by_asker: Arc::new(RwLock::new(BTreeMap::from([(OTHERS, others.clone())]))),
            others,
            connects: Counter::default(),
            reconnects: Counter::default(),
            deadlocks_retried: Counter::default(),
        }
    }
}

impl DatabaseLoad {
    /// What was asked on behalf of this name.
    pub fn of(&self, asker: &'static str) -> Arc<AskerLoad> {
        if let Some(load) = self.by_asker.read().unwrap_or_else(PoisonError::into_inner).get(asker) {
            return load.clone();
        }
        self.by_asker.write().unwrap_or_else(PoisonError::into_inner).entry(asker).or_default().clone()
    }

    /// Everybody who asked, by name.
    pub fn askers(&self) -> Vec<(&'static str, Arc<AskerLoad>)> {
        let by_asker = self.by_asker.read().unwrap_or_else(PoisonError::into_inner);
        by_asker.iter().map(|(&name, load)| (name, load.clone())).collect()
    }

    /// One call on behalf of whom the task works for.
    pub(super) fn count_call(&self) {
        self.for_asker(|load| load.calls.add(1));
    }

    /// Passes the outcome of a call on. What is wrong with the call itself, such as a name that is taken, is no error of the
    /// database.
    pub(super) fn counted<T>(&self, outcome: StoreResult<T>) -> StoreResult<T> {
        if matches!(outcome, Err(StoreError::Unavailable(_) | StoreError::Deadlock | StoreError::Other(_))) {
            self.for_asker(|load| load.errors.add(1));
        }
        outcome
    }

    fn for_asker(&self, count: impl Fn(&AskerLoad)) {
        if ASKER.try_with(|load| count(load)).is_err() {
            count(&self.others);
        }
    }

    /// To be set on a connection, which counts here from then on.
    pub(super) fn instrumentation(&self) -> impl Instrumentation + use<> {
        Counting(self.clone())
    }
}

/// On whose behalf the task asks, to be handed to a thread that does it.
pub(super) fn asker() -> Option<Arc<AskerLoad>> {
    ASKER.try_with(Arc::clone).ok()
}

/// Runs the future on behalf of this asker.
pub(super) fn on_behalf_of<F: Future>(asker: Arc<AskerLoad>, work: F) -> impl Future<Output = F::Output> {
    ASKER.scope(asker, work)
}

/// Runs the body on behalf of this asker.
pub(super) fn on_behalf_of_at_once<T>(asker: Option<Arc<AskerLoad>>, body: impl FnOnce() -> T) -> T {
    match asker {
        Some(asker) => ASKER.sync_scope(asker, body),
        None => body(),
    }
}

struct Counting(DatabaseLoad);

impl Instrumentation for Counting {
    fn on_connection_event(&mut self, event: InstrumentationEvent<'_>) {
        match event {
            InstrumentationEvent::StartQuery { .. } => self.0.for_asker(|load| load.statements.add(1)),
            InstrumentationEvent::CacheQuery { .. } => self.0.for_asker(|load| load.prepared.add(1)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_asks_travels_with_the_task() {
        let load = DatabaseLoad::default();
        let calls = |name| load.of(name).calls.get();
        load.count_call();
        let inner = async {
            load.count_call();
            tokio::task::yield_now().await;
            on_behalf_of(load.of("b"), async { load.count_call() }).await;
            load.count_call();
        };
        let beside = async {
            tokio::task::yield_now().await;
            load.count_call();
        };
        futures::join!(on_behalf_of(load.of("a"), inner), beside);
        let handed_over = on_behalf_of(load.of("c"), async { asker() }).await;
        on_behalf_of_at_once(handed_over, || load.count_call());
        on_behalf_of_at_once(None, || load.count_call());
        assert_eq!([calls("a"), calls("b"), calls("c"), calls(OTHERS)], [2, 1, 1, 3]);
        assert_eq!(load.askers().iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["a", "b", "c", OTHERS]);
    }
}
