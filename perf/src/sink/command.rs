//! The commands a sink understands: what a relaying server sends, with any parameters. It is
//! no judge of syntax, for the server under test is not to be held up by its peer.

/// One command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    Ehlo,
    Helo,
    /// With everything behind the colon.
    Mail(&'a [u8]),
    /// With everything behind the colon.
    Rcpt(&'a [u8]),
    Data,
    Bdat {
        octets: u64,
        last: bool,
    },
    StartTls,
    Rset,
    Noop,
    Quit,
    Unknown,
}

impl<'a> Command<'a> {
    /// Reads a line without its line end.
    pub fn parse(line: &'a [u8]) -> Self {
        let verb_end = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
        let (verb, rest) = line.split_at(verb_end);
        let rest = rest.trim_ascii();
        match verb.to_ascii_uppercase().as_slice() {
            b"EHLO" => Self::Ehlo,
            b"HELO" => Self::Helo,
            b"MAIL" => behind(b"FROM:", rest).map_or(Self::Unknown, Self::Mail),
            b"RCPT" => behind(b"TO:", rest).map_or(Self::Unknown, Self::Rcpt),
            b"DATA" => Self::Data,
            b"BDAT" => parse_bdat(rest).unwrap_or(Self::Unknown),
            b"STARTTLS" => Self::StartTls,
            b"RSET" => Self::Rset,
            b"NOOP" => Self::Noop,
            b"QUIT" => Self::Quit,
            _ => Self::Unknown,
        }
    }
}

/// The path at the beginning of a MAIL or RCPT argument, without its brackets and parameters.
pub fn path(argument: &[u8]) -> &[u8] {
    let argument = argument.trim_ascii();
    match argument.strip_prefix(b"<") {
        Some(rest) => match rest.iter().position(|byte| *byte == b'>') {
            Some(end) => &rest[..end],
            None => rest,
        },
        None => argument.split(|byte| *byte == b' ').next().unwrap_or_default(),
    }
}

fn behind<'a>(keyword: &[u8], rest: &'a [u8]) -> Option<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(keyword.len())?;
    head.eq_ignore_ascii_case(keyword).then_some(tail)
}

//= RFC 3030 2
fn parse_bdat(rest: &[u8]) -> Option<Command<'static>> {
    let text = std::str::from_utf8(rest).ok()?;
    let mut words = text.split_ascii_whitespace();
    let octets = words.next()?.parse().ok()?;
    match words.next() {
        None => Some(Command::Bdat { octets, last: false }),
        Some(word) if word.eq_ignore_ascii_case("LAST") => {
            Some(Command::Bdat { octets, last: true })
        }
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_any_parameters() {
        let mail = Command::parse(b"mail from:<a@b> SIZE=5 BODY=8BITMIME SMTPUTF8 RET=HDRS");
        let Command::Mail(argument) = mail else {
            panic!("{mail:?}");
        };
        assert_eq!(path(argument), b"a@b");
        let rcpt = Command::parse("RCPT TO: <é@b> NOTIFY=NEVER".as_bytes());
        let Command::Rcpt(argument) = rcpt else {
            panic!("{rcpt:?}");
        };
        assert_eq!(path(argument), "é@b".as_bytes());
        assert_eq!(path(b"<>"), b"");
    }

    #[test]
    fn reads_chunks() {
        assert_eq!(Command::parse(b"BDAT 86"), Command::Bdat { octets: 86, last: false });
        assert_eq!(Command::parse(b"bdat 0 last"), Command::Bdat { octets: 0, last: true });
        for wrong in [&b"BDAT"[..], b"BDAT x", b"BDAT -1 LAST", b"BDAT 5 FIRST"] {
            assert_eq!(Command::parse(wrong), Command::Unknown);
        }
    }

    #[test]
    fn knows_no_more_than_it_must() {
        assert_eq!(Command::parse(b"quit"), Command::Quit);
        assert_eq!(Command::parse(b""), Command::Unknown);
        assert_eq!(Command::parse(b"MAIL <a@b>"), Command::Unknown);
    }
}
