//! What a status means, for someone who has never heard of SMTP (RFC 3463).

use ringpost_core::event::{Failure, Status};

/// A sentence.
pub(super) const fn meaning(failure: &Failure) -> &'static str {
    match failure.status {
        // Exchange Online's way of saying that it knows no such recipient: it did answer.
        Status { class: 5, subject: 4, detail: 1 } if failure.reply.is_some() => {
            "The recipient's server does not take mail for this address."
        }
        status => meaning_of_status(status),
    }
}

const fn meaning_of_status(status: Status) -> &'static str {
    match (status.subject, status.detail) {
        (1, 0 | 1) => "There is no such address at the recipient's organization.",
        (1, 2) => "The domain of the address does not exist, or takes no mail.",
        (1, 3) => "The address is not written as an address should be.",
        (1, 6) => "The recipient has moved, and left no new address.",
        (1, 7 | 8) => "The recipient's server does not accept your address as a sender.",
        (1, 10) => "The domain of the address has declared that it takes no mail.",
        (1, _) => "Something is wrong with the address.",
        (2, 1) => "The recipient's mailbox is switched off.",
        (2, 2) => "The recipient's mailbox is full.",
        (2, 3) | (3, 4) => "The message is larger than the recipient's server accepts.",
        (2, _) => "Something is wrong with the recipient's mailbox.",
        (3, 1) => "The recipient's mail system has no room left.",
        (3, _) => "The recipient's mail system does not accept the message at present.",
        (4, 1) => "The recipient's server did not answer.",
        (4, 2) => "The connection to the recipient's server broke.",
        (4, 3 | 4) => "No way to the recipient's server could be found.",
        (4, 6) => "The message goes round in a circle.",
        (4, 7) => "It could not be delivered within the time allowed.",
        (4, _) => "The network did not carry the message to the recipient's server.",
        (5, 3) => "The message has more recipients than the recipient's server accepts.",
        (5, _) => "The recipient's server and ours did not understand each other.",
        (6, 7) => "The recipient's server does not support internationalized addresses.",
        (6, _) => "The recipient's server cannot handle the form of the message.",
        (7, 4 | 5 | 10 | 11) => "No connection that is safe enough could be made.",
        (7, _) => "The message was refused by a rule of policy or security.",
        (_, _) if status.class == 4 => "The trouble was temporary, but did not end in time.",
        (_, _) => "The recipient's server refused the message.",
    }
}

#[cfg(test)]
mod tests {
    use ringpost_core::smtp::reply::Reply;

    use super::*;

    #[test]
    fn a_server_that_refuses_has_answered() {
        let status = Status::new(5, 4, 1);
        let mut failure = Failure {
            status,
            reply: None,
            diagnostic: "no answer".into(),
            remote: "mx.example".into(),
        };
        assert_eq!(meaning(&failure), "The recipient's server did not answer.");
        failure.reply = Some(Reply::new(550, status, "Access denied"));
        assert!(meaning(&failure).contains("does not take mail for this address"));
    }
}
