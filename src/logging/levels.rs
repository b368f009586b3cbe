//! Which records are written: a level for all, and levels of modules. Can be changed while records come.

use arc_swap::ArcSwap;
use slog::Level;
use std::str::FromStr as _;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What the crate's modules begin with in the system's words; not in ours.
const CRATE: &str = concat!(env!("CARGO_PKG_NAME"), "::");

/// A level for all and those of modules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LevelTable {
    all: Level,
    /// Longest name first, so that the first that fits is the one that fits best.
    modules: Vec<(String, Level)>,
}

impl LevelTable {
    /// From `level`, and `levels` as in `jobs::replicate=debug, store=warning`.
    ///
    /// # Errors
    /// What is wrong, with the setting's name.
    pub fn read(level: &str, levels: &str) -> Result<Self, String> {
        let all = level_of(level).map_err(|why| format!("log.level: {why}"))?;
        let mut table = Self { all, modules: Vec::new() };
        for pair in levels.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let (module, level) =
                pair.split_once('=').ok_or_else(|| format!("log.levels: not MODULE=LEVEL: {pair:?}"))?;
            table.set(Some(module.trim()), level_of(level.trim()).map_err(|why| format!("log.levels: {why}"))?);
        }
        Ok(table)
    }

    /// Of one module, or of all that have none of their own.
    pub fn set(&mut self, module: Option<&str>, level: Level) {
        let Some(module) = module else {
            self.all = level;
            return;
        };
        let name = module.replace('.', "::");
        let name = name.strip_prefix(CRATE).unwrap_or(&name).to_owned();
        self.modules.retain(|(known, _)| *known != name);
        self.modules.push((name, level));
        self.modules.sort_by(|(one, _), (other, _)| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
    }

    fn most_talkative(&self) -> Level {
        let levels = self.modules.iter().map(|(_, level)| *level);
        levels.chain([self.all]).max_by_key(|level| level.as_usize()).unwrap_or(self.all)
    }

    fn of(&self, module: &str) -> Level {
        let module = module.strip_prefix(CRATE).unwrap_or(module);
        let fits = |name: &str| module.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
        self.modules.iter().find(|(name, _)| fits(name)).map_or(self.all, |(_, level)| *level)
    }
}

impl std::fmt::Display for LevelTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(name_of(self.all))?;
        self.modules.iter().try_for_each(|(module, level)| write!(f, ", {module}={}", name_of(*level)))
    }
}

/// A level by its name.
///
/// # Errors
/// There is none of this name.
pub fn level_of(name: &str) -> Result<Level, String> {
    Level::from_str(name)
        .map_err(|()| format!("unknown level {name:?}: critical, error, warning, info, debug or trace"))
}

/// The name as the settings have it.
pub fn name_of(level: Level) -> &'static str {
    match level {
        Level::Critical => "critical",
        Level::Error => "error",
        Level::Warning => "warning",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    }
}

/// The table in use. Asking costs one load where no module is talkative.
#[derive(Debug)]
pub(super) struct Levels {
    most_talkative: AtomicUsize,
    table: ArcSwap<LevelTable>,
}

impl Levels {
    pub(super) fn new(table: LevelTable) -> Self {
        Self {
            most_talkative: AtomicUsize::new(table.most_talkative().as_usize()),
            table: ArcSwap::from_pointee(table),
        }
    }

    pub(super) fn replace(&self, table: LevelTable) {
        let most_talkative = table.most_talkative().as_usize();
        self.table.store(table.into());
        self.most_talkative.store(most_talkative, Ordering::Relaxed);
    }

    pub(super) fn table(&self) -> LevelTable {
        LevelTable::clone(&self.table.load())
    }

    /// Might a record of this level be written?
    pub(super) fn may_pass(&self, level: Level) -> bool {
        level.as_usize() <= self.most_talkative.load(Ordering::Relaxed)
    }

    pub(super) fn passes(&self, level: Level, module: &str) -> bool {
        self.may_pass(level) && level.is_at_least(self.table.load().of(module))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_name_that_fits_says_the_level() {
        let table =
            LevelTable::read("warning", "jobs=info, jobs::replicate=debug,mogilefs::store=trace").expect("right");
        let levels = Levels::new(table);
        let passes = |level, module: &str| levels.passes(level, &format!("mogilefs::{module}"));
        assert!(passes(Level::Debug, "jobs::replicate::run") && passes(Level::Debug, "jobs::replicate"));
        assert!(passes(Level::Info, "jobs::fsck") && !passes(Level::Debug, "jobs::fsck"));
        assert!(!passes(Level::Info, "jobs_of_others") && passes(Level::Warning, "jobs_of_others"));
        assert!(passes(Level::Trace, "store") && !passes(Level::Info, "tracker"));
        assert!(levels.may_pass(Level::Trace));
        assert_eq!(levels.table().to_string(), "warning, jobs::replicate=debug, store=trace, jobs=info");
        let mut table = levels.table();
        table.set(None, Level::Error);
        table.set(Some("jobs.replicate"), Level::Error);
        table.set(Some("store"), Level::Error);
        levels.replace(table);
        assert!(!levels.may_pass(Level::Debug) && passes(Level::Info, "jobs"));
    }

    #[test]
    fn mistakes_are_named() {
        assert!(LevelTable::read("loud", "").expect_err("wrong").starts_with("log.level: unknown level \"loud\""));
        assert!(LevelTable::read("info", "a=loud").expect_err("wrong").starts_with("log.levels: unknown level"));
        assert!(LevelTable::read("info", "loud").expect_err("wrong").contains("not MODULE=LEVEL"));
    }
}
