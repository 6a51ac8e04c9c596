//! What a server offers in its answer to EHLO (RFC 5321 4.1.1.1): only what is offered is used.

use crate::smtp::reply::Reply;

/// The extensions we make use of. A server greeted with HELO offers none.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Extensions {
    /// Commands in groups (RFC 2920).
    pub pipelining: bool,
    /// SIZE is declared in MAIL (RFC 1870).
    pub size: bool,
    /// The largest message the server takes, in octets; none if it names no limit.
    pub max_size: Option<u64>,
    /// RFC 6152.
    pub eight_bit_mime: bool,
    /// RFC 6531.
    pub smtputf8: bool,
    /// RFC 3461.
    pub dsn: bool,
    /// RFC 3207.
    pub starttls: bool,
}

impl Extensions {
    /// Reads the answer to EHLO. What is not understood is passed over, as the RFC wants it.
    #[must_use]
    pub fn parse(reply: &Reply) -> Self {
        let mut offered = Self::default();
        for line in reply.text.split('\n').skip(1) {
            offered.add(line);
        }
        offered
    }

    fn add(&mut self, line: &str) {
        let mut words = line.split_ascii_whitespace();
        let Some(keyword) = words.next() else { return };
        let is = |name: &str| keyword.eq_ignore_ascii_case(name);
        if is("PIPELINING") {
            self.pipelining = true;
        } else if is("SIZE") {
            self.size = true;
            //= RFC 1870 4
            self.max_size = words.next().and_then(|n| n.parse().ok()).filter(|n| *n > 0);
        } else if is("8BITMIME") {
            self.eight_bit_mime = true;
        } else if is("SMTPUTF8") {
            self.smtputf8 = true;
        } else if is("DSN") {
            self.dsn = true;
        } else if is("STARTTLS") {
            self.starttls = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &'static str) -> Extensions {
        Extensions::parse(&Reply { code: 250, status: None, text: text.into() })
    }

    #[test]
    fn keywords_are_taken_in_any_case_and_not_from_the_greeting_line() {
        let all = parse("DSN\npipelining\nSIZE 1000\n8bitmime\nSmtpUtf8\nSTARTTLS\nX-ODD 1 2\n\n");
        assert!(all.pipelining && all.eight_bit_mime && all.smtputf8 && all.starttls && all.size);
        assert!(!all.dsn, "the first line is the server's name");
        assert_eq!(all.max_size, Some(1_000));
    }

    #[test]
    fn a_size_without_a_limit_limits_nothing() {
        for text in ["x\nSIZE", "x\nSIZE 0", "x\nSIZE many", "x\nSIZE 99999999999999999999"] {
            let offered = parse(text);
            assert_eq!((offered.size, offered.max_size), (true, None), "{text}");
        }
        assert_eq!(parse("x"), Extensions::default());
    }
}
