//! What is made from the tree of commands for others to show: shell completions and man pages. Asks no tracker.

use super::examples;
use super::output::{Failure, Output};
use clap::{Command, ValueEnum};
use clap_complete::aot;
use clap_mangen::Man;
use serde_json::json;
use std::io;
use std::path::{Path, PathBuf};

/// Shells that completions are made for.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Prints the completions of a shell, which the shell reads as a script.
pub fn completions(mut tree: Command, shell: Shell, output: &Output) -> Result<(), Failure> {
    let mut script = Vec::new();
    let name = tree.get_name().to_owned();
    match shell {
        Shell::Bash => aot::generate(aot::Bash, &mut tree, name, &mut script),
        Shell::Zsh => aot::generate(aot::Zsh, &mut tree, name, &mut script),
        Shell::Fish => aot::generate(aot::Fish, &mut tree, name, &mut script),
    }
    output.raw(&script)
}

/// Writes a page of section 1 for the program and for each of its commands into the directory, which is made if need be.
pub fn man(tree: Command, directory: &Path, output: &Output) -> Result<(), Failure> {
    let failed = |path: &Path, error: &io::Error| Failure::Local(format!("writing {}: {error}", path.display()));
    std::fs::create_dir_all(directory).map_err(|error| failed(directory, &error))?;
    let mut written: Vec<PathBuf> = Vec::new();
    for page in pages(tree)? {
        let path = directory.join(format!("{}.1", page.name));
        std::fs::write(&path, &page.text).map_err(|error| failed(&path, &error))?;
        written.push(path);
    }
    let names: Vec<String> = written.iter().map(|path| path.display().to_string()).collect();
    output.result(&json!({ "pages": names }), || format!("{} pages in {}\n", names.len(), directory.display()))
}

struct Page {
    /// With the words joined by hyphens, as in `mogilefs-fsck-start`.
    name: String,
    text: Vec<u8>,
}

fn pages(tree: Command) -> Result<Vec<Page>, Failure> {
    let mut tree = tree.disable_help_subcommand(true);
    tree.build();
    let mut pages = Vec::new();
    add_pages("", None, &tree, &mut pages).map_err(|error| Failure::Local(format!("making a page: {error}")))?;
    Ok(pages)
}

fn add_pages(words: &str, above: Option<&str>, command: &Command, pages: &mut Vec<Page>) -> io::Result<()> {
    let name = page_name(words);
    pages.push(Page { text: page(words, &name, above, command)?, name: name.clone() });
    for below in command.get_subcommands() {
        let words = format!("{words} {}", below.get_name()).trim_start().to_owned();
        add_pages(&words, Some(&name), below, pages)?;
    }
    Ok(())
}

fn page_name(words: &str) -> String {
    format!("mogilefs {words}").trim_end().replace(' ', "-")
}

/// A page in the order that readers of man pages know.
fn page(words: &str, name: &str, above: Option<&str>, command: &Command) -> io::Result<Vec<u8>> {
    let exit_codes = command.get_after_long_help().filter(|_| words.is_empty()).map(ToString::to_string);
    // What follows the options has sections of its own here.
    let bare = command.clone().display_name(name.to_owned());
    let man = Man::new(bare)
        .title(name.to_uppercase())
        .manual("MogileFS")
        .source(format!("mogilefs {}", env!("CARGO_PKG_VERSION")));
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if command.get_subcommands().next().is_some() {
        let mut commands = String::from(".SH COMMANDS\n");
        for below in command.get_subcommands() {
            let about = below.get_about().map(ToString::to_string).unwrap_or_default();
            let full = page_name(format!("{words} {}", below.get_name()).trim_start());
            commands += &format!(".TP\n\\fB{}\\fR(1)\n{}\n", escaped(&full), escaped(&about));
        }
        text.extend_from_slice(commands.as_bytes());
    }
    text.extend_from_slice(example_section(words).as_bytes());
    if let Some(exit_codes) = exit_codes {
        // The examples stand before the codes in the help.
        let codes = exit_codes.split_once("Exit codes:\n").map_or("", |(_, codes)| codes);
        text.extend_from_slice(format!(".SH EXIT STATUS\n.nf\n{}\n.fi\n", escaped(codes)).as_bytes());
    }
    let see_also = above.filter(|above| *above != "mogilefs").map(|above| format!(".BR {} (1),\n", escaped(above)));
    if !words.is_empty() {
        text.extend_from_slice(format!(".SH SEE ALSO\n{}.BR mogilefs (1)\n", see_also.unwrap_or_default()).as_bytes());
    }
    Ok(text)
}

fn example_section(words: &str) -> String {
    let mut section = String::new();
    for (what, line) in examples::of(words).unwrap_or_default() {
        if section.is_empty() {
            section.push_str(".SH EXAMPLES\n");
        }
        if !what.is_empty() {
            section += &format!(".PP\n{}:\n", escaped(what));
        }
        section += &format!(".RS 4\n.nf\n{}\n.fi\n.RE\n", escaped(line));
    }
    section
}

/// Text that roff takes for text.
fn escaped(text: &str) -> String {
    let lines = text.lines().map(|line| {
        let line = line.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq").replace('`', "\\(ga");
        // A line that begins with a dot would be a request.
        if line.starts_with('.') { format!("\\&{line}") } else { line }
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roff_takes_text_for_text() {
        assert_eq!(escaped(".TH 'a' \\ --b\n.x"), "\\&.TH \\(aqa\\(aq \\e \\-\\-b\n\\&.x");
    }

    #[test]
    fn each_command_has_a_page_with_its_examples() {
        let pages = pages(crate::cli::tree()).expect("made");
        let page = pages.iter().find(|page| page.name == "mogilefs-fsck-start").expect("there");
        let text = String::from_utf8_lossy(&page.text);
        for part in [
            ".SH NAME",
            ".SH SYNOPSIS",
            ".SH OPTIONS",
            ".SH EXAMPLES",
            "fsck start \\-\\-all",
            ".BR mogilefs\\-fsck (1)",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let first = String::from_utf8_lossy(&pages[0].text).into_owned();
        assert!(first.contains(".SH EXIT STATUS") && first.contains("mogilefs\\-put"), "{first}");
    }
}
