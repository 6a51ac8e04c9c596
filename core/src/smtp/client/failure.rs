//! What a refusal means: RFC 3463 status from the reply, or from its code when it has none.
//!
//! A bare 550 says something else after RCPT than after the content; the status is what retry,
//! bounce and log are decided by.

use alloc::sync::Arc;

use crate::{
    event::{Failure, Status},
    smtp::reply::Reply,
};

/// What a reply was about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum About {
    /// Greeting, EHLO, or the connection as a whole.
    Connection,
    /// MAIL.
    Sender,
    /// RCPT.
    Recipient,
    /// DATA, or the end of the content.
    Content,
}

/// The failure that a 4yz or 5yz states. Other codes count as a transient protocol error.
pub(super) fn from_reply(reply: Reply, about: About, remote: &Arc<str>) -> Failure {
    let status = match reply.status {
        Some(status) if u16::from(status.class) == reply.code / 100 && reply.code >= 400 => status,
        _ => status_of(reply.code, about),
    };
    Failure { status, reply: Some(reply), diagnostic: "".into(), remote: remote.clone() }
}

/// The nearest status for a code without one.
fn status_of(code: u16, about: About) -> Status {
    let class = if code >= 500 { 5 } else { 4 };
    let (subject, detail) = match (code, about) {
        (..400, _) | (500 | 502 | 503, _) => (5, 0),
        (421, _) => (3, 2),
        (501 | 504 | 555, About::Connection | About::Content) => (5, 4),
        (_, About::Connection) => (3, 0),
        (451, _) => (3, 0),
        (452, _) => (3, 1),
        (455 | 504 | 555, _) => (5, 4),
        (552, About::Recipient) => (2, 2),
        (552, _) => (3, 4),
        (501 | 553, About::Sender) => (1, 7),
        (501 | 553, About::Recipient) => (1, 3),
        (551, About::Recipient) => (1, 6),
        (450 | 550, About::Recipient) => (1, 0),
        _ => (0, 0),
    };
    Status::new(class, subject, detail)
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::string::ToString;

    use super::*;

    fn status(code: u16, status: Option<Status>, about: About) -> std::string::String {
        let reply = Reply { code, status, text: "no".into() };
        from_reply(reply, about, &"mx".into()).status.to_string()
    }

    #[test]
    fn a_bare_code_means_what_it_was_said_to() {
        for (code, about, expected) in [
            (550, About::Recipient, "5.1.0"),
            (550, About::Content, "5.0.0"),
            (552, About::Recipient, "5.2.2"),
            (552, About::Sender, "5.3.4"),
            (452, About::Sender, "4.3.1"),
            (421, About::Recipient, "4.3.2"),
            (554, About::Connection, "5.3.0"),
            (250, About::Content, "4.5.0"),
        ] {
            assert_eq!(status(code, None, about), expected, "{code} {about:?}");
        }
    }

    #[test]
    fn a_status_of_the_wrong_class_is_not_believed() {
        assert_eq!(status(550, Some(Status::new(5, 7, 1)), About::Content), "5.7.1");
        assert_eq!(status(550, Some(Status::new(4, 7, 1)), About::Content), "5.0.0");
    }
}
