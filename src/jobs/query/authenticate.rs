//! `authenticate`: says who a client is. It is carried out by the connection itself, which is whom it changes; no worker
//! gets to see a token, and none is kept with the requests that are shown to people.

use crate::jobs::query::spec::{CommandSpec, Group, Origin, pair, text};
use crate::protocol::error_code::ErrorCode;
use crate::protocol::request::Request;
use crate::protocol::response::{ErrorReply, Pairs, write_reply};
use crate::service::tokens::{Token, TokenList};

pub const SPEC: CommandSpec = CommandSpec {
    name: "authenticate",
    group: Group::Service,
    summary: "Says who the client is: from now on this connection may do what the token's role allows.",
    arguments: &[text("token", "The secret that `mogilefs token` printed.").required()],
    reply: &[
        pair("name", "The token's name in the file `security.tokens_file`."),
        pair("role", "`read`, `write` or `admin`; each includes those before it."),
    ],
    errors: &[ErrorCode::AccessDenied],
    notes: "Without a token a connection has the role `security.anonymous_role`. An answer to a wrong token takes a second, and after \
        five of them the connection is closed. A role never goes beyond what the address may do (SECURITY.md).",
    origin: Origin::Here,
    is_intercepted: false,
};

/// Is the line this command?
pub fn is_authenticate(line: &[u8]) -> bool {
    Request::name_of(line).eq_ignore_ascii_case(SPEC.name.as_bytes())
}

/// Appends the reply to the line; gives whose token it brought.
pub fn answer<'a>(line: &[u8], tokens: &'a TokenList, reply: &mut Vec<u8>) -> Option<&'a Token> {
    let request = Request::parse(line);
    let found = request.args.get("token").and_then(|secret| tokens.find(secret));
    let response = match found {
        Some(token) => Ok(about(token)),
        None => Err(ErrorReply::with_text(ErrorCode::AccessDenied, "No such token")),
    };
    write_reply(&response, request.callid(), reply);
    found
}

fn about(token: &Token) -> Pairs {
    let mut pairs = Pairs::new();
    pairs.push("name", &token.name);
    pairs.push("role", token.role.name());
    pairs
}
