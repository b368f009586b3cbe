//! A domain: a namespace of keys, with its classes.

use super::checksum::HashType;
use crate::ids::{ClassId, Dmid};
use bstr::{BStr, BString};

/// One row of `domain` with its rows of `class`.
#[derive(Clone, Debug)]
pub struct Domain {
    pub dmid: Dmid,
    pub name: BString,
    /// By class id; the class `default` (id 0) is always there, stored or not.
    pub classes: Vec<Class>,
}

impl Domain {
    pub fn class(&self, classid: ClassId) -> Option<&Class> {
        self.classes.iter().find(|class| class.classid == classid)
    }

    pub fn class_by_name(&self, name: &BStr) -> Option<&Class> {
        self.classes.iter().find(|class| class.name == name)
    }
}

/// How the files of a kind are kept.
#[derive(Clone, Debug)]
pub struct Class {
    pub classid: ClassId,
    pub name: BString,
    /// Copies wanted.
    pub mindevcount: i64,
    /// As stored; `None` or empty means `MultipleHosts()`.
    pub replpolicy: Option<String>,
    pub hashtype: Option<HashType>,
}

impl Class {
    /// The class `default` of a domain that has not stored one.
    pub fn implied_default(mindevcount: i64) -> Self {
        Self {
            classid: ClassId::DEFAULT,
            name: BString::from("default"),
            mindevcount,
            replpolicy: None,
            hashtype: None,
        }
    }

    /// The policy text in force.
    pub fn policy_text(&self) -> &str {
        self.replpolicy.as_deref().filter(|text| !text.is_empty()).unwrap_or("MultipleHosts()")
    }
}
