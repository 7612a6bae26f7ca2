//! Small file systems that a test fills, breaks or cuts the power of. They are gone when they go
//! out of scope. Where the test may not mount, there is `None` and a line that says so.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A file system in memory.
pub struct Tmpfs(TempDir);

impl Tmpfs {
    pub fn mount(size: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let options = format!("size={size},mode=0700");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "tmpfs"]);
        mount.arg(folder.path());
        works(mount, "a tmpfs cannot be mounted here").then(|| Self(folder))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn remount(&self, option: &str) {
        let options = format!("remount,{option}");
        let mut mount = Command::new("mount");
        must(mount.args(["-o", &options]).arg(self.path()));
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        unmount_at_last(self.path());
    }
}

/// A file that is mounted over another, as containers do.
pub struct BoundFile(PathBuf);

impl BoundFile {
    pub fn mount(source: &Path, over: &Path) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount.arg("--bind").args([source, over]);
        works(mount, "a file cannot be mounted here").then(|| Self(over.to_owned()))
    }
}

impl Drop for BoundFile {
    fn drop(&mut self) {
        unmount_at_last(&self.0);
    }
}

/// How large an ext4 is, in bytes; there must be room for its journal.
const EXT4_BYTES: u64 = 48 * 1024 * 1024;
/// Nothing reaches the disk unless somebody asks: no commit by time, and no flush of a file that is
/// renamed over another, which would hide a missing fsync.
const EXT4_OPTIONS: &str = "loop,commit=600,noauto_da_alloc";
/// `EXT4_IOC_SHUTDOWN` with `EXT4_GOING_FLAGS_NOLOGFLUSH`: from now on nothing more is written, as
/// if the power were gone. In Perl, because an ioctl is `unsafe` in Rust.
const SHUT_DOWN: &str = r#"
    open(my $folder, "<", $ARGV[0]) or die "open: $!";
    my $flags = pack("L", 2);
    ioctl($folder, 0x8004587d, $flags) or die "ioctl: $!";
"#;

/// An ext4 in a file, the power of which can be cut.
pub struct Ext4 {
    image: PathBuf,
    mounted: PathBuf,
    _home: TempDir,
}

impl Ext4 {
    pub fn mount() -> Option<Self> {
        let home = tempfile::tempdir().unwrap();
        let (image, mounted) = (home.path().join("image"), home.path().join("mounted"));
        let file = std::fs::File::create(&image).unwrap();
        file.set_len(EXT4_BYTES).unwrap();
        std::fs::create_dir(&mounted).unwrap();
        let mut perl = Command::new("perl");
        perl.args(["-e", "1"]);
        let mut mkfs = Command::new("mkfs.ext4");
        mkfs.args(["-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"]);
        mkfs.arg(&image);
        let made = works(perl, "there is no perl") && works(mkfs, "an ext4 cannot be made here");
        let ext4 = Self {
            image,
            mounted,
            _home: home,
        };
        let mount = ext4.mount_command();
        (made && works(mount, "an image cannot be mounted here")).then_some(ext4)
    }

    pub fn path(&self) -> &Path {
        &self.mounted
    }

    /// From now on every write to it fails, and what was not synced is lost.
    pub fn cut_power(&self) {
        must(
            Command::new("perl")
                .args(["-e", SHUT_DOWN])
                .arg(self.path()),
        );
    }

    /// What the next start of the machine finds. No process may have a file of it open.
    pub fn restore_power(&self) {
        must(Command::new("umount").arg(self.path()));
        must(&mut self.mount_command());
    }

    fn mount_command(&self) -> Command {
        let mut mount = Command::new("mount");
        mount.args(["-t", "ext4", "-o", EXT4_OPTIONS]);
        mount.arg(&self.image).arg(&self.mounted);
        mount
    }
}

impl Drop for Ext4 {
    fn drop(&mut self) {
        unmount_at_last(self.path());
    }
}

/// Lazily: a process that a failed test leaves behind may still have a file open.
fn unmount_at_last(folder: &Path) {
    let _ = Command::new("umount").arg("-lq").arg(folder).output();
}

fn works(mut command: Command, or_else: &str) -> bool {
    let works = command.output().is_ok_and(|output| output.status.success());
    if !works {
        println!("skipped: {or_else}");
    }
    works
}

fn must(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
}
