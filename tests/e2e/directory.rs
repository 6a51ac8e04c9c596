//! A temporary directory that goes away with its test.
//!
//! Below `/var/tmp`, because that is on a disk where `/tmp` often is not, and its path is short
//! enough for a Unix socket. `RINGPOST_E2E_KEEP=1` keeps what a failed test left.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

pub(crate) struct Directory {
    path: PathBuf,
}

impl Directory {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = PathBuf::from(format!("/var/tmp/ringpost-e2e-{}-{number}", std::process::id()));
        fs::create_dir(&path).expect("/var/tmp can be written to");
        // Postfix works in it under its own user.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is ours");
        Self { path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a file and returns its path.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.join(name);
        fs::write(&path, content).expect("the directory can be written to");
        path
    }

    /// Makes a directory inside and returns its path.
    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        let path = self.join(name);
        fs::create_dir_all(&path).expect("the directory can be written to");
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if std::env::var_os("RINGPOST_E2E_KEEP").is_some() && std::thread::panicking() {
            eprintln!("kept {}", self.path.display());
            return;
        }
        // What cannot be removed does not change what the test has shown.
        let _ = fs::remove_dir_all(&self.path);
    }
}
