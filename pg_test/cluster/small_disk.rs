//! A file system of a few megabytes that a test can fill. Mounting takes root; without it the tests that need one are
//! listed as ignored.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::cluster::succeed;

/// A mounted tmpfs; unmounted when dropped.
pub struct SmallDisk {
    mount_point: PathBuf,
}

impl SmallDisk {
    /// Mounts a disk and moves a file or directory there, with a symbolic link in its old place.
    pub fn under(path: &Path, mount_point: PathBuf, megabytes: u32) -> SmallDisk {
        fs::create_dir(&mount_point).expect("mount point");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "tmpfs"]).arg(&mount_point);
        succeed(mount);
        let disk = SmallDisk { mount_point };
        let owner = fs::metadata(path).expect("what is moved");
        chown(&disk.mount_point, Some(owner.uid()), Some(owner.gid())).expect("owner of the disk");
        let moved = disk.mount_point.join(path.file_name().expect("a name"));
        let mut copy = Command::new("cp");
        copy.arg("-a").arg(path).arg(&moved);
        succeed(copy);
        fs::remove_dir_all(path).expect("the old place");
        symlink(moved, path).expect("link");
        disk
    }

    /// Leaves no byte free.
    pub fn fill(&self) {
        let mut filler = File::create(self.filler()).expect("filler");
        for size in [1 << 16, 1] {
            let zeros = vec![0; size];
            let error = loop {
                if let Err(error) = filler.write_all(&zeros) {
                    break error;
                }
            };
            assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
        }
    }

    /// Gives back what `fill` took.
    pub fn free(&self) {
        fs::remove_file(self.filler()).expect("filler");
    }

    fn filler(&self) -> PathBuf {
        self.mount_point.join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a server that is still on its way out keeps the files it has open.
        Command::new("umount").arg("-l").arg(&self.mount_point).status().ok();
    }
}

/// Whether a tmpfs can be mounted here.
pub fn can_be_mounted() -> bool {
    let place = std::env::temp_dir().join(format!("pgs-mount-{}", std::process::id()));
    fs::create_dir(&place).expect("mount point");
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "tmpfs"]).arg(&place).stderr(Stdio::null());
    let mounted = mount.status().is_ok_and(|status| status.success());
    if mounted {
        Command::new("umount").arg(&place).status().expect("umount");
    }
    fs::remove_dir(&place).expect("mount point");
    mounted
}
