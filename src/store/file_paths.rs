//! Tables `plugin_filepaths_paths` and `plugin_filepaths_domains` of the extension FilePaths: directories and the files in
//! them (database.md 1.8).
//!
//! Here a node is a file or a directory for its whole life, and a directory is never removed, so directories are read
//! without locks. (Databases of the Perl plugin may have nodes that are both: they are found, and not made worse.)

use super::connection::StoreConnection;
use super::error::{StoreError, StoreResult};
use super::holds;
use super::schema::{file, plugin_filepaths_domains as domains, plugin_filepaths_paths as paths};
use super::types::{Int, Key};
use crate::ids::{Dmid, Fid};
use bstr::{BStr, BString, ByteSlice};
use diesel::dsl::exists;
use diesel::prelude::*;

/// The root directory of every domain; it has no row.
const ROOT: Int = Int(0);

/// Longest name, in bytes; it is ASCII.
const NAME_BYTES_MAX: usize = 255;

/// The path of a file: directories from the root, and a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePath {
    directories: Vec<BString>,
    name: BString,
}

impl FilePath {
    /// `/a/b/c`; `None` for what is no such path.
    pub fn parse(text: &BStr) -> Option<Self> {
        let mut names: Vec<BString> = text.strip_prefix(b"/")?.split_str("/").map(BString::from).collect();
        if !names.iter().all(is_name) {
            return None;
        }
        let name = names.pop()?;
        Some(Self { directories: names, name })
    }
}

/// The names of a directory's path, in which several slashes are one; `None` if it does not begin with one.
pub fn parse_directory(text: &BStr) -> Option<Vec<BString>> {
    let names = text.strip_prefix(b"/")?.split_str("/").filter(|name| !name.is_empty());
    Some(names.map(BString::from).collect())
}

fn is_name(name: &BString) -> bool {
    let is_allowed = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.iter().all(is_allowed)
}

/// A row: its number, and its file unless it is a directory.
type Node = (Int, Option<Fid>);

/// The query for the node of a name in a directory.
macro_rules! child {
    ($dmid:expr, $parent:expr, $key:expr) => {
        paths::table
            .filter(paths::dmid.eq($dmid))
            .filter(paths::parentnodeid.eq($parent))
            .filter(paths::nodename.eq($key))
            .select((paths::nodeid, paths::fid))
    };
}

fn child(conn: &mut StoreConnection, dmid: Dmid, parent: Int, name: &BString) -> StoreResult<Option<Node>> {
    let key: Key = conn.key(name.as_ref())?;
    let query = child!(dmid, parent, key);
    Ok(each!(conn, c => query.get_result(c).optional())?)
}

/// The node as it is now, locked until the transaction ends.
fn locked_child(conn: &mut StoreConnection, dmid: Dmid, parent: Int, name: &BString) -> StoreResult<Option<Node>> {
    let key: Key = conn.key(name.as_ref())?;
    let nodes = load_for_update!(conn, child!(dmid, parent, key), Node)?;
    Ok(nodes.into_iter().next())
}

/// False if the name is taken.
fn insert(conn: &mut StoreConnection, dmid: Dmid, parent: Int, name: &BString, fid: Option<Fid>) -> StoreResult<bool> {
    let key: Key = conn.key(name.as_ref())?;
    let row = (paths::dmid.eq(dmid), paths::parentnodeid.eq(parent), paths::nodename.eq(key), paths::fid.eq(fid));
    Ok(insert_new!(conn, paths::table, row)? == 1)
}

/// The node at the end of these names.
fn walk(conn: &mut StoreConnection, dmid: Dmid, names: &[BString]) -> StoreResult<Option<Int>> {
    let mut nodeid = ROOT;
    for name in names {
        match child(conn, dmid, nodeid, name)? {
            Some((found, _)) => nodeid = found,
            None => return Ok(None),
        }
    }
    Ok(Some(nodeid))
}

/// The file that a path leads to.
pub fn find(conn: &mut StoreConnection, dmid: Dmid, path: &FilePath) -> StoreResult<Option<Fid>> {
    let Some(parent) = walk(conn, dmid, &path.directories)? else { return Ok(None) };
    Ok(child(conn, dmid, parent, &path.name)?.and_then(|(_, fid)| fid))
}

/// What is in a directory.
#[derive(Clone, Debug, PartialEq, Eq, Queryable)]
pub struct Entry {
    pub name: BString,
    /// `None`: a directory.
    pub fid: Option<Fid>,
    /// `None`: a directory, or a file that is no more.
    pub length: Option<i64>,
}

/// The content of a directory, by name; `None` if there is no such directory.
pub fn list(conn: &mut StoreConnection, dmid: Dmid, directory: &[BString]) -> StoreResult<Option<Vec<Entry>>> {
    // What cannot be a name names nothing, and some databases could not even be asked for it.
    if !directory.iter().all(is_name) {
        return Ok(None);
    }
    let nodeid = match directory.split_last() {
        None => ROOT,
        Some((name, above)) => {
            let Some(parent) = walk(conn, dmid, above)? else { return Ok(None) };
            match child(conn, dmid, parent, name)? {
                Some((nodeid, fid)) if fid.is_none() || has_children(conn, dmid, nodeid)? => nodeid,
                _ => return Ok(None),
            }
        }
    };
    let query = paths::table
        .left_join(file::table.on(file::fid.nullable().eq(paths::fid)))
        .filter(paths::dmid.eq(dmid))
        .filter(paths::parentnodeid.eq(nodeid))
        .select((paths::nodename, paths::fid, file::length.nullable()))
        .order(paths::nodename);
    Ok(Some(each!(conn, c => query.load(c))?))
}

fn has_children(conn: &mut StoreConnection, dmid: Dmid, nodeid: Int) -> StoreResult<bool> {
    let children = paths::table.filter(paths::dmid.eq(dmid)).filter(paths::parentnodeid.eq(nodeid));
    Ok(each!(conn, c => diesel::select(exists(children)).get_result(c))?)
}

/// Makes a path lead to a file, with the directories that are missing. Gives the file that it led to before.
///
/// # Errors
/// [`StoreError::Refused`] if there is a directory at the path, or a file in place of one of its directories;
/// [`StoreError::Deadlock`] when somebody else is making the same names: the whole is to be repeated.
pub fn point(conn: &mut StoreConnection, dmid: Dmid, path: &FilePath, fid: Fid) -> StoreResult<Option<Fid>> {
    let mut parent = ROOT;
    for name in &path.directories {
        let node = child(conn, dmid, parent, name)?;
        parent = directory(conn, dmid, parent, name, node)?;
    }
    // Most paths are new, and to lock what is not there would be in the way of others.
    if insert(conn, dmid, parent, &path.name, Some(fid))? {
        return Ok(None);
    }
    match locked_child(conn, dmid, parent, &path.name)? {
        None => Err(StoreError::Deadlock),
        Some((_, None)) => Err(StoreError::Refused(format!("{} is a directory.", path.name))),
        Some((nodeid, Some(before))) => {
            let row = paths::table.filter(paths::nodeid.eq(nodeid));
            each!(conn, c => diesel::update(row).set(paths::fid.eq(fid)).execute(c))?;
            Ok(Some(before))
        }
    }
}

/// The directory of this name, given what was found there; made if there is nothing.
fn directory(
    conn: &mut StoreConnection,
    dmid: Dmid,
    parent: Int,
    name: &BString,
    found: Option<Node>,
) -> StoreResult<Int> {
    match found {
        Some((nodeid, None)) => Ok(nodeid),
        Some((_, Some(_))) => Err(StoreError::Refused(format!("{name} is a file, not a directory."))),
        None if insert(conn, dmid, parent, name, None)? => {
            let made = child(conn, dmid, parent, name)?;
            made.map(|(nodeid, _)| nodeid).ok_or(StoreError::Deadlock)
        }
        // Somebody else has made it just now: seen by another try.
        None => Err(StoreError::Deadlock),
    }
}

/// Removes a path that leads to this file; false if it does not.
pub fn remove(conn: &mut StoreConnection, dmid: Dmid, path: &FilePath, fid: Fid) -> StoreResult<bool> {
    let Some(parent) = walk(conn, dmid, &path.directories)? else { return Ok(false) };
    let Some((nodeid, found)) = locked_child(conn, dmid, parent, &path.name)? else { return Ok(false) };
    if found != Some(fid) {
        return Ok(false);
    }
    let row = paths::table.filter(paths::nodeid.eq(nodeid));
    if has_children(conn, dmid, nodeid)? {
        each!(conn, c => diesel::update(row).set(paths::fid.eq(None::<Fid>)).execute(c))?;
    } else {
        each!(conn, c => diesel::delete(row).execute(c))?;
    }
    Ok(true)
}

/// Gives a file or a directory another path; false if there is nothing at the old one.
///
/// # Errors
/// [`StoreError::Refused`] if there is something at the new path, a file in place of one of its directories, or if it is
/// inside the directory that moves; [`StoreError::Deadlock`] as in [`point`].
pub fn rename(conn: &mut StoreConnection, dmid: Dmid, from: &FilePath, to: &FilePath) -> StoreResult<bool> {
    holds::paths(conn, dmid)?;
    let Some(old_parent) = walk(conn, dmid, &from.directories)? else { return Ok(false) };
    let Some((moved, _)) = locked_child(conn, dmid, old_parent, &from.name)? else { return Ok(false) };
    if from == to {
        return Ok(true);
    }
    let mut parent = ROOT;
    for name in &to.directories {
        // Locked, so that of two directories that move into each other one waits and then sees.
        let node = locked_child(conn, dmid, parent, name)?;
        parent = directory(conn, dmid, parent, name, node)?;
        if parent == moved {
            return Err(StoreError::Refused("A directory cannot be moved into itself.".to_owned()));
        }
    }
    if locked_child(conn, dmid, parent, &to.name)?.is_some() {
        return Err(StoreError::Refused("The new path exists; it is not overwritten.".to_owned()));
    }
    let key: Key = conn.key(to.name.as_ref())?;
    let row = paths::table.filter(paths::nodeid.eq(moved));
    let place = (paths::parentnodeid.eq(parent), paths::nodename.eq(key));
    match each!(conn, c => diesel::update(row).set(place).execute(c)).map_err(StoreError::from) {
        Ok(_) => Ok(true),
        // Taken since we looked.
        Err(StoreError::Duplicate) => Err(StoreError::Deadlock),
        Err(error) => Err(error),
    }
}

/// The domains that take part.
pub fn domains(conn: &mut StoreConnection) -> StoreResult<Vec<Dmid>> {
    Ok(each!(conn, c => domains::table.select(domains::dmid).load(c))?)
}

/// Lets a domain take part.
pub fn enable(conn: &mut StoreConnection, dmid: Dmid) -> StoreResult<()> {
    insert_new!(conn, domains::table, domains::dmid.eq(dmid))?;
    Ok(())
}

/// Lets a domain take part no longer; its paths stay.
pub fn disable(conn: &mut StoreConnection, dmid: Dmid) -> StoreResult<()> {
    each!(conn, c => diesel::delete(domains::table.filter(domains::dmid.eq(dmid))).execute(c))?;
    Ok(())
}

/// Removes everything of a domain that is deleted: its number may come again.
pub fn forget_domain(conn: &mut StoreConnection, dmid: Dmid) -> StoreResult<()> {
    disable(conn, dmid)?;
    each!(conn, c => diesel::delete(paths::table.filter(paths::dmid.eq(dmid))).execute(c))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_absolute_and_of_plain_names() {
        let path = FilePath::parse(BStr::new("/a/b-1/c_d.txt")).expect("a path");
        assert_eq!((path.directories, path.name), (vec!["a".into(), "b-1".into()], "c_d.txt".into()));
        assert!(FilePath::parse(BStr::new("/0")).is_some());
        assert!(FilePath::parse(BStr::new(&format!("/{}", "x".repeat(255)))).is_some());
        let too_long = format!("/{}", "x".repeat(256));
        for text in ["", "/", "a", "a/b", "/a/", "//a", "/a//b", "/a b", "/ä", "/a\n", "/a*", &too_long] {
            assert_eq!(FilePath::parse(BStr::new(text)), None, "{text:?}");
        }
    }

    #[test]
    fn directories_may_end_in_a_slash() {
        let names = |text: &str| parse_directory(BStr::new(text));
        assert_eq!(names("/"), Some(vec![]));
        assert_eq!(names("/a//b/"), Some(vec!["a".into(), "b".into()]));
        assert_eq!(names("a"), None);
        assert_eq!(names(""), None);
    }
}
