//! What an attempt means for its recipients: deferred or bounced, with the words logs and DSNs use.
//!
//! The codes are RFC 3463's; the words are those operators of AsyncOS search their logs for.

use alloc::sync::Arc;

use ringpost_core::{
    event::{Failure, RouteFailure, Status},
    time::Date,
};

use crate::retry::{BounceProfile, Retry};

/// What becomes of recipients after a failed attempt.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// They are tried again.
    Deferred { failure: Failure, until: Date },
    /// They have failed for good, by this failure (which may say that time ran out).
    Bounced { failure: Failure },
}

/// Judges an attempt's failure.
///
/// `attempts` counts this one (the first is 1); `jitter` is as for [`BounceProfile::next_attempt`].
#[must_use]
pub fn judge(
    failure: Failure,
    profile: &BounceProfile,
    attempts: u32,
    first_queued: Date,
    now: Date,
    jitter: u64,
) -> Outcome {
    if !failure.status.is_transient() {
        return Outcome::Bounced { failure };
    }
    match profile.next_attempt(attempts, first_queued, now, jitter) {
        Retry::At(until) => Outcome::Deferred { failure, until },
        Retry::GiveUp => Outcome::Bounced { failure: expired(Some(failure)) },
    }
}

/// The failure of recipients whose time or retries ran out; it keeps what was last heard.
#[must_use]
pub fn expired(last: Option<Failure>) -> Failure {
    let status = Status::new(5, 4, 7);
    match last {
        Some(failure) => Failure { status, ..failure },
        None => failed(status, reason(status).into(), &Arc::default()),
    }
}

/// The failure of a connection that could not be made, or broke before any transaction.
#[must_use]
pub fn connection_failed(remote: &Arc<str>, diagnostic: Arc<str>) -> Failure {
    failed(Status::new(4, 4, 1), diagnostic, remote)
}

/// The failure of a connection that broke during a transaction.
#[must_use]
pub fn connection_lost(remote: &Arc<str>, diagnostic: Arc<str>) -> Failure {
    failed(Status::new(4, 4, 2), diagnostic, remote)
}

/// The failure of recipients in a domain without next hops.
#[must_use]
pub fn route_failed(domain: &str, failure: &RouteFailure) -> Failure {
    let (status, diagnostic): (_, Arc<str>) = match failure {
        RouteFailure::NoSuchDomain => {
            (Status::new(5, 1, 2), alloc::format!("domain {domain} does not exist").into())
        }
        //= RFC 7505 4.2
        RouteFailure::NullMx => {
            (Status::new(5, 1, 10), alloc::format!("domain {domain} accepts no mail").into())
        }
        RouteFailure::NoAddress => {
            (Status::new(5, 1, 2), alloc::format!("domain {domain} has no mail host").into())
        }
        RouteFailure::Loop => {
            (Status::new(5, 4, 6), alloc::format!("mail for {domain} leads back here").into())
        }
        RouteFailure::Unavailable(reason) => (Status::new(4, 4, 3), reason.clone()),
    };
    failed(status, diagnostic, &Arc::default())
}

/// A status in words, as `mail_logs` print it after the code (`Unknown address error`).
///
/// A detail nobody has registered reads as its subject's "other".
#[must_use]
pub fn reason(status: Status) -> &'static str {
    let subject = REASONS.get(usize::from(status.subject)).unwrap_or(&REASONS[0]);
    subject.get(usize::from(status.detail)).unwrap_or(&subject[0])
}

fn failed(status: Status, diagnostic: Arc<str>, remote: &Arc<str>) -> Failure {
    Failure { status, reply: None, diagnostic, remote: remote.clone() }
}

/// By subject, then detail (RFC 3463 3; 1.10 RFC 7505; 7.8 on RFC 4954 and its registry).
const REASONS: [&[&str]; 8] = [
    &["Other undefined status"],
    &[
        "Unknown address error",
        "Bad destination mailbox address",
        "Bad destination host",
        "Bad destination mailbox address syntax",
        "Destination mailbox address ambiguous",
        "Destination address valid",
        "Destination mailbox has moved, no forwarding address",
        "Bad sender's mailbox address syntax",
        "Bad sender's system address",
        "Message relayed to non-compliant mailer",
        "Recipient address has null MX",
    ],
    &[
        "Other mailbox problem",
        "Mailbox disabled, not accepting messages",
        "Mailbox full",
        "Message length exceeds administrative limit",
        "Mailing list expansion problem",
    ],
    &[
        "Other mail system problem",
        "Mail system full",
        "System not accepting network messages",
        "System not capable of selected features",
        "Message too big for system",
        "System incorrectly configured",
    ],
    &[
        "Other network or routing problem",
        "No answer from host",
        "Bad connection",
        "Directory server failure",
        "Unable to route",
        "Mail system congestion",
        "Routing loop detected",
        "Delivery expired (message too old)",
    ],
    &[
        "Other protocol problem",
        "Invalid command",
        "Syntax error",
        "Too many recipients",
        "Invalid command arguments",
        "Wrong protocol version",
        "Authentication exchange line is too long",
    ],
    &[
        "Other media error",
        "Media not supported",
        "Conversion required and prohibited",
        "Conversion required but not supported",
        "Conversion with loss performed",
        "Conversion failed",
        "Message content not available",
        "Non-ASCII addresses not permitted for that sender/recipient",
    ],
    &[
        "Other security problem",
        "Delivery not authorized, message refused",
        "Mailing list expansion prohibited",
        "Security conversion required but not possible",
        "Security features not supported",
        "Cryptographic failure",
        "Cryptographic algorithm not supported",
        "Message integrity failure",
        "Authentication credentials invalid",
        "Authentication mechanism is too weak",
        "Encryption needed",
    ],
];

#[cfg(test)]
mod tests {
    extern crate std;

    use core::time::Duration;
    use std::string::ToString;

    use ringpost_core::smtp::reply::Reply;

    use super::*;

    const MIDDLE: u64 = 1 << 63;

    fn soft() -> Failure {
        let status = Status::new(4, 2, 2);
        Failure {
            status,
            reply: Some(Reply::new(452, status, "mailbox full")),
            diagnostic: "".into(),
            remote: "mx.example".into(),
        }
    }

    fn judged(failure: Failure, attempts: u32, age: Duration) -> Outcome {
        let queued = Date::from_millis(0);
        judge(failure, &BounceProfile::default(), attempts, queued, queued + age, MIDDLE)
    }

    #[test]
    fn a_transient_failure_is_tried_again_after_the_profiles_wait() {
        let until = Date::from_millis(61_000);
        let outcome = judged(soft(), 1, Duration::from_secs(1));
        assert_eq!(outcome, Outcome::Deferred { failure: soft(), until });
    }

    #[test]
    fn a_permanent_failure_bounces_as_it_is() {
        let failure = Failure { status: Status::new(5, 1, 1), ..soft() };
        let outcome = judged(failure.clone(), 1, Duration::ZERO);
        assert_eq!(outcome, Outcome::Bounced { failure });
    }

    #[test]
    fn when_retries_or_time_run_out_the_last_reply_is_kept() {
        let failure = Failure { status: Status::new(5, 4, 7), ..soft() };
        for (attempts, age) in [(101, 0), (3, 72 * 3_600 + 1)] {
            let outcome = judged(soft(), attempts, Duration::from_secs(age));
            assert_eq!(outcome, Outcome::Bounced { failure: failure.clone() });
        }
        assert_eq!(&*expired(None).diagnostic, "Delivery expired (message too old)");
    }

    #[test]
    fn only_an_unavailable_dns_is_worth_another_try() {
        for (failure, status) in [
            (RouteFailure::NoSuchDomain, "5.1.2"),
            (RouteFailure::NullMx, "5.1.10"),
            (RouteFailure::NoAddress, "5.1.2"),
            (RouteFailure::Loop, "5.4.6"),
            (RouteFailure::Unavailable("SERVFAIL".into()), "4.4.3"),
        ] {
            assert_eq!(route_failed("a.example", &failure).status.to_string(), status);
        }
        assert!(connection_failed(&"mx".into(), "refused".into()).status.is_transient());
        assert!(connection_lost(&"mx".into(), "reset".into()).status.is_transient());
    }

    #[test]
    fn statuses_have_the_words_of_mail_logs() {
        for (class, subject, detail, text) in [
            (5, 1, 0, "Unknown address error"),
            (4, 1, 0, "Unknown address error"),
            (5, 1, 2, "Bad destination host"),
            (5, 3, 0, "Other mail system problem"),
            (5, 4, 7, "Delivery expired (message too old)"),
            (4, 4, 1, "No answer from host"),
            (5, 7, 1, "Delivery not authorized, message refused"),
            (5, 7, 606, "Other security problem"),
            (5, 9, 1, "Other undefined status"),
        ] {
            assert_eq!(reason(Status::new(class, subject, detail)), text);
        }
    }
}
