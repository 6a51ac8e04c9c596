//! Tokens name one message of one run. Whoever sends, carries or receives mail can be held to
//! account for each of them, because the token travels in a header of its own.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use memchr::{memchr, memmem};

/// The name of one run of a source: the part that all its tokens have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunId(String);

impl RunId {
    /// Accepts 1 to [`RUN_ID_LENGTH_MAX`] ASCII letters and digits, and refuses all else.
    pub fn parse(text: &str) -> Result<Self, String> {
        let fits = (1..=RUN_ID_LENGTH_MAX).contains(&text.len());
        if fits && text.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Ok(Self(text.to_owned()));
        }
        Err(format!("a run is named by 1 to {RUN_ID_LENGTH_MAX} letters and digits"))
    }

    /// A name no other run on this machine has: the process id and the time in milliseconds.
    pub fn of_this_process() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(format!("{:x}t{:x}", std::process::id(), since.as_millis()))
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What a search for the token in the beginning of a content found.
#[derive(Debug, PartialEq, Eq)]
pub enum Search<'a> {
    Found(&'a [u8]),
    /// The header is over, or so long that the search is given up.
    Absent,
    /// The header goes on after these bytes.
    Unfinished,
}

/// Searches the beginning of a content for the token. The field name is matched as the source
/// writes it: a server which changes its case has changed the message.
pub fn search(content: &[u8]) -> Search<'_> {
    let header_end = memmem::find(content, b"\r\n\r\n");
    let header = header_end.map_or(content, |end| &content[..end + 2]);
    if let Some(value) = field_value_start(header) {
        let rest = &header[value..];
        if let Some(end) = memchr(b'\r', rest) {
            let token = rest[..end].trim_ascii();
            return if is_plain(token) { Search::Found(token) } else { Search::Absent };
        }
    }
    if header_end.is_some() || content.len() >= HEADER_LENGTH_MAX {
        return Search::Absent;
    }
    Search::Unfinished
}

fn field_value_start(header: &[u8]) -> Option<usize> {
    if header.starts_with(FIELD_NAME) {
        return Some(FIELD_NAME.len());
    }
    let mut line = [0; FIELD_NAME.len() + 1];
    line[0] = b'\n';
    line[1..].copy_from_slice(FIELD_NAME);
    memmem::find(header, &line).map(|at| at + line.len())
}

/// A token may become the name of a file, so nothing else than these may be in it.
fn is_plain(token: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-' || *byte == b'_';
    (1..=TOKEN_LENGTH_MAX).contains(&token.len()) && token.iter().all(plain)
}

/// The header field that carries the token, with its colon.
pub const FIELD_NAME: &[u8] = b"X-Perf-Token:";

/// Octets of a run's name.
pub const RUN_ID_LENGTH_MAX: usize = 40;

/// Octets of a token: the run, a hyphen, and the decimal digits of a 64-bit number.
pub const TOKEN_LENGTH_MAX: usize = RUN_ID_LENGTH_MAX + 1 + 20;

/// Octets of a header that are searched for the token.
pub const HEADER_LENGTH_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_token_wherever_the_field_stands() {
        let first = b"X-Perf-Token: a1-7\r\nTo: <b@example>\r\n\r\nbody";
        let behind = b"Received: from x\r\n\tby y\r\nX-Perf-Token:a1-8 \r\n\r\n";
        assert_eq!(search(first), Search::Found(b"a1-7"));
        assert_eq!(search(behind), Search::Found(b"a1-8"));
    }

    #[test]
    fn looks_only_into_the_header() {
        let in_body = b"To: <b@example>\r\n\r\nX-Perf-Token: a1-7\r\n";
        let in_another_field = b"Subject: X-Perf-Token: a1-7\r\n\r\n";
        assert_eq!(search(in_body), Search::Absent);
        assert_eq!(search(in_another_field), Search::Absent);
    }

    #[test]
    fn asks_for_more_until_the_line_is_whole() {
        let whole = b"Received: x\r\nX-Perf-Token: run-12\r\n";
        let line_end = whole.len() - 1;
        for end in 0..line_end {
            assert_eq!(search(&whole[..end]), Search::Unfinished, "after {end} octets");
        }
        assert_eq!(search(&whole[..line_end]), Search::Found(b"run-12"));
    }

    #[test]
    fn refuses_a_token_that_could_name_another_directory() {
        assert_eq!(search(b"X-Perf-Token: ../../etc/passwd\r\n\r\n"), Search::Absent);
        assert_eq!(search(b"X-Perf-Token: \r\n\r\n"), Search::Absent);
    }

    #[test]
    fn gives_up_on_an_endless_header() {
        let endless = vec![b'x'; HEADER_LENGTH_MAX];
        assert_eq!(search(&endless), Search::Absent);
    }

    #[test]
    fn runs_are_named_by_letters_and_digits() {
        assert_eq!(RunId::parse("r1").map(|run| run.to_string()), Ok("r1".to_owned()));
        assert!(RunId::parse("").is_err());
        assert!(RunId::parse("a-b").is_err());
        assert!(RunId::parse(&"a".repeat(RUN_ID_LENGTH_MAX + 1)).is_err());
        assert!(RunId::parse(&RunId::of_this_process().to_string()).is_ok());
    }
}
