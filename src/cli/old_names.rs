//! The programs `mogilefsd` and `mogstored` of 2.73: this one, called by their names, takes their command lines and
//! configuration files and plays their parts.

use super::output::{Failure, Output};
use super::roles::{RoleCommand, SettingsArgs};
use crate::settings::old::{OldCommandLine, Program, Wanted, usage};
use std::path::PathBuf;
use std::process::ExitCode;

/// The whole program.
pub fn main(program: Program) -> ExitCode {
    let words = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
    match run(OldCommandLine::parse(program, words)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => Output::new(false).report(&failure),
    }
}

fn run(line: OldCommandLine) -> Result<(), Failure> {
    let (program, output) = (line.program, Output::new(false));
    match line.wanted {
        Wanted::Start => {}
        Wanted::Help => return output.raw(usage(program).as_bytes()),
        Wanted::Version => {
            let version = format!("{} (mogilefs {})\n", program.name(), env!("CARGO_PKG_VERSION"));
            return output.raw(version.as_bytes());
        }
    }
    match program {
        // Start scripts may give options that only older versions knew.
        Program::Mogilefsd => line.misunderstood.iter().for_each(|text| output.note(text)),
        Program::Mogstored if line.misunderstood.is_empty() => {}
        Program::Mogstored => {
            return Err(Failure::Usage(format!("{}; see --help", line.misunderstood.join("; "))));
        }
    }
    let config = file_to_read(&line);
    let settings = SettingsArgs::of_old_program(line, config);
    match program {
        Program::Mogilefsd => {
            refuse_root(&settings)?;
            RoleCommand::Tracker(settings.into()).run()
        }
        Program::Mogstored => RoleCommand::Node(settings.into()).run(),
    }
}

/// The file that was named, else the usual one if it can be read.
fn file_to_read(line: &OldCommandLine) -> Option<PathBuf> {
    let usual = || Some(PathBuf::from(line.program.usual_file())).filter(|path| std::fs::File::open(path).is_ok());
    line.config.clone().or_else(|| if line.skips_config { None } else { usual() })
}

/// As 2.73: only who says so runs the tracker as root.
fn refuse_root(settings: &SettingsArgs) -> Result<(), Failure> {
    if !rustix::process::getuid().is_root() || settings.load([])?.settings.service.user == "root" {
        return Ok(());
    }
    Err(Failure::Usage(
        "mogilefsd cannot be run as root. Start it as another user, or, if it must be root, with `user = root` in its \
         configuration file or --user=root"
            .to_owned(),
    ))
}
