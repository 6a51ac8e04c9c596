//! Contents kept byte for byte as the server sent them, one file each, so that a test can
//! compare what came out with what went in.

use std::io;
use std::path::{Path, PathBuf};

/// Takes out the dots that DATA added (RFC 5321 4.5.2).
pub fn unstuff(content: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(content.len());
    let mut is_line_start = true;
    for line in content.split_inclusive(|byte| *byte == b'\n') {
        plain.extend_from_slice(match line {
            [b'.', rest @ ..] if is_line_start => rest,
            _ => line,
        });
        is_line_start = line.ends_with(b"\r\n");
    }
    plain
}

/// Where a content goes: a file named by its token, with the count behind it from the second
/// on, or by a number when it has no token.
pub fn path(directory: &Path, token: Option<&[u8]>, count: u32, number: u64) -> PathBuf {
    match token.map(String::from_utf8_lossy) {
        Some(token) if count > 1 => directory.join(format!("{token}.{count}")),
        Some(token) => directory.join(token.as_ref()),
        None => directory.join(format!("message-{number}")),
    }
}

/// Writes a content whole or not at all, for tests watch the directory.
pub fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let unfinished = path.with_extension("unfinished");
    std::fs::write(&unfinished, content)?;
    std::fs::rename(unfinished, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_one_dot_from_each_line_that_begins_with_one() {
        assert_eq!(unstuff(b"..a\r\nb.\r\n...\r\n"), b".a\r\nb.\r\n..\r\n");
        assert_eq!(unstuff(b"a\n.b\r\n"), b"a\n.b\r\n", "a bare LF begins no line");
        assert_eq!(unstuff(b""), b"");
    }

    #[test]
    fn names_duplicates_apart() {
        let directory = Path::new("kept");
        assert_eq!(path(directory, Some(b"r-1"), 1, 7), Path::new("kept/r-1"));
        assert_eq!(path(directory, Some(b"r-1"), 2, 8), Path::new("kept/r-1.2"));
        assert_eq!(path(directory, None, 1, 9), Path::new("kept/message-9"));
    }
}
