//! Help, completions and man pages, as a shell and `man` take them.

use std::process::{Command, Output};

fn program(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mogilefs"))
        .args(args)
        .env_remove("MOGILEFS_TRACKERS")
        .env_remove("MOGILEFS_DOMAIN")
        .output()
        .expect("the program starts")
}

fn printed(args: &[&str]) -> String {
    let output = program(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn is_installed(tool: &str) -> bool {
    Command::new(tool).arg("--version").output().is_ok()
}

#[test]
fn bash_completes_commands_and_options() {
    if !is_installed("bash") {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let script = directory.path().join("mogilefs.bash");
    std::fs::write(&script, printed(&["completions", "bash"])).expect("written");
    let complete = |words: &str| {
        let call = format!(
            "source {}; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _mogilefs mogilefs \"${{COMP_WORDS[-1]}}\" \"${{COMP_WORDS[-2]}}\"; echo \"${{COMPREPLY[@]}}\"",
            script.display()
        );
        let output = Command::new("bash").args(["--norc", "-c", &call]).output().expect("bash runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    };
    assert_eq!(complete("mogilefs ren").trim(), "rename");
    assert_eq!(complete("mogilefs fsck sta").trim(), "start status");
    assert!(complete("mogilefs put --ch").contains("--checksum"));
    assert!(complete("mogilefs device mark store1 17 d").contains("drain"));
}

#[test]
fn other_shells_get_their_scripts() {
    assert!(printed(&["completions", "zsh"]).starts_with("#compdef mogilefs"));
    assert!(printed(&["completions", "fish"]).contains("complete -c mogilefs"));
    assert_eq!(program(&["completions", "csh"]).status.code(), Some(2));
}

#[test]
fn man_pages_are_without_warnings() {
    let directory = tempfile::tempdir().expect("a directory");
    let place = directory.path().join("man1");
    printed(&["man", &place.display().to_string()]);
    let pages: Vec<_> = std::fs::read_dir(&place).expect("made").map(|page| page.expect("read").path()).collect();
    assert!(pages.len() > 60, "{}", pages.len());
    assert!(place.join("mogilefs.1").is_file() && place.join("mogilefs-device-mark.1").is_file());
    if !is_installed("groff") {
        return;
    }
    let output =
        Command::new("groff").args(["-man", "-Tutf8", "-Kutf8", "-ww", "-z"]).args(&pages).output().expect("runs");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn a_page_that_cannot_be_written_is_a_failure_of_this_machine() {
    let output = program(&["man", "/dev/null/man1"]);
    assert_eq!(output.status.code(), Some(5));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/dev/null/man1"));
}

#[test]
fn help_ends_with_examples() {
    let help = printed(&["put", "--help"]);
    assert!(help.contains("\nExamples:\n  # Store a file\n  mogilefs -d demo put"), "{help}");
    assert!(printed(&["--help"]).contains("Exit codes:"));
}

/// What people see. After a change that is meant: `UPDATE_SNAPSHOTS=1 cargo nextest run --test cli`, and look at the
/// difference.
#[test]
fn help_is_as_it_was_looked_at() {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/snapshots");
    for words in [&[][..], &["put"], &["big", "put"], &["device", "mark"], &["fsck", "start"], &["rm"]] {
        let help = printed(&[words, &["-h"]].concat());
        let path = directory.join(format!("{}.txt", [&["help"], words].concat().join("-")));
        if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
            std::fs::write(&path, help).expect("written");
            continue;
        }
        let looked_at = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(help, looked_at, "{} differs; if that is meant, run with UPDATE_SNAPSHOTS=1", path.display());
    }
}
