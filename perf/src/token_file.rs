//! A file of tokens, one a line, that lags at most a tenth of a second behind what it records.
//! A write for each message would cost the tools more than the message itself.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

/// Tokens that wait for the next flush, and the file they go to.
#[derive(Debug)]
pub struct TokenFile {
    file: File,
    waiting: Vec<u8>,
}

impl TokenFile {
    /// Creates the file, or appends to one that a former run has left.
    pub fn append_to(path: &Path) -> io::Result<Self> {
        let file = File::options().create(true).append(true).open(path)?;
        Ok(Self { file, waiting: Vec::new() })
    }

    /// Takes a token; it is written at once only when [`WAITING_MAX`] octets have gathered.
    pub fn record(&mut self, token: &[u8]) -> io::Result<()> {
        self.waiting.extend_from_slice(token);
        self.waiting.push(b'\n');
        if self.waiting.len() >= WAITING_MAX { self.flush() } else { Ok(()) }
    }

    /// Writes what waits; to be called every [`FLUSH_INTERVAL`] and at the end.
    pub fn flush(&mut self) -> io::Result<()> {
        if !self.waiting.is_empty() {
            self.file.write_all(&self.waiting)?;
            self.waiting.clear();
        }
        Ok(())
    }
}

/// How long a token waits before it is in the file.
pub const FLUSH_INTERVAL: Duration = Duration::from_millis(100);

/// Octets that may wait for the next flush.
pub const WAITING_MAX: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_was_there_and_adds_a_line_for_each_token() {
        let name = format!("ringpost-perf-tokens-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, b"old-1\n").expect("the temporary directory is writable");
        let mut tokens = TokenFile::append_to(&path).expect("the file was just written");
        tokens.record(b"a-1").expect("it only waits");
        tokens.record(b"a-2").expect("it only waits");
        assert_eq!(std::fs::read(&path).expect("still there"), b"old-1\n");
        tokens.flush().expect("the file is writable");
        tokens.flush().expect("nothing waits");
        assert_eq!(std::fs::read(&path).expect("still there"), b"old-1\na-1\na-2\n");
        std::fs::remove_file(&path).expect("it is ours");
    }
}
