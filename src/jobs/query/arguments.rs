//! The arguments of a request as a command's handler sees them.

use super::spec::CommandSpec;
use crate::protocol::args::Args;
use bstr::{BStr, BString};

/// [`Args`], of which a handler reads only what its [`CommandSpec`] declares (checked in debug builds).
#[derive(Clone, Copy, Debug)]
pub struct Arguments<'a> {
    args: &'a Args,
    spec: Option<&'static CommandSpec>,
}

impl<'a> Arguments<'a> {
    pub fn new(args: &'a Args, spec: Option<&'static CommandSpec>) -> Self {
        Self { args, spec }
    }

    /// The decoded arguments themselves, for what is about all of them.
    pub fn all(&self) -> &'a Args {
        self.args
    }

    /// All pairs, in order.
    pub fn pairs(&self) -> &'a [(BString, BString)] {
        self.args.pairs()
    }

    /// [`Args::get`].
    pub fn get(&self, name: &str) -> Option<&'a BStr> {
        self.check(name);
        self.args.get(name)
    }

    /// [`Args::nonempty`].
    pub fn nonempty(&self, name: &str) -> Option<&'a BStr> {
        self.check(name);
        self.args.nonempty(name)
    }

    /// [`Args::truthy`].
    pub fn truthy(&self, name: &str) -> Option<&'a BStr> {
        self.check(name);
        self.args.truthy(name)
    }

    /// [`Args::flag`].
    pub fn flag(&self, name: &str) -> bool {
        self.check(name);
        self.args.flag(name)
    }

    /// [`Args::num`].
    pub fn num(&self, name: &str) -> f64 {
        self.check(name);
        self.args.num(name)
    }

    /// [`Args::int`].
    pub fn int(&self, name: &str) -> i64 {
        self.check(name);
        self.args.int(name)
    }

    fn check(&self, name: &str) {
        debug_assert!(
            self.spec.is_none_or(|spec| spec.declares_argument(name)),
            "{} reads the argument {name:?}, which its specification does not have",
            self.spec.map_or("", |spec| spec.name)
        );
    }
}
