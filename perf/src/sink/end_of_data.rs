//! Finds the end of a content (RFC 5321 4.1.1.4) in whatever pieces it arrives. Nothing is
//! copied, and a vectorised search looks at the bytes between one piece's ends.

use memchr::memmem;

/// How much of CRLF `.` CRLF the bytes so far end with.
#[derive(Clone, Debug)]
pub struct EndOfData {
    matched: usize,
}

impl Default for EndOfData {
    /// The line end of the DATA command counts: `.` may be the first line.
    fn default() -> Self {
        Self { matched: 2 }
    }
}

impl EndOfData {
    /// Scans the next piece; when the content ends in it, returns the number of its octets up
    /// to the end of the line with the dot, and is ready for the next content.
    pub fn scan(&mut self, piece: &[u8]) -> Option<usize> {
        let mut at = 0;
        while self.matched > 0 {
            let byte = *piece.get(at)?;
            at += 1;
            self.matched = advance(self.matched, byte);
            if self.matched == FINAL_DOT.len() {
                *self = Self::default();
                return Some(at);
            }
        }
        if let Some(found) = memmem::find(&piece[at..], FINAL_DOT) {
            *self = Self::default();
            return Some(at + found + FINAL_DOT.len());
        }
        self.matched = matched_at_end(&piece[at..]);
        None
    }
}

/// The state after one more byte: the longest beginning of the pattern that ends with it.
fn advance(matched: usize, byte: u8) -> usize {
    if FINAL_DOT[matched] == byte {
        return matched + 1;
    }
    // A beginning of the pattern which is also its end is never longer than the one CR.
    if byte == b'\r' { 1 } else { 0 }
}

fn matched_at_end(piece: &[u8]) -> usize {
    let longest = FINAL_DOT.len() - 1;
    (1..=longest).rev().find(|length| piece.ends_with(&FINAL_DOT[..*length])).unwrap_or(0)
}

/// The line with the dot, and the end of the line before it.
pub const FINAL_DOT: &[u8] = b"\r\n.\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    const STREAMS: [&[u8]; 10] = [
        b".\r\n",
        b"text\r\n.\r\nMAIL",
        b"\r\n.\r\n",
        b"..\r\n.\r\n",
        b"a\r\n.\r\r\n.\r\n",
        b"a\r\n\r\n.\r\n.\r\n",
        b"a\n.\n\r\n..\r\n.x\r\n.\r\n",
        b"\r\r\n.\r\n",
        b"no end\r\n.\r",
        b"bare\n.\r\nor\r\n.\nis none\r\n",
    ];

    /// What a slow and plain search finds.
    fn plain(stream: &[u8]) -> Option<usize> {
        let with_line_before = [b"\r\n", stream].concat();
        let windows = with_line_before.windows(FINAL_DOT.len());
        windows.into_iter().position(|window| window == FINAL_DOT).map(|at| at + 3)
    }

    fn scan_in_pieces(pieces: &[&[u8]]) -> Option<usize> {
        let mut scan = EndOfData::default();
        let mut before = 0;
        for piece in pieces {
            if let Some(length) = scan.scan(piece) {
                return Some(before + length);
            }
            before += piece.len();
        }
        None
    }

    #[test]
    fn finds_the_end_over_every_split_in_three() {
        for stream in STREAMS {
            let expected = plain(stream);
            for first in 0..=stream.len() {
                for second in first..=stream.len() {
                    let pieces = [&stream[..first], &stream[first..second], &stream[second..]];
                    assert_eq!(scan_in_pieces(&pieces), expected, "{stream:?} {first} {second}");
                }
            }
        }
    }

    #[test]
    fn finds_the_end_byte_by_byte() {
        for stream in STREAMS {
            let bytes: Vec<&[u8]> = stream.chunks(1).collect();
            assert_eq!(scan_in_pieces(&bytes), plain(stream));
        }
    }

    #[test]
    fn is_ready_for_the_next_content() {
        let mut scan = EndOfData::default();
        assert_eq!(scan.scan(b"a\r\n.\r\n"), Some(6));
        assert_eq!(scan.scan(b".\r\n"), Some(3));
    }
}
