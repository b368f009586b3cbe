//! Which disks to mount where: those labelled `MogileDev<number>`, each at its device directory (storage-node.md 11).
//!
//! Plans and carries out on the machine it runs on; knows nothing of a running node. Never unmounts, never mounts one of two
//! disks that bear the same label, and never mounts over files that are not the node's own.

use super::mounts::{self, Mount};
use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Before the number, in the label of a file system.
const LABEL_PREFIX: &str = "MogileDev";

/// Where `blkid` is, which need not be in a user's path.
const BLKID: [&str; 3] = ["/sbin/blkid", "/usr/sbin/blkid", "blkid"];

/// What a node itself writes into a device directory whose disk is not mounted.
const OWN_FILES: [&str; 3] = ["usage", "test-write", ".mogilefs-device"];

/// One labelled disk and what is to be done with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelledDisk {
    /// Of the device.
    pub number: u64,
    pub block_device: PathBuf,
    pub mount_point: PathBuf,
    pub step: Step,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Mount,
    /// It is mounted there already.
    Nothing,
    /// It is left alone, and why.
    Refuse(String),
}

/// Looks for labelled disks.
///
/// # Errors
/// `blkid` cannot be run, or fails.
pub fn plan(docroot: &Path) -> io::Result<Vec<LabelledDisk>> {
    let mut plan = planned(docroot, &labels(&blkid()?), &mounts::current());
    for disk in plan.iter_mut().filter(|disk| disk.step == Step::Mount) {
        if let Some(name) = foreign_file(&disk.mount_point) {
            disk.step = Step::Refuse(format!("mounting would hide {name}, which lies in the mount point"));
        }
    }
    Ok(plan)
}

/// Mounts a disk. With `chmod` its mount point is closed to everybody before, so that nothing is written below it while
/// the disk is away (except by the superuser).
///
/// # Errors
/// The mount point cannot be made or changed; `mount` cannot be run, or fails: its own words.
pub fn mount(disk: &LabelledDisk, chmod: bool) -> io::Result<()> {
    std::fs::create_dir_all(&disk.mount_point)?;
    if chmod {
        std::fs::set_permissions(&disk.mount_point, std::fs::Permissions::from_mode(0o0))?;
    }
    said(Command::new("mount").args(["-o", "noatime"]).arg(&disk.block_device).arg(&disk.mount_point)).map(|_| ())
}

fn blkid() -> io::Result<String> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for program in BLKID {
        match said(Command::new(program).args(["-c", "/dev/null"])) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => last = error,
            said => return said,
        }
    }
    Err(io::Error::new(last.kind(), "blkid is not installed"))
}

/// What a program prints, if it succeeds.
fn said(command: &mut Command) -> io::Result<String> {
    let output = command.output()?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => {
            let program = command.get_program().to_string_lossy().into_owned();
            let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            Err(io::Error::other(format!("{program} failed ({}): {words}", output.status)))
        }
    }
}

/// Device numbers and disks, from lines as `/dev/sdb1: LABEL="MogileDev5" UUID="…" TYPE="xfs"`.
fn labels(blkid: &str) -> BTreeMap<u64, Vec<PathBuf>> {
    let mut found: BTreeMap<u64, Vec<PathBuf>> = BTreeMap::new();
    for line in blkid.lines() {
        // The blank keeps labels of partitions (PARTLABEL) out.
        let Some((disk, rest)) = line.split_once(':') else { continue };
        let label = rest.split_once(" LABEL=\"").and_then(|(_, rest)| rest.split_once('"')).map(|(label, _)| label);
        let digits = label.and_then(|label| label.strip_prefix(LABEL_PREFIX)).unwrap_or_default();
        if digits.bytes().all(|byte| byte.is_ascii_digit())
            && let Ok(number) = digits.parse()
        {
            found.entry(number).or_default().push(PathBuf::from(disk));
        }
    }
    found
}

fn planned(docroot: &Path, labels: &BTreeMap<u64, Vec<PathBuf>>, mounts: &[Mount]) -> Vec<LabelledDisk> {
    let of_one = |(&number, disks): (&u64, &Vec<PathBuf>)| {
        let mount_point = docroot.join(format!("dev{number}"));
        let mounted = mounts.iter().rfind(|mount| mount.mount_point == mount_point);
        let steps = disks.iter().map(|disk| LabelledDisk {
            number,
            block_device: disk.clone(),
            mount_point: mount_point.clone(),
            step: step(disk, disks.len(), mounted),
        });
        steps.collect::<Vec<_>>()
    };
    labels.iter().flat_map(of_one).collect()
}

fn step(disk: &Path, disks_with_label: usize, mounted: Option<&Mount>) -> Step {
    match mounted {
        Some(mounted) if disks_with_label == 1 || mounted.source == disk => Step::Nothing,
        Some(mounted) => Step::Refuse(format!("{} is mounted there and has the same label", mounted.source.display())),
        None if disks_with_label > 1 => Step::Refuse(format!("{disks_with_label} disks have this label")),
        None => Step::Mount,
    }
}

/// Something in the directory that no node wrote by itself. `None` also if there is no such directory.
fn foreign_file(directory: &Path) -> Option<String> {
    let names = directory.read_dir().ok()?.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.into_iter().find(|name| !OWN_FILES.contains(&name.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLKID: &str = "/dev/sda1: UUID=\"1\" TYPE=\"ext4\" PARTLABEL=\"MogileDev9\"\n\
        /dev/sdb1: LABEL=\"MogileDev5\" UUID=\"2\" TYPE=\"xfs\"\n\
        /dev/sdc: UUID=\"3\" LABEL=\"MogileDev10\" TYPE=\"xfs\"\n\
        /dev/sdd: LABEL=\"MogileDev6\" UUID=\"4\"\n\
        /dev/sde: LABEL=\"MogileDev6\" UUID=\"5\"\n\
        /dev/sdf: LABEL=\"MogileDev\" UUID=\"6\"\n\
        /dev/sdg: LABEL=\"MogileDev7x\" UUID=\"7\"\n";

    fn steps(mounts: &[Mount]) -> Vec<(u64, Step)> {
        let plan = planned(Path::new("/data"), &labels(BLKID), mounts);
        plan.into_iter().map(|disk| (disk.number, disk.step)).collect()
    }

    fn mounted(source: &str, point: &str) -> Mount {
        Mount { mount_point: PathBuf::from(point), source: PathBuf::from(source), kind: "xfs".to_owned() }
    }

    #[test]
    fn labelled_disks_are_mounted_at_their_device_directories() {
        let plan = planned(Path::new("/data"), &labels(BLKID), &[]);
        assert_eq!(plan[0].mount_point, Path::new("/data/dev5"));
        assert_eq!(plan[0].block_device, Path::new("/dev/sdb1"));
        let twice = Step::Refuse("2 disks have this label".to_owned());
        assert_eq!(steps(&[]), [(5, Step::Mount), (6, twice.clone()), (6, twice), (10, Step::Mount)]);
    }

    #[test]
    fn what_is_mounted_stays() {
        let mounts = [mounted("/dev/sdb1", "/data/dev5"), mounted("/dev/sdd", "/data/dev6")];
        let other = Step::Refuse("/dev/sdd is mounted there and has the same label".to_owned());
        assert_eq!(steps(&mounts), [(5, Step::Nothing), (6, Step::Nothing), (6, other), (10, Step::Mount)]);
    }

    #[test]
    fn foreign_files_are_not_hidden() {
        let directory = tempfile::tempdir().expect("temporary directory");
        assert_eq!(foreign_file(&directory.path().join("none")), None);
        std::fs::write(directory.path().join("usage"), "").expect("written");
        assert_eq!(foreign_file(directory.path()), None);
        std::fs::create_dir(directory.path().join("0")).expect("made");
        assert_eq!(foreign_file(directory.path()).as_deref(), Some("0"));
    }
}
