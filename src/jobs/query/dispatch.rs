//! From a request line to its reply line: parse, find the handler, carry it out within its time, encode.

use super::error::{CommandError, CommandResult};
use super::spec::CommandSpec;
use super::{Glance, Query, files, fsck, rebalance, service, topology};
use crate::cluster::{ClusterSnapshot, ClusterView};
use crate::jobs::context::JobContext;
use crate::logging::watch::SAYS_ALL;
use crate::protocol::args::Args;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::request::Request;
use crate::protocol::response::{Response, write_reply};
use crate::store::StoreError;
use std::net::IpAddr;
use std::time::Duration;

/// Carries out one request line and appends its reply line. Exactly one reply is appended, whatever happens.
pub async fn answer(ctx: &JobContext, line: &[u8], peer: IpAddr, reply: &mut Vec<u8>) {
    let request = Request::parse(line);
    let limit = Duration::from_millis(ctx.settings.limits.request_timeout_ms);
    let work = ctx.session.on_behalf_of(asker(ctx, &request.command), carry_out(ctx, &request, peer));
    let result = match tokio::time::timeout(limit, work).await {
        Ok(result) => result,
        Err(_elapsed) => Err(StoreError::Other(format!("not done within {} ms", limit.as_millis())).into()),
    };
    let response = result.map_err(|error| {
        let cause = match &error {
            CommandError::Store(cause) => cause.to_string(),
            CommandError::Refused(reply) => reply.text.clone().unwrap_or_else(|| "it failed".to_owned()),
        };
        // That the database is away was said once, by whoever saw it first.
        let is_unavailable = matches!(&error, CommandError::Store(StoreError::Unavailable(_)));
        let is_known = is_unavailable && ctx.session.is_away();
        let reply = error.into_reply();
        if (reply.code == ErrorCode::Failure || is_unavailable) && !is_known {
            slog::error!(ctx.log, #SAYS_ALL, "Error running command '{}': {cause}", request.command;
                "command" => &request.command);
        }
        reply
    });
    if cfg!(debug_assertions)
        && let Some(spec) = find(ctx, &request.command)
    {
        hold_against_spec(spec, &response);
    }
    write_reply(&response, request.callid(), reply);
}

/// A command that needs no worker: what it answers is known.
type AtOnce = (&'static CommandSpec, fn(&Glance<'_>) -> CommandResult);

const AT_ONCE: [AtOnce; 4] = [
    (&service::diagnostics::NOOP, service::diagnostics::noop),
    (&topology::domains::GET_DOMAINS, topology::domains::get),
    (&topology::hosts::GET_HOSTS, topology::hosts::get),
    (&topology::devices::GET_DEVICES, topology::devices::get),
];

/// Replies about larger clusters take their time, and that is not taken from all connections.
const AT_ONCE_ITEMS_MAX: usize = 50;
/// Nor are long lines parsed at once.
const AT_ONCE_BYTES_MAX: usize = 4096;

/// Answers a request line if that needs neither a database nor a node and takes no time; false if it does, and nothing
/// is done then.
pub fn answer_at_once(view: &ClusterView, line: &[u8], peer: IpAddr, reply: &mut Vec<u8>) -> bool {
    if line.len() > AT_ONCE_BYTES_MAX {
        return false;
    }
    let name = Request::name_of(line);
    let is_named = |spec: &CommandSpec| name.eq_ignore_ascii_case(spec.name.as_bytes());
    let Some((spec, handle)) = AT_ONCE.iter().find(|(spec, _)| is_named(spec)) else { return false };
    let request = Request::parse(line);
    let glance = Glance::new(view, Some(spec), &request.args, peer);
    if !spec.reply.is_empty() && items(&glance.cluster) > AT_ONCE_ITEMS_MAX {
        return false;
    }
    let response = handle(&glance).map_err(CommandError::into_reply);
    if cfg!(debug_assertions) {
        hold_against_spec(spec, &response);
    }
    write_reply(&response, request.callid(), reply);
    true
}

fn items(cluster: &ClusterSnapshot) -> usize {
    let classes: usize = cluster.domains.values().map(|domain| domain.classes.len()).sum();
    classes + cluster.hosts.len() + cluster.devices.len()
}

async fn carry_out(ctx: &JobContext, request: &Request, peer: IpAddr) -> CommandResult {
    if ctx.extensions.is_empty() {
        return run(ctx, &request.command, &request.args, peer).await;
    }
    let args = match find(ctx, &request.command).filter(|spec| spec.is_intercepted) {
        None => None,
        Some(spec) => ctx.extensions.intercept(ctx, spec, &request.args, peer)?,
    };
    run(ctx, &request.command, args.as_ref().unwrap_or(&request.args), peer).await
}

/// The command of this name, of the tracker or of an extension.
fn find(ctx: &JobContext, name: &str) -> Option<&'static CommandSpec> {
    COMMANDS.iter().copied().chain(ctx.extensions.commands()).find(|spec| spec.name == name)
}

/// The manual's promise; see [`super::spec`].
fn hold_against_spec(spec: &CommandSpec, response: &Response) {
    let command = spec.name;
    match response {
        Ok(pairs) => {
            let undeclared = pairs.names().into_iter().find(|name| !spec.declares_pair(name));
            assert_eq!(undeclared, None, "{command} answers a pair that its specification does not have");
        }
        Err(reply) => {
            assert!(spec.declares_error(reply.code), "{command} answers {}, which its specification lacks", reply.code);
        }
    }
}

/// Declares the commands: name, specification, handler.
macro_rules! commands {
    (|$query:ident| $($name:literal, $spec:path => $handler:expr;)*) => {
        /// Every command of this tracker, without those of extensions.
        pub static COMMANDS: &[&CommandSpec] = &[$(&$spec,)*];

        $(const _: () = assert!(is_same($name, $spec.name), "the name of a command is not that of its specification");)*

        async fn run(ctx: &JobContext, command: &str, args: &Args, peer: IpAddr) -> CommandResult {
            match command {
                $($name => {
                    let $query = &Query::new(ctx, Some(&$spec), args, peer);
                    $handler
                })*
                _ => ctx.extensions.run(ctx, command, args, peer).await,
            }
        }

        /// The name under which the command's questions to the database are counted.
        fn asker(ctx: &JobContext, command: &str) -> &'static str {
            match command {
                $($name => $name,)*
                _ => ctx.extensions.commands().find(|spec| spec.name == command).map_or("others", |spec| spec.name),
            }
        }
    };
}

const fn is_same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut place = 0;
    while place < a.len() && place < b.len() && a[place] == b[place] {
        place += 1;
    }
    place == a.len() && place == b.len()
}

commands! { |query|
    "create_open", files::create_open::SPEC => files::create_open::handle(query).await;
    "create_close", files::create_close::SPEC => files::create_close::handle(query).await;
    "get_paths", files::get_paths::SPEC => files::get_paths::handle(query).await;
    "file_info", files::file_info::SPEC => files::file_info::handle(query);
    "file_debug", files::file_debug::SPEC => files::file_debug::handle(query);
    "delete", files::delete::SPEC => files::delete::handle(query).await;
    "explain", files::explain::SPEC => files::explain::handle(query);
    "undelete", files::undelete::SPEC => files::undelete::handle(query).await;
    "list_deleted", files::list_deleted::SPEC => files::list_deleted::handle(query);
    "rename", files::rename::SPEC => files::rename::handle(query).await;
    "bad_path", files::bad_path::SPEC => files::bad_path::handle(query).await;
    "list_keys", files::list_keys::SPEC => files::list_keys::handle(query);
    "list_fids", files::list_fids::SPEC => files::list_fids::handle(query);
    "updateclass", files::updateclass::SPEC => files::updateclass::handle(query).await;
    "edit_file", files::edit_file::SPEC => files::edit_file::handle(query).await;

    "create_domain", topology::domains::CREATE_DOMAIN => topology::domains::create(query).await;
    "delete_domain", topology::domains::DELETE_DOMAIN => topology::domains::delete(query).await;
    "get_domains", topology::domains::GET_DOMAINS => topology::domains::get(query);
    "create_class", topology::classes::CREATE_CLASS => topology::classes::create_or_update(query, false).await;
    "update_class", topology::classes::UPDATE_CLASS => topology::classes::create_or_update(query, true).await;
    "delete_class", topology::classes::DELETE_CLASS => topology::classes::delete(query).await;
    "create_host", topology::hosts::CREATE_HOST => topology::hosts::create_or_update(query, false).await;
    "update_host", topology::hosts::UPDATE_HOST => topology::hosts::create_or_update(query, true).await;
    "delete_host", topology::hosts::DELETE_HOST => topology::hosts::delete(query).await;
    "get_hosts", topology::hosts::GET_HOSTS => topology::hosts::get(query);
    "create_device", topology::devices::CREATE_DEVICE => topology::devices::create(query).await;
    "set_state", topology::devices::SET_STATE => topology::devices::set_state(query).await;
    "set_weight", topology::devices::SET_WEIGHT => topology::devices::set_weight(query).await;
    "get_devices", topology::devices::GET_DEVICES => topology::devices::get(query);

    "accept_device", topology::accept_device::SPEC => topology::accept_device::handle(query).await;

    "server_setting", service::settings::SERVER_SETTING => service::settings::get(query);
    "server_settings", service::settings::SERVER_SETTINGS => service::settings::list(query);
    "set_server_setting", service::settings::SET_SERVER_SETTING => service::settings::set(query).await;
    "clear_cache", service::diagnostics::CLEAR_CACHE => service::diagnostics::clear_cache(query).await;
    "noop", service::diagnostics::NOOP => service::diagnostics::noop(query);
    "test", service::diagnostics::TEST => service::diagnostics::test(query);
    "sleep", service::diagnostics::SLEEP => service::diagnostics::sleep(query).await;
    "replicate_now", service::replicate_now::SPEC => service::replicate_now::handle(query).await;
    "jobs_status", service::jobs_status::SPEC => service::jobs_status::handle(query);
    "do_monitor_round", service::do_monitor_round::SPEC => service::do_monitor_round::handle(query).await;
    "httpcopy", service::httpcopy::SPEC => service::httpcopy::handle(query).await;
    "at_risk", service::at_risk::SPEC => service::at_risk::handle(query);
    "check_cluster", service::check_cluster::SPEC => service::check_cluster::handle(query);

    "fsck_start", fsck::start::SPEC => fsck::start::handle(query).await;
    "fsck_stop", fsck::stop::SPEC => fsck::stop::handle(query).await;
    "fsck_reset", fsck::reset::SPEC => fsck::reset::handle(query).await;
    "fsck_status", fsck::status::SPEC => fsck::status::handle(query).await;
    "fsck_getlog", fsck::getlog::SPEC => fsck::getlog::handle(query);
    "fsck_history", fsck::history::SPEC => fsck::history::handle(query);
    "fsck_clearlog", fsck::clearlog::SPEC => fsck::clearlog::handle(query).await;

    "rebalance_set_policy", rebalance::set_policy::SPEC => rebalance::set_policy::handle(query).await;
    "rebalance_start", rebalance::start::SPEC => rebalance::start::handle(query).await;
    "rebalance_stop", rebalance::stop::SPEC => rebalance::stop::handle(query).await;
    "rebalance_status", rebalance::status::SPEC => rebalance::status::handle(query);
    "rebalance_test", rebalance::test::SPEC => rebalance::test::handle(query).await;
    "rebalance_reset", rebalance::reset::SPEC => rebalance::reset::handle(query).await;
}
