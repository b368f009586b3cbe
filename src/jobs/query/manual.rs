//! The manual of the protocol: an introduction, then every command from its [`CommandSpec`], then the error codes.
//!
//! `docs/PROTOCOL.md` is what [`whole`] gives, and a test holds them together.

use super::authenticate;
use super::dispatch::COMMANDS;
use super::spec::{Argument, CommandSpec, Group, Origin};
use crate::jobs::extensions;
use crate::protocol::error_code::ErrorCode;
use std::fmt::Write as _;

/// What is true of all commands.
const INTRODUCTION: &str = include_str!("manual/introduction.md");

/// The whole manual as Markdown.
pub fn whole() -> String {
    let mut out = INTRODUCTION.to_owned();
    for group in Group::ALL {
        let commands: Vec<_> = all_commands().filter(|spec| spec.group == group).collect();
        if !commands.is_empty() {
            push(&mut out, &format!("\n## {}\n", group.title()));
        }
        for spec in commands {
            push(&mut out, &format!("\n{}", command(spec)));
        }
    }
    push(&mut out, &error_codes());
    out
}

/// The section of one command as Markdown; `None` if there is none of this name.
pub fn section(name: &str) -> Option<String> {
    all_commands().find(|spec| spec.name == name).map(command)
}

/// Those of the tracker, that of connections, then those of all extensions, switched on or not.
pub fn all_commands() -> impl Iterator<Item = &'static CommandSpec> {
    COMMANDS.iter().copied().chain([&authenticate::SPEC]).chain(extensions::all_commands())
}

fn command(spec: &CommandSpec) -> String {
    let mut out = format!("### {}\n\n{}{}\n", spec.name, spec.summary, origin(spec.origin));
    if !spec.arguments.is_empty() {
        push(&mut out, "\n| argument | kind | meaning |\n| --- | --- | --- |\n");
        for argument in spec.arguments {
            push(&mut out, &argument_row(argument));
        }
    }
    if spec.reply.is_empty() {
        push(&mut out, "\nReply: no pairs.\n");
    } else {
        push(&mut out, "\n| reply | meaning |\n| --- | --- |\n");
        for pair in spec.reply {
            push(&mut out, &format!("| `{}` | {} |\n", pair.name, pair.meaning));
        }
    }
    let mut errors: Vec<_> = spec.errors.iter().map(|code| format!("`{code}`")).collect();
    if spec.is_intercepted {
        errors.push(format!("`{}` (by an extension)", ErrorCode::PluginAborted));
    }
    if !errors.is_empty() {
        push(&mut out, &format!("\nErrors: {}.\n", errors.join(", ")));
    }
    if !spec.notes.is_empty() {
        push(&mut out, &format!("\n{}\n", spec.notes));
    }
    out
}

fn argument_row(argument: &Argument) -> String {
    let required = if argument.is_required { ", required" } else { "" };
    let (name, kind) = (argument.name, argument.kind.name());
    format!("| `{name}` | {kind}{required} | {}{} |\n", argument.meaning, origin(argument.origin))
}

fn origin(origin: Origin) -> &'static str {
    match origin {
        Origin::Reference => "",
        Origin::Plugin => " *(2.73: by a plugin)*",
        Origin::Here => " *(not in 2.73)*",
    }
}

fn error_codes() -> String {
    let mut out =
        String::from("\n## Error codes\n\n| code | text, unless the command gives its own |\n| --- | --- |\n");
    for code in ErrorCode::ALL {
        push(&mut out, &format!("| `{code}` | {} |\n", code.text()));
    }
    out
}

/// Writing to a String does not fail.
fn push(out: &mut String, text: &str) {
    let _infallible = out.write_str(text);
}

#[cfg(test)]
mod tests {
    use super::super::spec::COMMON_ARGUMENTS;
    use super::*;
    use std::collections::BTreeSet;

    /// Written anew with `UPDATE_DOCS=1`.
    #[test]
    fn the_printed_manual_is_this_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/PROTOCOL.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, whole()).expect("docs can be written");
        }
        let printed = std::fs::read_to_string(path).expect("docs/PROTOCOL.md");
        assert!(printed == whole(), "docs/PROTOCOL.md is out of date: run this test with UPDATE_DOCS=1");
    }

    #[test]
    fn every_command_is_told_once_and_every_code_has_a_sender() {
        let names: Vec<_> = all_commands().map(|spec| spec.name).collect();
        assert_eq!(names.len(), names.iter().collect::<BTreeSet<_>>().len(), "a name occurs twice");
        let common = [ErrorCode::Failure, ErrorCode::UnknownCommand, ErrorCode::PluginAborted, ErrorCode::AccessDenied];
        let told: Vec<_> = all_commands().flat_map(|spec| spec.errors).chain(&common).collect();
        for code in ErrorCode::ALL {
            assert!(told.contains(&code), "{code} is of no command");
        }
    }

    #[test]
    fn meanings_are_sentences_that_fit_a_table() {
        let arguments = all_commands().flat_map(|spec| spec.arguments).chain(COMMON_ARGUMENTS);
        let meanings = arguments.map(|argument| argument.meaning);
        let meanings = meanings.chain(all_commands().flat_map(|spec| spec.reply).map(|pair| pair.meaning));
        for meaning in meanings.chain(all_commands().map(|spec| spec.summary)) {
            assert!(meaning.ends_with('.') && !meaning.contains(['|', '\n']), "{meaning:?}");
        }
    }
}
