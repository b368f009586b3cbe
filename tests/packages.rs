//! The Debian package: that it can be built from a program, what is in it, and that what is in it works.
//! Where the tools of Debian are missing nothing is tested.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

fn source() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn has(tool: &str) -> bool {
    let found = Command::new("sh").args(["-c", &format!("command -v {tool}")]).output();
    let has = found.is_ok_and(|found| found.status.success());
    if !has {
        eprintln!("{tool} is missing: nothing is tested");
    }
    has
}

fn run(command: &mut Command) -> Output {
    let output = command.output().expect("started");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// A package that was built, and its content.
struct Package {
    file: PathBuf,
    root: PathBuf,
    _directory: TempDir,
}

impl Package {
    fn build() -> Option<Self> {
        if !has("dpkg-deb") || !has("dpkg-shlibdeps") {
            return None;
        }
        let directory = tempfile::tempdir().expect("temporary directory");
        let built = run(Command::new(source().join("scripts/build-deb"))
            .args(["--fast", "--program", env!("CARGO_BIN_EXE_mogilefs"), "--output"])
            .arg(directory.path()));
        let file = PathBuf::from(String::from_utf8(built.stdout).expect("a path").trim());
        let root = directory.path().join("root");
        run(Command::new("dpkg-deb").arg("--extract").arg(&file).arg(&root));
        run(Command::new("dpkg-deb").arg("--control").arg(&file).arg(directory.path().join("control")));
        Some(Self { file, root, _directory: directory })
    }

    fn control(&self, name: &str) -> String {
        fs::read_to_string(self.root.with_file_name("control").join(name)).expect(name)
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }
}

#[test]
fn the_package_has_everything_and_it_works() {
    let Some(package) = Package::build() else { return };
    for path in [
        "usr/lib/systemd/system/mogilefs-tracker.service",
        "usr/lib/systemd/system/mogilefs-node.service",
        "usr/lib/systemd/system/mogilefs-node.socket",
        "usr/lib/sysusers.d/mogilefs.conf",
        "usr/share/man/man1/mogilefs.1.gz",
        "usr/share/bash-completion/completions/mogilefs",
        "usr/share/zsh/vendor-completions/_mogilefs",
        "usr/share/fish/vendor_completions.d/mogilefs.fish",
        "usr/share/doc/mogilefs/OPERATING.md",
        "usr/share/doc/mogilefs/copyright",
        "usr/share/mogilefs/mogilefs.rules.yml",
    ] {
        assert!(package.path(path).metadata().is_ok_and(|found| found.len() > 0), "{path}");
    }
    let control = package.control("control");
    for line in ["Package: mogilefs", "Conflicts: mogilefsd, mogstored, mogilefs-utils", "libc6"] {
        assert!(control.contains(line), "{line}\n{control}");
    }
    assert_eq!(package.control("conffiles"), "/etc/mogilefs/tracker.toml\n/etc/mogilefs/node.toml\n");
    let listing = run(Command::new("dpkg-deb").arg("--contents").arg(&package.file)).stdout;
    assert!(String::from_utf8_lossy(&listing).lines().all(|line| line.contains("root/root")), "all belongs to root");
    for script in ["postinst", "prerm", "postrm"] {
        run(Command::new("sh").args(["-n"]).arg(package.root.with_file_name("control").join(script)));
    }
}

/// The names are those that the program answers to, and each leads to it.
#[test]
fn old_names_lead_to_the_program() {
    let Some(package) = Package::build() else { return };
    let bin = package.path("usr/bin");
    let entries = bin.read_dir().expect("programs").flatten();
    let names: BTreeSet<String> = entries.map(|entry| entry.file_name().into_string().expect("UTF-8")).collect();
    assert!(names.len() > 10 && names.contains("mogadm") && names.contains("mogilefsd"), "{names:?}");
    let of = |name: &str| {
        let output = Command::new(bin.join(name)).arg("--help").output().expect(name);
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    let own = of("mogilefs");
    for name in names.iter().filter(|name| *name != "mogilefs") {
        assert_eq!(fs::read_link(bin.join(name)).expect(name), Path::new("mogilefs"));
        assert_ne!(of(name), own, "the program does not know the name {name}");
    }
}

/// What is delivered changes nothing: every setting is there, none is set.
#[test]
fn delivered_settings_are_the_defaults() {
    let Some(package) = Package::build() else { return };
    for kind in ["tracker", "node"] {
        let file = package.path(&format!("etc/mogilefs/{kind}.toml"));
        let program = package.path("usr/bin/mogilefs");
        let checked = run(Command::new(&program).args(["config", "check"]).arg(&file));
        assert!(checked.status.success());
        let show =
            |words: &[&str]| run(Command::new(&program).args(["config", "show", "--changed"]).args(words)).stdout;
        let with_file = show(&["--config", file.to_str().expect("UTF-8")]);
        assert_eq!(String::from_utf8_lossy(&with_file), String::from_utf8_lossy(&show(&[])), "{kind}");
        let text = fs::read_to_string(&file).expect("settings");
        for setting in ["#url = \"sqlite:mogilefs.db\"", "#docroot = \"/var/mogdata\"", "[database]"] {
            assert!(text.lines().any(|line| line == setting), "{setting}");
        }
    }
}
