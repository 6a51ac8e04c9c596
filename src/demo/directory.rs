//! The directory of a demonstration: made new each time, removed only if a demonstration made it.
//!
//! A person may type any path after `--dir`; nothing that is not ours may be lost by that.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use crate::{exit::Exit, gateway::Trouble};

/// An empty directory that the next demonstration may remove.
pub(super) struct Directory {
    pub(super) path: PathBuf,
}

impl Directory {
    /// Where in it the gateway's own data is.
    pub(super) const DATA: &str = "data";

    /// Removes what an earlier demonstration left at `path`, and begins anew.
    pub(super) fn create(path: &Path) -> Result<Self, Trouble> {
        let at = |error: io::Error| trouble(path, &error.to_string());
        match fs::symlink_metadata(path) {
            Ok(found) => {
                if !found.is_dir() || !path.join(MARKER).is_file() {
                    let text = "this was not made by a demonstration and stays as it is; \
                                name another directory with --dir";
                    return Err(trouble(path, text));
                }
                if is_in_use(path) {
                    let text = "a demonstration is running there; stop it with Ctrl-C, or name \
                                another directory with --dir";
                    return Err(trouble(path, text));
                }
                fs::remove_dir_all(path).map_err(at)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(at(error)),
        }
        fs::create_dir_all(path).map_err(at)?;
        fs::write(path.join(MARKER), MARKER_TEXT).map_err(at)?;
        Ok(Self { path: path.to_path_buf() })
    }

    pub(super) fn configuration(&self) -> PathBuf {
        self.path.join("ringpost.toml")
    }
}

/// A gateway locks its data directory for as long as it runs.
fn is_in_use(path: &Path) -> bool {
    File::open(path.join(Directory::DATA).join("lock"))
        .is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
}

fn trouble(path: &Path, text: &str) -> Trouble {
    Trouble { exit: Exit::CannotCreate, text: format!("{}: {text}", path.display()) }
}

const MARKER: &str = ".ringpost-demo";
const MARKER_TEXT: &str = "\
Made by `ringpost demo`. While this file is here, the next demonstration may remove the directory
with everything in it.
";

#[cfg(test)]
mod tests {
    use super::*;

    fn place(name: &str) -> PathBuf {
        let place = std::env::temp_dir().join(format!("ringpost-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&place);
        place
    }

    #[test]
    fn its_own_directory_is_made_anew() {
        let place = place("own");
        assert!(Directory::create(&place).is_ok());
        fs::write(place.join("left"), "over").expect("a file");
        assert!(Directory::create(&place).is_ok());
        assert!(!place.join("left").exists());
        fs::remove_dir_all(place).expect("removed");
    }

    #[test]
    fn what_others_made_stays() {
        let place = place("foreign");
        fs::create_dir(&place).expect("a directory");
        fs::write(place.join("thesis"), "years of work").expect("a file");
        assert!(Directory::create(&place).is_err());
        assert!(place.join("thesis").exists());
        fs::remove_dir_all(place).expect("removed");
    }

    #[test]
    fn a_running_demonstration_is_not_pulled_away() {
        let place = place("running");
        let directory = Directory::create(&place).ok().expect("made");
        fs::create_dir(directory.path.join(Directory::DATA)).expect("a directory");
        let lock = File::create(directory.path.join(Directory::DATA).join("lock")).expect("a file");
        lock.try_lock().expect("nobody else");
        assert!(Directory::create(&place).is_err());
        drop(lock);
        assert!(Directory::create(&place).is_ok());
        fs::remove_dir_all(place).expect("removed");
    }
}
