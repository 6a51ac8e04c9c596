//! The ledger: what was promised, what arrived, and whether the two agree.
//!
//! It hears from the clients what they were told, from the next hops what they accepted, and from
//! the gateway its events and what it knows to be durable. A copy too many needs its excuse.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use ringpost_core::{
    envelope::Envelope,
    event::{Event, Failure, Finish},
    id::{Mid, Rid, Rids},
    smtp::client::Outcome,
};

/// All that is known of one world.
#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) totals: Totals,
    mails: BTreeMap<u64, Mail>,
    reports: BTreeMap<Mid, Report>,
    /// What the gateway took in: whose content it is, and who gets it.
    admitted: BTreeMap<Mid, (Letter, Vec<String>)>,
    copies: BTreeMap<(Letter, String), Vec<Copy>>,
    /// How far each message is in this life of the process.
    stages: BTreeMap<Mid, Stage>,
    /// Recipients whose outcome is known, in this life.
    concluded: BTreeSet<(Mid, Rid)>,
    /// Recipients whose outcome is on the disk.
    durable: BTreeSet<(Mid, Rid)>,
    bounced: BTreeSet<(Mid, Rid)>,
    /// How often a message could not be read when its content was wanted.
    unreadable: BTreeMap<(Mid, Rid), u32>,
    /// Domains that have said no for good.
    refusing: BTreeSet<Arc<str>>,
    /// Connections that ended badly.
    lost: BTreeSet<u64>,
    open: BTreeMap<Arc<str>, u32>,
    violation: Option<String>,
}

/// A message as its client composed it.
pub(crate) struct Mail {
    sender: Option<String>,
    recipients: Vec<String>,
    refused: BTreeSet<String>,
    content: Vec<u8>,
    sent: Sent,
}

/// What the client knows of its message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Sent {
    /// The content was never complete.
    Nothing,
    /// It was, and no answer came or the answer was "not now".
    Unknown,
    Accepted,
    Refused,
}

/// Content: a client's by its token, a report by its number.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Letter {
    Mail(u64),
    Report(Mid),
}

struct Report {
    of: Mid,
    rids: Rids,
    content: Vec<u8>,
    is_queued: bool,
}

/// One acceptance by a next hop.
struct Copy {
    connection: u64,
    /// The gateway has heard of it.
    is_learned: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    Started,
    Received,
    Queued,
    Aborted,
    Finished,
}

/// What happened in a run, so that a test can see that everything did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Totals {
    pub(crate) accepted: u64,
    pub(crate) unknown: u64,
    pub(crate) refused: u64,
    pub(crate) broken_off: u64,
    pub(crate) spilled: u64,
    pub(crate) delivered: u64,
    pub(crate) duplicates: u64,
    pub(crate) ambiguous: u64,
    pub(crate) deferred: u64,
    pub(crate) bounced: u64,
    pub(crate) reports: u64,
    pub(crate) handovers: u64,
    pub(crate) refused_items: u64,
    pub(crate) full_limits: u64,
    pub(crate) kills: u64,
    pub(crate) power_cuts: u64,
    pub(crate) recovered: u64,
    pub(crate) copied: u64,
    pub(crate) failed_disks: u64,
    pub(crate) full_disks: u64,
    pub(crate) steps: u64,
    pub(crate) seconds: u64,
}

impl Mail {
    pub(crate) const fn new(
        sender: Option<String>,
        recipients: Vec<String>,
        content: Vec<u8>,
    ) -> Self {
        let refused = BTreeSet::new();
        Self { sender, recipients, refused, content, sent: Sent::Nothing }
    }
}

/// What the clients say.
impl Ledger {
    pub(crate) fn compose(&mut self, token: u64, mail: Mail) {
        self.mails.insert(token, mail);
    }

    pub(crate) fn mail(&self, token: u64) -> (Option<String>, Vec<String>, Vec<u8>) {
        let mail = &self.mails[&token];
        (mail.sender.clone(), mail.recipients.clone(), mail.content.clone())
    }

    pub(crate) fn sent(&self, token: u64) -> Sent {
        self.mails[&token].sent
    }

    pub(crate) fn note(&mut self, token: u64, sent: Sent) {
        self.mails.get_mut(&token).expect("it was composed").sent = sent;
    }

    pub(crate) fn refuse(&mut self, token: u64, recipient: &str) {
        let mail = self.mails.get_mut(&token).expect("it was composed");
        mail.refused.insert(recipient.to_owned());
    }
}

/// What the next hops say.
impl Ledger {
    pub(crate) fn connected(&mut self, _number: u64, domain: &Arc<str>, limit: u32) {
        let open = self.open.entry(Arc::clone(domain)).or_default();
        *open += 1;
        self.totals.full_limits += u64::from(*open == limit);
        if *open > limit {
            let violation = format!("{open} connections to {domain}, whose limit is {limit}");
            self.violated(violation);
        }
    }

    pub(crate) fn closed(&mut self, number: u64, domain: &Arc<str>, is_lost: bool) {
        *self.open.get_mut(domain).expect("it was open") -= 1;
        if is_lost {
            self.lose(number);
        }
    }

    pub(crate) fn lose(&mut self, number: u64) {
        self.lost.insert(number);
    }

    pub(crate) fn refused(&mut self, domain: &Arc<str>) {
        self.refusing.insert(Arc::clone(domain));
    }

    /// A next hop takes responsibility for a message.
    pub(crate) fn accepted(
        &mut self,
        connection: u64,
        sender: &str,
        recipients: &[String],
        content: &[u8],
    ) {
        let letter = match self.identify(sender, content) {
            Ok(letter) => letter,
            Err(violation) => return self.violated(violation),
        };
        for recipient in recipients {
            self.totals.delivered += 1;
            let copies = self.copies.entry((letter, recipient.clone())).or_default();
            self.totals.duplicates += u64::from(!copies.is_empty());
            let lost = &self.lost;
            let has_excuse = |copy: &Copy| copy.is_learned || lost.contains(&copy.connection);
            if !copies.iter().all(has_excuse) {
                self.violation =
                    Some(format!("{letter:?} came twice to {recipient} without cause"));
            }
            copies.push(Copy { connection, is_learned: false });
        }
    }

    /// Whose content it is; it must be whole.
    fn identify(&self, sender: &str, content: &[u8]) -> Result<Letter, String> {
        if content.starts_with(b"Received:") {
            let original = without_first_field(content);
            let token = number_after(original, b"X-Token: ").unwrap_or_default();
            let mail = self.mails.get(&token).ok_or("something nobody sent was delivered")?;
            if original != mail.content {
                return Err(format!("mail {token} was not delivered whole"));
            }
            if mail.sender.as_deref().unwrap_or_default() != sender {
                return Err(format!("mail {token} came from {sender}"));
            }
            return Ok(Letter::Mail(token));
        }
        let mid = find(content, b"\r\nMessage-ID: <");
        let mid = mid.and_then(|at| number_after(&content[at..], b"\r\nMessage-ID: <"));
        let mid = Mid(mid.ok_or("neither mail nor report")?);
        match self.reports.get(&mid) {
            Some(report) if report.content == content && sender.is_empty() => {
                Ok(Letter::Report(mid))
            }
            _ => Err(format!("report {mid} was not delivered whole")),
        }
    }
}

/// What the gateway says.
impl Ledger {
    pub(crate) fn admitted(&mut self, mid: Mid, token: u64, envelope: &Envelope) {
        let addresses = envelope.recipients.iter().map(|it| it.address.as_str().to_owned());
        self.admitted.insert(mid, (Letter::Mail(token), addresses.collect()));
    }

    pub(crate) fn reports(&mut self, mid: Mid, of: Mid, rids: &Rids, content: Vec<u8>) {
        self.totals.reports += 1;
        let Some((Letter::Mail(token), _)) = self.admitted.get(&of) else {
            return self.violated(format!("{mid} reports about the report {of}"));
        };
        let sender = self.mails[token].sender.clone().expect("nobody hears of its failure");
        self.admitted.insert(mid, (Letter::Report(mid), vec![sender]));
        let rids = rids.clone();
        self.reports.insert(mid, Report { of, rids, content, is_queued: false });
    }

    /// A transaction is over.
    pub(crate) fn attempted(&mut self, connection: u64, mid: Mid, outcome: &Outcome) {
        self.totals.ambiguous += u64::from(outcome.ambiguous);
        let (letter, recipients) = &self.admitted[&mid];
        for &rid in &outcome.delivered {
            let key = (*letter, recipients[rid.0 as usize].clone());
            let copies = self.copies.get_mut(&key).into_iter().flatten();
            let mut heard = copies.filter(|copy| copy.connection == connection);
            match heard.next_back() {
                Some(copy) => copy.is_learned = true,
                None => self.violation = Some(format!("{key:?} was not accepted")),
            }
            self.concluded.insert((mid, rid));
        }
    }

    /// The message could not be read. A home that has not heard of its new place yet may cause
    /// that once or twice, a failed disk more often.
    pub(crate) fn unreadable(&mut self, mid: Mid, rid: Rid) {
        let count = self.unreadable.entry((mid, rid)).or_default();
        *count += 1;
        if *count > 2 && self.totals.failed_disks == 0 {
            self.violated(format!("message {mid} cannot be read any more"));
        }
    }

    /// The outcomes of these recipients, or of all, are on the disk.
    pub(crate) fn durable(&mut self, mid: Mid, rids: Option<&Rids>) {
        let all = || (0..).map(Rid).take(self.admitted[&mid].1.len()).collect();
        let rids: Rids = rids.cloned().unwrap_or_else(all);
        self.durable.extend(rids.into_iter().map(|rid| (mid, rid)));
    }

    /// The process is gone, with everything it knew.
    pub(crate) fn crashed(&mut self, loses_power: bool) {
        self.stages.clear();
        self.concluded.clear();
        *(if loses_power { &mut self.totals.power_cuts } else { &mut self.totals.kills }) += 1;
    }

    pub(crate) fn happened(&mut self, event: &Event) {
        use Stage::{Aborted, Finished, Queued, Received, Started};
        match event {
            Event::MessageStarted { mid, .. } => self.turn(*mid, &[], Started),
            Event::MessageRecovered { mid, .. } => self.turn(*mid, &[], Queued),
            Event::RecipientAccepted { mid, .. } | Event::RecipientRefused { mid, .. } => {
                self.turn(*mid, &[Started], Started);
            }
            Event::MessageReceived { mid, .. } => self.turn(*mid, &[Started], Received),
            Event::MessageAborted { mid, .. } => self.turn(*mid, &[Started, Received], Aborted),
            Event::MessageQueued { mid, .. } => {
                self.turn(*mid, &[Started, Received], Queued);
                if let Some(report) = self.reports.get_mut(mid) {
                    report.is_queued = true;
                }
            }
            Event::DeliveryStarted { mid, rids, .. } => {
                self.turn(*mid, &[Queued], Queued);
                self.check_open(*mid, rids);
            }
            Event::RecipientsDelivered { mid, .. } | Event::DoubleBounced { mid } => {
                self.turn(*mid, &[Queued], Queued);
            }
            Event::BounceGenerated { of, .. } => self.turn(*of, &[Queued], Queued),
            Event::RecipientsDeferred { mid, rids, .. } => {
                self.totals.deferred += rids.len() as u64;
                self.turn(*mid, &[Queued], Queued);
            }
            Event::RecipientsBounced { mid, rids, failure, .. } => {
                self.totals.bounced += rids.len() as u64;
                self.turn(*mid, &[Queued], Queued);
                self.check_open(*mid, rids);
                self.check_cause(*mid, rids, failure);
                let both = rids.iter().map(|rid| (*mid, *rid));
                self.bounced.extend(both.clone());
                self.concluded.extend(both);
            }
            Event::MessageFinished { mid, how: Finish::Done, .. } => {
                self.turn(*mid, &[Queued], Finished);
            }
            Event::MessageFinished { mid, .. } => self.turn(*mid, &[Aborted], Finished),
            // Connections have no story that a crash could break.
            _ => {}
        }
    }

    /// The story of a message goes on: from one of these, or it begins.
    fn turn(&mut self, mid: Mid, from: &[Stage], to: Stage) {
        let before = self.stages.insert(mid, to);
        if before.map_or(!from.is_empty(), |before| !from.contains(&before)) {
            self.violated(format!("message {mid} went from {before:?} to {to:?}"));
        }
    }

    /// Nobody gets a message again whose outcome is known.
    fn check_open(&mut self, mid: Mid, rids: &Rids) {
        for &rid in rids {
            if self.concluded.contains(&(mid, rid)) {
                self.violated(format!("MID {mid} RID {} had its outcome", rid.0));
            }
            if self.durable.contains(&(mid, rid)) {
                self.violated(format!("MID {mid} RID {} had a durable outcome", rid.0));
            }
        }
    }

    /// Nothing fails for good that nobody refused, unless its time is over.
    fn check_cause(&mut self, mid: Mid, rids: &Rids, failure: &Failure) {
        if failure.status.detail == 7 && failure.status.subject == 4 {
            return;
        }
        for rid in rids {
            let recipient = &self.admitted[&mid].1[rid.0 as usize];
            let domain = recipient.split_once('@').expect("an address").1;
            if domain != "nowhere.example" && !self.refusing.contains(domain) {
                self.violation = Some(format!("{recipient} failed without cause: {failure:?}"));
            }
        }
    }
}

/// The judgement.
impl Ledger {
    pub(crate) fn violated(&mut self, violation: String) {
        self.violation.get_or_insert(violation);
    }

    pub(crate) fn verdict(&mut self) -> Result<(), String> {
        self.violation.take().map_or(Ok(()), Err)
    }

    /// Everything has come to rest.
    pub(crate) fn check(&mut self) -> Result<(), String> {
        for (token, mail) in &self.mails {
            match mail.sent {
                Sent::Accepted => {
                    self.totals.accepted += 1;
                    self.check_kept(*token, mail)?;
                }
                Sent::Unknown => self.totals.unknown += 1,
                Sent::Refused => self.totals.refused += 1,
                Sent::Nothing => {}
            }
            self.check_unpromised(*token, mail)?;
        }
        if let Some((mid, stage)) = self.stages.iter().find(|(_, stage)| **stage != Stage::Finished)
        {
            return Err(format!("message {mid} is {stage:?} for ever"));
        }
        match self.open.iter().find(|(_, open)| **open > 0) {
            Some((domain, open)) => Err(format!("{open} connections to {domain} are still open")),
            None => Ok(()),
        }
    }

    /// Every recipient got it, or its sender a report.
    fn check_kept(&self, token: u64, mail: &Mail) -> Result<(), String> {
        let all = self.admitted.iter();
        let mut found = all.filter(|(_, (letter, _))| *letter == Letter::Mail(token));
        let (mid, (letter, admitted)) =
            found.next_back().ok_or_else(|| format!("mail {token} was never taken in"))?;
        for recipient in mail.recipients.iter().filter(|it| !mail.refused.contains(*it)) {
            let Some(rid) = admitted.iter().position(|it| it == recipient) else {
                return Err(format!("mail {token} was not taken in for {recipient}"));
            };
            let rid = Rid(u32::try_from(rid).expect("few recipients"));
            let is_delivered = self.copies.contains_key(&(*letter, recipient.clone()));
            let is_dropped = mail.sender.is_none() && self.bounced.contains(&(*mid, rid));
            if !is_delivered && !is_dropped && !self.is_reported(*mid, rid, recipient) {
                return Err(format!("mail {token} (MID {mid}) is lost for {recipient}"));
            }
        }
        Ok(())
    }

    /// A report about the recipient reached the sender, or failed itself.
    fn is_reported(&self, of: Mid, rid: Rid, recipient: &str) -> bool {
        let about = |report: &&Report| report.of == of && report.rids.contains(&rid);
        self.reports.iter().filter(|(_, report)| about(report)).any(|(&mid, report)| {
            let (letter, sender) = &self.admitted[&mid];
            let names_it = find(&report.content, recipient.as_bytes()).is_some();
            let is_delivered = self.copies.contains_key(&(*letter, sender[0].clone()));
            let is_dropped = self.bounced.contains(&(mid, Rid(0)));
            names_it && report.is_queued && (is_delivered || is_dropped)
        })
    }

    /// What was refused or never complete went nowhere.
    fn check_unpromised(&self, token: u64, mail: &Mail) -> Result<(), String> {
        let is_none = matches!(mail.sent, Sent::Nothing | Sent::Refused);
        for recipient in &mail.recipients {
            let is_delivered = self.copies.contains_key(&(Letter::Mail(token), recipient.clone()));
            if is_delivered && (is_none || mail.refused.contains(recipient)) {
                return Err(format!(
                    "mail {token} was {:?}, yet it came to {recipient}",
                    mail.sent
                ));
            }
        }
        Ok(())
    }
}

impl Totals {
    pub(crate) fn add(&mut self, other: &Self) {
        let mut other = *other;
        for (total, more) in self.counts_mut().into_iter().zip(other.counts_mut()) {
            *total += *more;
        }
    }

    /// A world in which something never happens proves nothing about it.
    pub(crate) fn assert_nothing_was_left_out(mut self) {
        let counts = self.counts_mut().map(|count| *count);
        assert!(!counts.contains(&0), "{self:?}");
    }

    const fn counts_mut(&mut self) -> [&mut u64; 22] {
        [
            &mut self.accepted,
            &mut self.unknown,
            &mut self.refused,
            &mut self.broken_off,
            &mut self.spilled,
            &mut self.delivered,
            &mut self.duplicates,
            &mut self.ambiguous,
            &mut self.deferred,
            &mut self.bounced,
            &mut self.reports,
            &mut self.handovers,
            &mut self.refused_items,
            &mut self.full_limits,
            &mut self.kills,
            &mut self.power_cuts,
            &mut self.recovered,
            &mut self.copied,
            &mut self.failed_disks,
            &mut self.full_disks,
            &mut self.steps,
            &mut self.seconds,
        ]
    }
}

fn without_first_field(content: &[u8]) -> &[u8] {
    let mut rest = content;
    loop {
        let end = find(rest, b"\r\n").map_or(rest.len(), |end| end + 2);
        rest = &rest[end..];
        if !rest.starts_with(b" ") && !rest.starts_with(b"\t") {
            return rest;
        }
    }
}

fn number_after(content: &[u8], prefix: &[u8]) -> Option<u64> {
    let digits = content.strip_prefix(prefix)?;
    let digits = digits.iter().take_while(|octet| octet.is_ascii_digit());
    let digits: String = digits.map(|&octet| char::from(octet)).collect();
    digits.parse().ok()
}

fn find(content: &[u8], what: &[u8]) -> Option<usize> {
    content.windows(what.len()).position(|window| window == what)
}
