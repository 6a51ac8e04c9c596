//! How much of everything happened: a fold over events, by the names of AsyncOS's `status detail`.

use std::collections::HashMap;

use ringpost_core::{
    event::{Abort, Event, Failure, Status},
    id::Mid,
    latency::Latency,
};

/// Counts since the start, and two gauges. Recipients are counted, where AsyncOS does, rather than
/// messages.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// Messages whose content came in completely.
    pub messages_received: u64,
    /// Their recipients.
    pub recipients_received: u64,
    /// Octets of their content.
    pub bytes_received: u64,
    /// Reports of non-delivery that were made; each has one recipient.
    pub generated_bounce_recipients: u64,
    /// Recipients refused at RCPT.
    pub rejected_recipients: u64,
    /// Messages a filter dropped.
    pub dropped_messages: u64,
    /// Attempts at a recipient that failed for now.
    pub soft_bounced_events: u64,
    /// Recipients that failed for good, by reason.
    pub hard_bounced: HardBounced,
    /// Recipients a next hop took responsibility for.
    pub delivered_recipients: u64,
    /// Client connections taken, in all.
    pub connections_accepted: u64,
    /// Connections turned away by a limit.
    pub connections_refused: u64,
    /// Client connections open.
    pub connections_in: u64,
    /// Delivery connections open.
    pub connections_out: u64,
    /// How long each stage took.
    pub latency: Latency,
    /// Accepted recipients of messages that are not queued yet.
    receiving: HashMap<Mid, u64>,
}

/// Recipients that failed for good, by reason.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct HardBounced {
    /// The domain has no next hop.
    pub dns: u64,
    /// The next hop refused with 5yz.
    pub five_xx: u64,
    /// A filter bounced the message.
    pub filter: u64,
    /// Too long in the queue, or tried too often.
    pub expired: u64,
    /// Anything else.
    pub other: u64,
}

impl Counters {
    /// Counts one event.
    pub fn count(&mut self, event: &Event) {
        self.latency.observe(event);
        match event {
            Event::ConnectionOpened { .. } => {
                self.connections_accepted += 1;
                self.connections_in += 1;
            }
            Event::ConnectionRefused { .. } => self.connections_refused += 1,
            Event::ConnectionClosed { .. } => {
                self.connections_in = self.connections_in.saturating_sub(1);
            }
            Event::RecipientAccepted { mid, .. } => {
                *self.receiving.entry(*mid).or_default() += 1;
            }
            Event::RecipientRefused { .. } => self.rejected_recipients += 1,
            Event::MessageReceived { mid, size, .. } => {
                self.messages_received += 1;
                self.recipients_received += self.receiving.get(mid).copied().unwrap_or_default();
                self.bytes_received += size;
            }
            Event::MessageRewritten { mid, into, .. } => {
                if let Some(recipients) = self.receiving.remove(mid) {
                    self.receiving.insert(*into, recipients);
                }
            }
            Event::MessageAborted { mid, reason } => self.abort(*mid, reason),
            Event::MessageQueued { mid, .. } | Event::MessageFinished { mid, .. } => {
                self.receiving.remove(mid);
            }
            Event::DeliveryConnectionOpened { .. } => self.connections_out += 1,
            Event::DeliveryConnectionClosed { .. } => {
                self.connections_out = self.connections_out.saturating_sub(1);
            }
            Event::RecipientsDelivered { rids, .. } => {
                self.delivered_recipients += rids.len() as u64;
            }
            Event::RecipientsDeferred { rids, .. } => {
                self.soft_bounced_events += rids.len() as u64;
            }
            Event::RecipientsBounced { rids, failure, .. } => {
                *self.hard_bounced.cell(failure) += rids.len() as u64;
            }
            Event::BounceGenerated { .. } => self.generated_bounce_recipients += 1,
            Event::ConnectionClassified { .. }
            | Event::TlsEstablished { .. }
            | Event::TlsFailed { .. }
            | Event::MessageStarted { .. }
            | Event::SenderRefused { .. }
            | Event::MessageFiltered { .. }
            | Event::LogEntryWritten { .. }
            | Event::PolicyMatched { .. }
            | Event::DeliveryTlsEstablished { .. }
            | Event::DeliveryTlsFailed { .. }
            | Event::ConnectionFailed { .. }
            | Event::RouteFailed { .. }
            | Event::DeliveryStarted { .. }
            | Event::DoubleBounced { .. }
            | Event::MessageRecovered { .. }
            | Event::SpoolFailed { .. }
            | Event::SpoolResumed
            | Event::RecordDamaged { .. } => {}
        }
    }

    /// Recipients of whom nothing is left to do.
    #[must_use]
    pub const fn completed_recipients(&self) -> u64 {
        self.hard_bounced.total() + self.delivered_recipients
    }

    /// Every count with its name in `status detail`, in the order of that command.
    #[must_use]
    pub const fn named(&self) -> [(&'static str, u64); 14] {
        [
            ("Messages Received", self.messages_received),
            ("Recipients Received", self.recipients_received),
            ("Generated Bounce Recipients", self.generated_bounce_recipients),
            ("Rejected Recipients", self.rejected_recipients),
            ("Dropped Messages", self.dropped_messages),
            ("Soft Bounced Events", self.soft_bounced_events),
            ("Completed Recipients", self.completed_recipients()),
            ("Hard Bounced Recipients", self.hard_bounced.total()),
            ("DNS Hard Bounces", self.hard_bounced.dns),
            ("5XX Hard Bounces", self.hard_bounced.five_xx),
            ("Filter Hard Bounces", self.hard_bounced.filter),
            ("Expired Hard Bounces", self.hard_bounced.expired),
            ("Other Hard Bounces", self.hard_bounced.other),
            ("Delivered Recipients", self.delivered_recipients),
        ]
    }

    fn abort(&mut self, mid: Mid, reason: &Abort) {
        let recipients = self.receiving.remove(&mid).unwrap_or_default();
        match reason {
            Abort::DroppedByFilter(_) => self.dropped_messages += 1,
            Abort::BouncedByFilter(_) => self.hard_bounced.filter += recipients,
            Abort::RejectedByFilter(_) | Abort::Receiving | Abort::ReceivingBySender => {}
        }
    }
}

impl HardBounced {
    /// All of them.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.dns + self.five_xx + self.filter + self.expired + self.other
    }

    const fn cell(&mut self, failure: &Failure) -> &mut u64 {
        match failure {
            // What the peer last said is kept when time runs out, so this comes first.
            Failure { status: Status { subject: 4, detail: 7, .. }, .. } => &mut self.expired,
            Failure { reply: Some(reply), .. } if reply.is_permanent() => &mut self.five_xx,
            Failure { status: Status { subject: 1, detail: 2 | 10, .. }, .. } => &mut self.dns,
            _ => &mut self.other,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ringpost_core::{
        address::{Address, ReversePath},
        event::{Finish, RecipientRefusal},
        id::{Dcid, Icid, Rid, Rids},
        smtp::reply::Reply,
    };

    use super::*;

    fn accepted(mid: u64, rid: u32) -> Event {
        Event::RecipientAccepted {
            mid: Mid(mid),
            icid: Icid(1),
            rid: Rid(rid),
            recipient: Address::from_text("a@b.example"),
            took: Duration::ZERO,
        }
    }

    fn received(mid: u64) -> Event {
        Event::MessageReceived {
            mid: Mid(mid),
            sender: ReversePath::Null,
            size: 100,
            message_id: None,
            subject: None,
            took: Duration::ZERO,
        }
    }

    fn bounced(status: Status, reply: Option<Reply>) -> Event {
        let failure = Failure { status, reply, diagnostic: "".into(), remote: "".into() };
        Event::RecipientsBounced {
            dcid: None,
            mid: Mid(1),
            rids: Rids::from_slice(&[Rid(0), Rid(1)]),
            failure: Box::new(failure),
        }
    }

    fn count(events: impl IntoIterator<Item = Event>) -> Counters {
        let mut counters = Counters::default();
        events.into_iter().for_each(|event| counters.count(&event));
        counters
    }

    #[test]
    fn recipients_are_counted_with_their_message_and_forgotten_after() {
        let counters = count([
            accepted(1, 0),
            accepted(1, 1),
            accepted(2, 0),
            Event::RecipientRefused {
                mid: Mid(1),
                icid: Icid(1),
                recipient: Address::from_text("x@b.example"),
                by: RecipientRefusal::Rat,
            },
            received(1),
            Event::MessageRewritten {
                mid: Mid(1),
                into: Mid(3),
                action: "strip-header",
                filter: "f".into(),
            },
            Event::MessageAborted { mid: Mid(3), reason: Abort::BouncedByFilter("f".into()) },
            Event::MessageAborted { mid: Mid(2), reason: Abort::DroppedByFilter("f".into()) },
            Event::MessageFinished { mid: Mid(3), how: Finish::Aborted, took: Duration::ZERO },
        ]);
        assert_eq!((counters.messages_received, counters.recipients_received), (1, 2));
        assert_eq!((counters.rejected_recipients, counters.dropped_messages), (1, 1));
        assert_eq!((counters.hard_bounced.filter, counters.bytes_received), (2, 100));
        assert!(counters.receiving.is_empty());
    }

    #[test]
    fn hard_bounces_are_told_apart_and_completion_adds_up() {
        let refused = Reply::new(550, Status::new(5, 1, 1), "no such user");
        let busy = Reply::new(450, Status::new(4, 2, 1), "later");
        let counters = count([
            bounced(Status::new(5, 1, 1), Some(refused.clone())),
            bounced(Status::new(5, 1, 2), Some(refused)),
            bounced(Status::new(5, 1, 2), None),
            bounced(Status::new(5, 1, 10), None),
            bounced(Status::new(5, 4, 7), Some(busy)),
            bounced(Status::new(5, 7, 4), None),
            Event::RecipientsDelivered {
                dcid: Dcid(1),
                mid: Mid(1),
                rids: Rids::from_slice(&[Rid(2)]),
                response: "".into(),
                took: Duration::from_millis(3),
            },
        ]);
        let expected = HardBounced { dns: 4, five_xx: 4, filter: 0, expired: 2, other: 2 };
        assert_eq!(counters.hard_bounced, expected);
        assert_eq!(counters.completed_recipients(), 13);
        assert!(counters.named().contains(&("Hard Bounced Recipients", 12)));
        assert_eq!(counters.latency.percentiles(ringpost_core::latency::Stage::Deliver).count, 1);
    }
}
