//! What fsck reads of many files at once, and what it changes of one (jobs.md 10.3–10.6).
//!
//! Who changes copies here holds the lock `mgfs:fid:<fid>:replicate`.

use super::connection::StoreConnection;
use super::error::StoreResult;
use super::files::FileRow;
use super::schema::{checksum, file, file_on};
use super::types::CopyCount;
use super::{checksums, file_on as locations, fsck_log, queues};
use crate::ids::{DevId, Fid};
use diesel::prelude::*;

/// A file with all that the database says of it, as one statement saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedFile {
    pub file: FileRow,
    /// The devices that have a row, in no order.
    pub devids: Vec<DevId>,
    /// Number of the algorithm and raw digest, if one is stored.
    pub checksum: Option<(i64, Vec<u8>)>,
}

impl RecordedFile {
    /// Does the recorded number of copies differ from the number of rows?
    pub fn has_wrong_devcount(&self) -> bool {
        i64::try_from(self.devids.len()) != Ok(self.file.devcount)
    }
}

/// One row per location, or a single one without.
type Row = (FileRow, Option<DevId>, Option<i64>, Option<Vec<u8>>);

/// Those of the files that exist, in the order of their numbers: one query, or none for no files (C54).
pub fn load(conn: &mut StoreConnection, fids: &[Fid]) -> StoreResult<Vec<RecordedFile>> {
    if fids.is_empty() {
        return Ok(Vec::new());
    }
    let query = file::table
        .left_join(file_on::table)
        .left_join(checksum::table.on(checksum::fid.eq(file::fid)))
        .filter(file::fid.eq_any(fids))
        .select((
            (file::fid, file::dmid, file::dkey, file::length, file::classid, file::devcount),
            file_on::devid.nullable(),
            checksum::hashtype.nullable(),
            checksum::digest.nullable(),
        ))
        .order(file::fid);
    let rows: Vec<Row> = each!(conn, c => query.load(c))?;
    let mut files: Vec<RecordedFile> = Vec::with_capacity(fids.len());
    for (file, devid, hashtype, digest) in rows {
        match files.last_mut().filter(|last| last.file.fid == file.fid) {
            Some(last) => last.devids.extend(devid),
            None => {
                files.push(RecordedFile { file, devids: devid.into_iter().collect(), checksum: hashtype.zip(digest) });
            }
        }
    }
    Ok(files)
}

/// Brings `file.devcount` up to date; true if it was wrong.
pub fn correct_devcount(conn: &mut StoreConnection, fid: Fid) -> StoreResult<bool> {
    let wrong = file::table.filter(file::fid.eq(fid)).filter(file::devcount.ne(CopyCount(fid)));
    Ok(each!(conn, c => diesel::update(wrong).set(file::devcount.eq(CopyCount(fid))).execute(c))? > 0)
}

/// What a check changes of a file, in one piece.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repair {
    /// Rows of the log, in their order: four letters, and the device if it is about one.
    pub events: Vec<(&'static str, Option<DevId>)>,
    /// A copy that was found.
    pub add: Option<DevId>,
    /// Locations that are none.
    pub drop: Vec<DevId>,
    /// Number of the algorithm and raw digest, to be stored.
    pub checksum: Option<(i64, Vec<u8>)>,
    /// Have the copies made that the policy misses, or those removed that are too many.
    pub replicate: bool,
    /// Bring `file.devcount` up to date.
    pub recount: bool,
}

impl Repair {
    /// Would [`apply`] do nothing?
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Does it change where the file is?
    pub fn changes_copies(&self) -> bool {
        self.add.is_some() || !self.drop.is_empty()
    }
}

/// Carries a repair out: the found copy comes first, then others go.
pub fn apply(conn: &mut StoreConnection, fid: Fid, repair: &Repair) -> StoreResult<()> {
    if let Some(devid) = repair.add {
        locations::add(conn, fid, devid)?;
    }
    for &devid in &repair.drop {
        locations::remove(conn, fid, devid)?;
    }
    if repair.recount {
        correct_devcount(conn, fid)?;
    }
    if let Some((hashtype, digest)) = &repair.checksum {
        checksums::set(conn, fid, *hashtype, digest)?;
    }
    if repair.replicate {
        // A second later: the reader of the queue then sees what stands here.
        queues::replicate::enqueue(conn, fid, 1)?;
    }
    fsck_log::append(conn, fid, &repair.events)
}
