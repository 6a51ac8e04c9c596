//! Content on its way out: dots stuffed, line endings made right, the final dot (RFC 5321 4.5.2).
//!
//! What we write can be read in one way only, or a peer that takes a bare LF for a line ending
//! would find a second message in the first ("SMTP smuggling").

use alloc::vec::Vec;

/// Where in a line the content stands between two pieces of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stuffing {
    /// At the beginning of a line.
    Start,
    /// Inside a line.
    Within,
    /// After a CR that is not written yet: what follows decides what it is.
    Return,
}

impl Stuffing {
    /// Writes `bytes`, which follow what was written before.
    pub(super) fn write(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let (mut from, mut at) = (0, 0);
        while at < bytes.len() {
            match *self {
                Self::Start => {
                    //= RFC 5321 4.5.2
                    if bytes[at] == b'.' {
                        out.extend_from_slice(&bytes[from..at]);
                        out.push(b'.');
                        from = at;
                    }
                    *self = Self::Within;
                }
                Self::Within => {
                    let Some(end) = memchr::memchr2(b'\r', b'\n', &bytes[at..]) else {
                        break;
                    };
                    at += end;
                    match (bytes[at], bytes.get(at + 1)) {
                        (b'\r', Some(b'\n')) => {
                            at += 2;
                            *self = Self::Start;
                        }
                        (b'\r', _) => {
                            out.extend_from_slice(&bytes[from..at]);
                            at += 1;
                            from = at;
                            *self = Self::Return;
                        }
                        //= RFC 5321 2.3.8
                        (_, _) => {
                            out.extend_from_slice(&bytes[from..at]);
                            out.extend_from_slice(b"\r\n");
                            at += 1;
                            from = at;
                            *self = Self::Start;
                        }
                    }
                }
                Self::Return => {
                    debug_assert_eq!(from, at, "nothing is skipped after a CR");
                    if bytes[at] == b'\n' {
                        out.extend_from_slice(b"\r\n");
                        at += 1;
                        from = at;
                        *self = Self::Start;
                    } else {
                        // A line ending here would make a header field out of half of one.
                        out.push(b' ');
                        *self = Self::Within;
                    }
                }
            }
        }
        out.extend_from_slice(&bytes[from..]);
    }

    /// Writes the end of the content: a line ending if one is missing, and the final dot.
    pub(super) fn finish(self, out: &mut Vec<u8>) {
        let end: &[u8] = match self {
            Self::Start => b".\r\n",
            Self::Within | Self::Return => b"\r\n.\r\n",
        };
        out.extend_from_slice(end);
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec;

    use super::*;

    fn write(pieces: &[&[u8]]) -> Vec<u8> {
        let (mut stuffing, mut out) = (Stuffing::Start, vec![]);
        for piece in pieces {
            stuffing.write(piece, &mut out);
        }
        stuffing.finish(&mut out);
        out
    }

    #[test]
    fn content_is_the_same_however_it_is_split() {
        for (content, expected) in [
            (b"".as_slice(), b".\r\n".as_slice()),
            (b".", b"..\r\n.\r\n"),
            (b"a", b"a\r\n.\r\n"),
            (b"a\r\n", b"a\r\n.\r\n"),
            (b".a\r\n.\r\n..\r\nb.c", b"..a\r\n..\r\n...\r\nb.c\r\n.\r\n"),
            (b"a\n.\nb\r.\rc", b"a\r\n..\r\nb . c\r\n.\r\n"),
            (b"a\r\r\n.\r", b"a \r\n..\r\n.\r\n"),
            (b"a\r\n\r\n.b\r\r", b"a\r\n\r\n..b \r\n.\r\n"),
        ] {
            assert_eq!(write(&[content]), expected);
            for first in 0..=content.len() {
                for second in first..=content.len() {
                    let pieces = [&content[..first], &content[first..second], &content[second..]];
                    assert_eq!(write(&pieces), expected, "{content:?} at {first} and {second}");
                }
            }
        }
    }

    #[test]
    fn the_end_stands_once_and_at_the_end() {
        for ending in ["\r\n.\r\n", "\n.\n", "\r.\r", "\n.\r\n", "\r\n.\n", "\r\n.\r", "\n\r.\r\n"]
        {
            let content = std::format!("a{ending}MAIL FROM:<eve@example.com>\r\n");
            let out = write(&[content.as_bytes()]);
            assert!(out.ends_with(b"\r\n.\r\n"));
            let inside = &out[..out.len() - 5];
            let mut lines = inside.split(|byte| matches!(byte, b'\r' | b'\n'));
            assert!(lines.all(|line| line != b"."), "{ending:?}");
        }
    }
}
