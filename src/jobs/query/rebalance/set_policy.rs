//! `rebalance_set_policy`: what the next rebalance moves from where to where.

use crate::jobs::query::Query;
use crate::jobs::query::error::{CommandError, CommandResult};
use crate::jobs::query::spec::{CommandSpec, Group, Origin, text};
use crate::jobs::rebalance::policy::RebalancePolicy;
use crate::jobs::rebalance::{InvalidSetting, field, give_back_abandoned};
use crate::protocol::error_code::ErrorCode;
use crate::protocol::response::Pairs;
use crate::store::{StoreConnection, StoreResult, server_settings};
use bstr::ByteSlice;

pub const SPEC: CommandSpec = CommandSpec {
    name: "rebalance_set_policy",
    group: Group::Rebalance,
    summary: "What the next rebalance moves from where to where; forgets the state of the last one.",
    arguments: &[text("policy", "`name=value` words, one blank between them; none for no policy.")],
    reply: &[],
    errors: &[ErrorCode::NoSetRebal, ErrorCode::BadRebalPol],
    notes: "\
Only the names are checked here. On the wire, `=` within the policy is written `%3D` and the blank `+`.

| name | default | meaning |
| --- | --- | --- |
| `from_devices`, `from_hosts` | any | ids, commas between them: where copies are moved from |
| `from_percent_used`, `from_percent_free`, `from_space_used`, `from_space_free` | | a source has more than this, in percent or MB |
| `to_devices`, `to_hosts` | any | ids: where copies are moved to |
| `not_to_devices`, `not_to_hosts` | none | ids: where they are not |
| `to_percent_used`, `to_percent_free`, `to_space_used`, `to_space_free` | | a destination has more than this, in percent or MB |
| `fid_age` | `old` | `old` or `new`: which files are moved first |
| `limit_by` | `none` | `none`, `count`, `size` or `percent` |
| `limit_type` | `device` | `device`: the limit is for each source; `global`: for the whole run |
| `limit` | | number of files; size as in `5000`, `10g`; or percent (1 to 100) of the bytes that the source uses when it is \
begun, for `global` of those that all sources use at the start |
| `use_dest_devs` | `all` | number of destinations offered for each file, chosen by lot |
| `leave_in_drain_mode` | 0 | 1: a source that is done stays in state `drain` |
| `from_all_devs`, `to_all_devs` | 1 | accepted, without effect |",
    origin: Origin::Reference,
    is_intercepted: false,
};

enum Outcome {
    Stored { is_status_changed: bool },
    Runs,
    Invalid(InvalidSetting),
}

pub async fn handle(query: &Query<'_>) -> CommandResult {
    let policy = query.args.get("policy").map(|policy| policy.to_str_lossy().into_owned());
    match query.ctx.session.write(move |conn| set(conn, policy.as_deref())).await? {
        Outcome::Stored { is_status_changed } => {
            if is_status_changed {
                query.refresh().await;
            }
            Ok(Pairs::new())
        }
        Outcome::Runs => {
            let text = "cannot change rebalance policy while rebalance is running";
            Err(CommandError::with_text(ErrorCode::NoSetRebal, text))
        }
        Outcome::Invalid(invalid) => Err(CommandError::with_text(ErrorCode::BadRebalPol, invalid.to_string())),
    }
}

fn set(conn: &mut StoreConnection, policy: Option<&str>) -> StoreResult<Outcome> {
    server_settings::hold(conn)?;
    if server_settings::get_true(conn, field::HOST)?.is_some() {
        return Ok(Outcome::Runs);
    }
    if let Err(invalid) = policy.unwrap_or_default().parse::<RebalancePolicy>() {
        return Ok(Outcome::Invalid(invalid));
    }
    let is_status_changed = give_back_abandoned(conn)?;
    server_settings::set_all(conn, &[(field::POLICY, policy), (field::STATE, None), (field::PROBLEM, None)])?;
    Ok(Outcome::Stored { is_status_changed })
}
