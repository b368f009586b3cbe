//! From a request line to its reply line: parse, find the handler, carry it out within its time, encode.

use super::error::{CommandError, CommandResult};
use super::{Query, files, service, topology};
use crate::jobs::context::JobContext;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::request::Request;
use crate::protocol::response::write_reply;
use std::net::IpAddr;
use std::time::Duration;

/// Carries out one request line and appends its reply line. Exactly one reply is appended, whatever happens.
pub async fn answer(ctx: &JobContext, line: &[u8], peer: IpAddr, reply: &mut Vec<u8>) {
    let request = Request::parse(line);
    let query = Query::new(ctx, &request.args, peer);
    let limit = Duration::from_millis(ctx.settings.limits.request_timeout_ms);
    let result = match tokio::time::timeout(limit, run(&request.command, &query)).await {
        Ok(result) => result,
        Err(_elapsed) => {
            slog::error!(ctx.log, "request took too long"; "command" => &request.command, "limit_ms" => limit.as_millis());
            Err(ErrorCode::Failure.into())
        }
    };
    let response = result.map_err(|error| {
        if let CommandError::Store(cause) = &error {
            slog::error!(ctx.log, "error running command"; "command" => &request.command, "error" => %cause);
        }
        error.into_reply()
    });
    write_reply(&response, request.callid(), reply);
}

/// Every command of this tracker, by name.
async fn run(command: &str, query: &Query<'_>) -> CommandResult {
    match command {
        "create_open" => files::create_open::handle(query).await,
        "create_close" => files::create_close::handle(query).await,
        "get_paths" => files::get_paths::handle(query).await,
        "file_info" => files::file_info::handle(query),
        "file_debug" => files::file_debug::handle(query),
        "delete" => files::delete::handle(query).await,
        "rename" => files::rename::handle(query).await,
        "list_keys" => files::list_keys::handle(query),
        "list_fids" => files::list_fids::handle(query),
        "updateclass" => files::updateclass::handle(query).await,
        "edit_file" => files::edit_file::handle(query).await,

        "create_domain" => topology::domains::create(query).await,
        "delete_domain" => topology::domains::delete(query).await,
        "get_domains" => topology::domains::get(query),
        "create_class" => topology::classes::create_or_update(query, false).await,
        "update_class" => topology::classes::create_or_update(query, true).await,
        "delete_class" => topology::classes::delete(query).await,
        "create_host" => topology::hosts::create_or_update(query, false).await,
        "update_host" => topology::hosts::create_or_update(query, true).await,
        "delete_host" => topology::hosts::delete(query).await,
        "get_hosts" => topology::hosts::get(query),
        "create_device" => topology::devices::create(query).await,
        "set_state" => topology::devices::set_state(query).await,
        "set_weight" => topology::devices::set_weight(query).await,
        "get_devices" => topology::devices::get(query),

        "server_setting" => service::settings::get(query),
        "server_settings" => service::settings::list(query),
        "set_server_setting" => service::settings::set(query).await,
        "clear_cache" => service::diagnostics::clear_cache(query).await,
        "noop" => service::diagnostics::noop(),
        "test" => service::diagnostics::test(query),
        "sleep" => service::diagnostics::sleep(query).await,
        _ => Err(ErrorCode::UnknownCommand.into()),
    }
}
