//! Replies of a server, read from whatever pieces arrive (RFC 5321 4.2). The text is looked at
//! only for the extensions a server offers.

use memchr::memchr;

/// A whole reply, of one line or several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    pub code: u16,
    /// A line of it is `PIPELINING`, which means something only in the reply to EHLO.
    pub offers_pipelining: bool,
}

impl Reply {
    pub fn is_positive(&self) -> bool {
        (200..400).contains(&self.code)
    }
}

/// The server sent something that is no reply, or a reply without end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Bytes received, and how many of them were taken as replies.
#[derive(Debug, Default)]
pub struct Replies {
    received: Vec<u8>,
    taken: usize,
}

impl Replies {
    /// Adds what was received.
    pub fn receive(&mut self, bytes: &[u8]) {
        if self.taken == self.received.len() {
            self.received.clear();
            self.taken = 0;
        }
        self.received.extend_from_slice(bytes);
    }

    /// Takes the next reply, if all of it is here.
    pub fn take(&mut self) -> Result<Option<Reply>, Malformed> {
        let rest = &self.received[self.taken..];
        let mut start = 0;
        let mut offers_pipelining = false;
        while let Some(length) = memchr(b'\n', &rest[start..]) {
            let line = rest[start..start + length].trim_ascii_end();
            start += length + 1;
            let (code, is_last, text) = parse_line(line)?;
            offers_pipelining |= text.eq_ignore_ascii_case(b"PIPELINING");
            if is_last {
                self.taken += start;
                return Ok(Some(Reply { code, offers_pipelining }));
            }
        }
        if rest.len() > REPLY_LENGTH_MAX { Err(Malformed) } else { Ok(None) }
    }
}

/// A line's code, whether it is the last of its reply, and its text.
fn parse_line(line: &[u8]) -> Result<(u16, bool, &[u8]), Malformed> {
    let (digits, rest) = line.split_at_checked(3).ok_or(Malformed)?;
    let code = match digits {
        [hundreds @ b'2'..=b'5', tens @ b'0'..=b'9', ones @ b'0'..=b'9'] => {
            let digit = |byte: &u8| u16::from(byte - b'0');
            digit(hundreds) * 100 + digit(tens) * 10 + digit(ones)
        }
        _ => return Err(Malformed),
    };
    match rest {
        [] => Ok((code, true, rest)),
        [b' ', text @ ..] => Ok((code, true, text)),
        [b'-', text @ ..] => Ok((code, false, text)),
        _ => Err(Malformed),
    }
}

/// Octets of one reply, all its lines together.
pub const REPLY_LENGTH_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(code: u16) -> Reply {
        Reply { code, offers_pipelining: false }
    }

    #[test]
    fn takes_replies_split_anywhere() {
        let stream = b"250-mx.example\r\n250-PIPELINING\r\n250 8BITMIME\r\n354\r\n550 5.1.1 no\r\n";
        for split in 0..stream.len() {
            let mut replies = Replies::default();
            let mut taken = Vec::new();
            for part in [&stream[..split], &stream[split..]] {
                replies.receive(part);
                while let Some(reply) = replies.take().expect("these are replies") {
                    taken.push(reply);
                }
            }
            let first = Reply { code: 250, offers_pipelining: true };
            assert_eq!(taken, [first, reply(354), reply(550)], "split at {split}");
        }
    }

    #[test]
    fn refuses_what_is_no_reply() {
        for wrong in ["hello\r\n", "25\r\n", "250x\r\n", "950 no\r\n", "\r\n"] {
            let mut replies = Replies::default();
            replies.receive(wrong.as_bytes());
            assert_eq!(replies.take(), Err(Malformed), "{wrong:?}");
        }
    }

    #[test]
    fn refuses_a_reply_without_end() {
        let mut replies = Replies::default();
        replies.receive(&b"250-x\r\n".repeat(REPLY_LENGTH_MAX / 7 + 1));
        assert_eq!(replies.take(), Err(Malformed));
    }
}
