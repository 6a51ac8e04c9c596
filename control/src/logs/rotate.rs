//! A log file that is put aside when it is full.
//!
//! Rotation is by size, as on the appliance by default: how much disk a log may take is then known,
//! however much mail there is.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use ringpost_core::time::Date;

use super::mail_logs;

/// When a file is full, and what becomes of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rotation {
    /// Octets after which a new file is begun, at the end of a line. 0 for never.
    pub max_size: u64,
    /// Full files kept beside the current one, as `name.1` (the youngest) to `name.N`.
    pub keep: u16,
}

/// Where lines go.
pub struct Sink(Kind);

enum Kind {
    Rotating(Rotating),
    StandardOutput,
}

struct Rotating {
    file: File,
    path: PathBuf,
    size: u64,
    /// The last line is written, and only a new file is missing.
    is_ended: bool,
    rotation: Rotation,
    heading: Heading,
}

/// The lines a file begins with.
type Heading = Box<dyn Fn(Date) -> Lines + Send>;

/// Lines a file begins and ends with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Lines {
    pub(super) begin: String,
    pub(super) end: String,
}

impl Default for Rotation {
    fn default() -> Self {
        Self { max_size: 100 << 20, keep: 10 }
    }
}

impl Sink {
    /// Appends to a file, or begins one.
    pub(super) fn open(
        path: &Path,
        rotation: Rotation,
        heading: Heading,
        now: Date,
    ) -> io::Result<Self> {
        let file = append(path)?;
        let size = file.metadata()?.len();
        let mut rotating =
            Rotating { file, path: path.to_path_buf(), size, is_ended: false, rotation, heading };
        let mut begin = (rotating.heading)(now).begin;
        rotating.put(&mut begin)?;
        Ok(Self(Kind::Rotating(rotating)))
    }

    pub(super) const fn standard_output() -> Self {
        Self(Kind::StandardOutput)
    }

    /// Writes whole lines and takes from `text` what is written, which on an error may be a part.
    pub(super) fn write(&mut self, text: &mut String, now: Date) -> io::Result<()> {
        match &mut self.0 {
            Kind::Rotating(rotating) => rotating.write(text, now),
            Kind::StandardOutput => {
                let mut out = io::stdout().lock();
                out.write_all(text.as_bytes())?;
                text.clear();
                out.flush()
            }
        }
    }

    /// Opens the file anew by its name, which somebody else may have moved away.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        if let Kind::Rotating(rotating) = &mut self.0 {
            let file = append(&rotating.path)?;
            rotating.size = file.metadata()?.len();
            rotating.file = file;
        }
        Ok(())
    }

    /// Says that nothing follows.
    pub(super) fn end(self, now: Date, offset_seconds: i32) -> io::Result<()> {
        match self.0 {
            Kind::Rotating(mut rotating) => {
                let mut end = mail_logs::heading(now, offset_seconds).end;
                rotating.put(&mut end)?;
                rotating.file.sync_all()
            }
            Kind::StandardOutput => Ok(()),
        }
    }
}

impl Rotating {
    fn write(&mut self, text: &mut String, now: Date) -> io::Result<()> {
        if self.rotation.max_size > 0 && self.size >= self.rotation.max_size {
            text.insert_str(0, &self.rotate(now)?);
        }
        self.put(text)
    }

    fn put(&mut self, text: &mut String) -> io::Result<()> {
        while !text.is_empty() {
            let written = match self.file.write(text.as_bytes()) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => written,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.size += written as u64;
            // A write may end within a character only when the disk is full: then it is said again.
            let boundary = text.floor_char_boundary(written);
            text.drain(..boundary);
        }
        Ok(())
    }

    /// The oldest goes, each other becomes one older. A crash in between loses no file, and what
    /// fails is taken up where it failed. Gives the lines that the new file begins with.
    fn rotate(&mut self, now: Date) -> io::Result<String> {
        let Lines { begin, mut end } = (self.heading)(now);
        if !self.is_ended {
            self.put(&mut end)?;
            self.is_ended = true;
        }
        if fs::exists(&self.path)? {
            self.put_aside()?;
        }
        self.file = append(&self.path)?;
        self.size = self.file.metadata()?.len();
        self.is_ended = false;
        Ok(begin)
    }

    fn put_aside(&self) -> io::Result<()> {
        if self.rotation.keep == 0 {
            return fs::remove_file(&self.path);
        }
        for age in (0..self.rotation.keep).rev() {
            match fs::rename(self.aged(age), self.aged(age + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn aged(&self, age: u16) -> PathBuf {
        if age == 0 {
            return self.path.clone();
        }
        let mut name = self.path.as_os_str().to_os_string();
        name.push(format!(".{age}"));
        name.into()
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

#[cfg(test)]
mod tests {
    use std::env;

    use super::*;

    fn heading() -> Heading {
        Box::new(|_| Lines { begin: "begin\n".into(), end: "end\n".into() })
    }

    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Self {
            let name = format!("ringpost-rotate-{name}-{}", std::process::id());
            let path = env::temp_dir().join(name);
            fs::create_dir_all(&path).expect("a temporary directory");
            Self(path)
        }

        fn log(&self) -> PathBuf {
            self.0.join("mail_logs")
        }

        fn read(&self, name: &str) -> String {
            fs::read_to_string(self.0.join(name)).unwrap_or_else(|_| "none".into())
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn full_files_are_kept_in_order_and_the_oldest_goes() {
        let place = Place::new("order");
        let rotation = Rotation { max_size: 12, keep: 2 };
        let now = Date::default();
        let mut sink = Sink::open(&place.log(), rotation, heading(), now).expect("a disk");
        for line in ["line 1\n", "line 2\n", "line 3\n", "line 4\n"] {
            let mut text = line.to_string();
            sink.write(&mut text, now).expect("a disk");
            assert_eq!(text, "");
        }
        sink.end(now, 0).expect("a disk");
        assert!(place.read("mail_logs").starts_with("begin\nline 4\n"));
        assert!(place.read("mail_logs").contains("Info: End Logfile\n"));
        assert_eq!(place.read("mail_logs.1"), "begin\nline 3\nend\n");
        assert_eq!(place.read("mail_logs.2"), "begin\nline 2\nend\n");
        assert_eq!(place.read("mail_logs.3"), "none");
    }

    #[test]
    fn a_file_is_continued_after_a_restart_and_never_rotated_without_a_size() {
        let place = Place::new("restart");
        let rotation = Rotation { max_size: 0, keep: 2 };
        for _ in 0..2 {
            let now = Date::default();
            let mut sink = Sink::open(&place.log(), rotation, heading(), now).expect("a disk");
            sink.write(&mut "line\n".to_string(), now).expect("a disk");
        }
        assert_eq!(place.read("mail_logs"), "begin\nline\nbegin\nline\n");
        assert_eq!(place.read("mail_logs.1"), "none");
    }

    #[test]
    fn what_could_not_be_written_is_still_there() {
        let place = Place::new("gone");
        let now = Date::default();
        let rotation = Rotation { max_size: 1, keep: 0 };
        let mut sink = Sink::open(&place.log(), rotation, heading(), now).expect("a disk");
        fs::remove_dir_all(&place.0).expect("it exists");
        let mut text = "line\n".to_string();
        sink.write(&mut text, now).expect_err("the directory is gone");
        assert_eq!(text, "line\n");
        fs::create_dir_all(&place.0).expect("a disk");
        sink.write(&mut text, now).expect("the disk is back");
        assert_eq!((text.as_str(), place.read("mail_logs").as_str()), ("", "begin\nline\n"));
    }
}
