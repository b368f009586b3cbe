//! `MetaData`: names and values that a client stores along with a file (`plugin.meta.…` of `create_close`).

use super::{CloseStep, DeleteStep, Extension};
use crate::jobs::query::Query;
use crate::protocol::args::{Args, num};
use crate::store::{ExtensionTables, StoreError, metadata};
use bstr::BString;

/// The extension.
pub struct MetaData;

impl Extension for MetaData {
    fn tables(&self) -> &'static [ExtensionTables] {
        &[ExtensionTables::MetaData]
    }

    fn with_close(&self, query: &Query<'_>) -> Option<CloseStep> {
        let pairs = pairs(query.args.all());
        if pairs.is_empty() {
            return None;
        }
        Some(Box::new(move |conn, close, _replaced| match metadata::store(conn, close.fid, &pairs) {
            Ok(()) => Ok(Vec::new()),
            Err(StoreError::InvalidValue(why)) => Err(StoreError::Refused(format!("Metadata: {why}"))),
            Err(error) => Err(error),
        }))
    }

    fn with_delete(&self, _query: &Query<'_>) -> Option<DeleteStep> {
        Some(Box::new(|conn, fid| metadata::delete(conn, fid).map(drop)))
    }
}

/// `plugin.meta.keys` says how many; a number without a name is left out.
fn pairs(args: &Args) -> Vec<(BString, BString)> {
    let Some(count) = args.truthy("plugin.meta.keys") else { return Vec::new() };
    // There are no more of them than arguments, whatever the client says.
    let count = (num(count) as usize).min(args.pairs().len());
    let pair = |n: usize| {
        let name = args.nonempty(&format!("plugin.meta.key{n}"))?;
        let value = args.get(&format!("plugin.meta.value{n}")).unwrap_or_default();
        Some((name.to_owned(), value.to_owned()))
    };
    (0..count).filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_pairs_as_the_client_says() {
        let read = |text: &str| pairs(&Args::decode(text.as_bytes()));
        let two = "plugin.meta.key0=a&plugin.meta.value0=1&plugin.meta.key1=b";
        assert_eq!(read(two), []);
        assert_eq!(read(&format!("{two}&plugin.meta.keys=1")), [("a".into(), "1".into())]);
        let both = [("a".into(), "1".into()), ("b".into(), "".into())];
        assert_eq!(read(&format!("{two}&plugin.meta.keys=2")), both);
        assert_eq!(read(&format!("{two}&plugin.meta.keys=99999999999999")), both);
        assert_eq!(read(&format!("{two}&plugin.meta.keys=-1")), []);
    }
}
