//! The changes that clients wait for, in as few round trips as the server allows.
//!
//! What is usual is tried as one statement, which needs no transaction around it. Whatever it does not decide (an unusual
//! state, a conflict, a connection lost on the way) goes to the transaction that knows all cases, which is also what
//! SQLite uses. So a single statement may only do what the transaction would do, all of it or nothing.

use super::connection::{Backend, StoreConnection};
use super::error::{StoreError, StoreResult};
use super::files::{self, CloseOutcome, CloseUpload, RenameOutcome};
use super::session::{AtOnce, Session};
use super::tempfiles::{self, NewTempfile};
use crate::ids::{Dmid, Fid};
use bstr::BString;

/// What came of the single statement.
enum Tried<T> {
    Decided(StoreResult<T>),
    /// Nothing was changed; the transaction is to decide.
    Undecided,
    /// The connection was lost, and with it whether the change was made.
    Unknown(StoreError),
}

impl Session {
    /// Opens an upload and gives its fid, as [`tempfiles::register`] does.
    ///
    /// # Errors
    /// As there.
    pub async fn register_upload(&self, new: NewTempfile) -> StoreResult<Fid> {
        let is_usual = new.fid.is_none();
        // An upload that was opened in vain, should the answer be lost, is reaped like any that nobody closes.
        match self.try_at_once(is_usual, |conn| tempfiles::register_at_once(conn, &new).map(Some)) {
            Tried::Decided(Ok((fid, false))) => Ok(fid),
            Tried::Decided(Ok((taken, true))) => {
                self.write(move |conn| tempfiles::register_above(conn, taken, &new)).await
            }
            Tried::Decided(Err(error)) => Err(error),
            Tried::Undecided | Tried::Unknown(_) => self.write(move |conn| tempfiles::register(conn, &new)).await,
        }
    }

    /// Turns an open upload into the file of its key, as [`files::close_upload`] does.
    ///
    /// # Errors
    /// As there.
    pub async fn close_upload(&self, close: CloseUpload) -> StoreResult<CloseOutcome> {
        let is_usual = self.backend() == Backend::Postgres;
        match self.try_at_once(is_usual, |conn| files::close_upload_at_once(conn, &close)) {
            Tried::Decided(outcome) => outcome,
            Tried::Undecided => self.write(move |conn| files::close_upload(conn, &close)).await,
            Tried::Unknown(_) => self.write(move |conn| files::close_upload_again(conn, &close)).await,
        }
    }

    /// Deletes the file of a key, as [`files::delete_by_key`] does.
    ///
    /// # Errors
    /// As there.
    pub async fn delete_by_key(&self, dmid: Dmid, dkey: BString) -> StoreResult<Option<Fid>> {
        let is_usual = self.backend() == Backend::Postgres;
        let tried = self.try_at_once(is_usual, |conn| files::delete_at_once(conn, dmid, dkey.as_ref()));
        let unknown = match tried {
            Tried::Decided(deleted) => return deleted.map(Some),
            Tried::Undecided => None,
            Tried::Unknown(error) => Some(error),
        };
        let deleted = self.write(move |conn| files::delete_by_key(conn, dmid, dkey.as_ref())).await?;
        // Nothing there: perhaps it was the lost statement that deleted it.
        unknown.filter(|_| deleted.is_none()).map_or(Ok(deleted), Err)
    }

    /// Gives a file another key, as [`files::rename`] does.
    ///
    /// # Errors
    /// As there.
    pub async fn rename(&self, dmid: Dmid, from: BString, to: BString) -> StoreResult<RenameOutcome> {
        let is_usual = self.backend() == Backend::Postgres;
        let tried = self.try_at_once(is_usual, |conn| files::rename_at_once(conn, dmid, from.as_ref(), to.as_ref()));
        let unknown = match tried {
            Tried::Decided(outcome) => return outcome,
            Tried::Undecided => None,
            Tried::Unknown(error) => Some(error),
        };
        let renamed = self.write(move |conn| files::rename(conn, dmid, from.as_ref(), to.as_ref())).await?;
        unknown.filter(|_| renamed == RenameOutcome::UnknownKey).map_or(Ok(renamed), Err)
    }

    /// Tries a change without a transaction, if it is usual; `None` of the body means that nothing was changed.
    fn try_at_once<T>(
        &self,
        is_usual: bool,
        body: impl FnOnce(&mut StoreConnection) -> StoreResult<Option<T>>,
    ) -> Tried<T> {
        if !is_usual || self.backend() == Backend::Sqlite {
            return Tried::Undecided;
        }
        match self.write_at_once(body) {
            AtOnce::Done(Ok(Some(done))) => Tried::Decided(Ok(done)),
            // Others were in the way: the transaction waits for them, and is repeated.
            AtOnce::Done(Ok(None) | Err(StoreError::Duplicate | StoreError::Deadlock)) => Tried::Undecided,
            AtOnce::Done(Err(error)) => Tried::Decided(Err(error)),
            AtOnce::Unknown(error) => Tried::Unknown(error),
        }
    }
}
