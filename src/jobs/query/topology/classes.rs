//! `create_class`, `update_class`, `delete_class`.

use super::domains::find_in_database;
use crate::cluster::checksum::HashType;
use crate::jobs::query::Query;
use crate::jobs::query::error::{CommandError, CommandResult};
use crate::policy;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::response::Pairs;
use crate::store::classes::{self, ClassFields};
use crate::store::{DeleteOutcome, StoreError};
use bstr::{BString, ByteSlice};

/// `update` is also an argument: `create_class update=1` behaves as `update_class`.
pub async fn create_or_update(query: &Query<'_>, update: bool) -> CommandResult {
    let update = update || query.args.flag("update");
    let domain: BString = query.args.nonempty("domain").ok_or(ErrorCode::NoDomain)?.to_owned();
    let class: BString = query.args.nonempty("class").ok_or(ErrorCode::NoClass)?.to_owned();
    let fields = fields(query)?;
    let dmid = find_in_database(query, &domain).await?;
    let mindevcount = fields.mindevcount;
    let written = {
        let class = class.clone();
        query
            .ctx
            .session
            .write(move |conn| match (update, classes::find(conn, dmid, class.as_ref())?) {
                (true, Some(classid)) => classes::update(conn, dmid, classid, &fields),
                // A class `default` that is not stored yet is made by an update.
                (true, None) if class != "default" => Ok(false),
                (true, None) | (false, _) => classes::create(conn, dmid, class.as_ref(), &fields).map(|_classid| true),
            })
            .await
    };
    match written {
        Ok(true) => {}
        Ok(false) => return Err(ErrorCode::ClassNotFound.into()),
        Err(StoreError::Duplicate) => return Err(ErrorCode::ClassExists.into()),
        Err(error) => return Err(error.into()),
    }
    query.refresh().await;
    let mut pairs = named(&domain, &class);
    pairs.push_display("mindevcount", mindevcount);
    Ok(pairs)
}

pub async fn delete(query: &Query<'_>) -> CommandResult {
    let domain: BString = query.args.nonempty("domain").ok_or(ErrorCode::NoDomain)?.to_owned();
    let class: BString = query.args.get("class").unwrap_or_default().to_owned();
    if class == "default" {
        return Err(ErrorCode::NodelDefaultClass.into());
    }
    let dmid = find_in_database(query, &domain).await?;
    let outcome = {
        let class = class.clone();
        query
            .ctx
            .session
            .write(move |conn| match classes::find(conn, dmid, class.as_ref())? {
                Some(classid) => classes::delete(conn, dmid, classid),
                None => Ok(DeleteOutcome::Missing),
            })
            .await?
    };
    match outcome {
        DeleteOutcome::Missing => return Err(ErrorCode::ClassNotFound.into()),
        DeleteOutcome::HasFiles => return Err(ErrorCode::ClassHasFiles.into()),
        DeleteOutcome::Deleted | DeleteOutcome::HasClasses | DeleteOutcome::NotEmpty => {}
    }
    query.refresh().await;
    Ok(named(&domain, &class))
}

/// Checks mindevcount, policy and hash type, in this order. A fraction is no number of copies (defect 12).
fn fields(query: &Query<'_>) -> Result<ClassFields, CommandError> {
    let mindevcount = query.args.int("mindevcount");
    if !(1..=255).contains(&mindevcount) {
        return Err(ErrorCode::InvalidMindevcount.into());
    }
    let replpolicy = query.args.truthy("replpolicy").map(|text| text.to_str_lossy().into_owned());
    if let Some(text) = &replpolicy {
        policy::parse(text)
            .map_err(|error| CommandError::with_text(ErrorCode::InvalidReplpolicy, error.to_string()))?;
    }
    let hashtype = match query.args.truthy("hashtype") {
        None => None,
        Some(name) if name == "NONE" => Some(None),
        Some(name) => Some(Some(HashType::from_name(name).ok_or(ErrorCode::InvalidHashtype)?.number())),
    };
    Ok(ClassFields { mindevcount, replpolicy, hashtype })
}

fn named(domain: &BString, class: &BString) -> Pairs {
    let mut pairs = Pairs::new();
    pairs.push("domain", domain);
    pairs.push("class", class);
    pairs
}
