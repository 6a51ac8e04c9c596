//! The meta section of records: what is said about a message, in a binary form that a reader can
//! only take in whole.
//!
//! Every string and list is preceded by its length. Decoding never reads past the section, and
//! never reserves more memory than the section could fill.

use alloc::{sync::Arc, vec::Vec};

use super::{
    Piece,
    progress::{Progress, Remaining},
    record::{Accepted, Outcome},
};
use crate::{
    address::{Address, ReversePath},
    envelope::{Body, Envelope, Notify, Recipient, Ret},
    event::Direction,
    id::{Rid, Rids},
    time::Date,
};

/// What the meta section of a message record says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Meta {
    pub(super) accepted: Accepted,
    pub(super) spilled: Vec<Piece>,
    pub(super) progress: Progress,
}

pub(super) fn encode_message(
    accepted: &Accepted,
    spilled: &[Piece],
    progress: &Progress,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    let Accepted { envelope, received, direction, eight_bit, listener } = accepted;
    put_date(&mut out, *received);
    out.push(u8::from(*direction == Direction::Outgoing) | u8::from(*eight_bit) << 1);
    put_text(&mut out, listener);
    put_envelope(&mut out, envelope);
    put_count(&mut out, spilled.len());
    for piece in spilled {
        out.extend(piece.segment.to_le_bytes());
        out.extend(piece.offset.to_le_bytes());
        out.extend(piece.length.to_le_bytes());
        out.extend(piece.checksum.to_le_bytes());
    }
    put_rids(&mut out, &progress.done);
    put_count(&mut out, progress.deferred.len());
    for Remaining { rid, attempts, not_before } in &progress.deferred {
        out.extend(rid.0.to_le_bytes());
        out.extend(attempts.to_le_bytes());
        put_date(&mut out, not_before.unwrap_or_default());
    }
    out
}

pub(super) fn encode_outcome(rids: &Rids, outcome: Outcome) -> Vec<u8> {
    let mut out = Vec::with_capacity(32);
    match outcome {
        Outcome::Delivered => out.push(0),
        Outcome::Bounced => out.push(1),
        Outcome::Deferred { until, attempts } => {
            out.push(2);
            put_date(&mut out, until);
            out.extend(attempts.to_le_bytes());
        }
    }
    put_rids(&mut out, rids);
    out
}

/// None if these octets are not what [`encode_message`] makes.
pub(super) fn decode_message(octets: &[u8], log: u16) -> Option<Meta> {
    let mut rest = Rest(octets);
    let received = rest.date()?;
    let flags = rest.octet()?;
    let listener = rest.text()?.into();
    let envelope = Arc::new(rest.envelope()?);
    let direction = if flags & 1 == 0 { Direction::Incoming } else { Direction::Outgoing };
    let eight_bit = flags & 2 != 0;
    let spilled = rest.list(24, |rest| rest.piece(log))?;
    let mut progress = Progress::default();
    progress.note(&rest.list(4, Rest::rid)?, Outcome::Delivered);
    for (rid, attempts, until) in
        rest.list(16, |rest| Some((rest.rid()?, rest.four()?, rest.date()?)))?
    {
        progress.note(&[rid], Outcome::Deferred { until, attempts });
    }
    let accepted = Accepted { envelope, received, direction, eight_bit, listener };
    rest.0.is_empty().then_some(Meta { accepted, spilled, progress })
}

/// None if these octets are not what [`encode_outcome`] makes.
pub(super) fn decode_outcome(octets: &[u8]) -> Option<(Rids, Outcome)> {
    let mut rest = Rest(octets);
    let outcome = match rest.octet()? {
        0 => Outcome::Delivered,
        1 => Outcome::Bounced,
        2 => Outcome::Deferred { until: rest.date()?, attempts: rest.four()? },
        _ => return None,
    };
    let rids = rest.list(4, Rest::rid)?;
    rest.0.is_empty().then(|| (rids.into(), outcome))
}

fn put_envelope(out: &mut Vec<u8>, envelope: &Envelope) {
    let Envelope { reverse_path, recipients, body, smtputf8, ret, envid } = envelope;
    let ret_bits = match ret {
        None => 0,
        Some(Ret::Full) => 1,
        Some(Ret::Headers) => 2,
    };
    let bits =
        [reverse_path.mailbox().is_some(), *body == Body::EightBitMime, *smtputf8, envid.is_some()];
    let bits = bits.iter().rev().fold(0, |bits, &bit| bits << 1 | u8::from(bit));
    out.push(bits | ret_bits << 4);
    if let Some(address) = reverse_path.mailbox() {
        put_address(out, address);
    }
    if let Some(envid) = envid {
        put_text(out, envid);
    }
    put_count(out, recipients.len());
    for Recipient { address, notify, original } in recipients {
        put_address(out, address);
        out.push(notify.bits() | u8::from(original.is_some()) << 7);
        if let Some(original) = original {
            put_text(out, original);
        }
    }
}

/// In two strings, because a quoted local part may hold an `@` of its own.
fn put_address(out: &mut Vec<u8>, address: &Address) {
    put_text(out, address.local());
    put_text(out, address.domain());
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_count(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

fn put_rids(out: &mut Vec<u8>, rids: &Rids) {
    put_count(out, rids.len());
    rids.iter().for_each(|rid| out.extend(rid.0.to_le_bytes()));
}

fn put_date(out: &mut Vec<u8>, date: Date) {
    out.extend(date.millis().to_le_bytes());
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    out.extend(u32::try_from(count).expect("a record is less than 4 GiB").to_le_bytes());
}

/// What of a section has not been decoded yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn octet(&mut self) -> Option<u8> {
        self.take(1).map(|octets| octets[0])
    }

    fn four(&mut self) -> Option<u32> {
        self.take(4).map(|octets| u32::from_le_bytes(octets.try_into().expect("four octets")))
    }

    fn eight(&mut self) -> Option<u64> {
        self.take(8).map(|octets| u64::from_le_bytes(octets.try_into().expect("eight octets")))
    }

    fn date(&mut self) -> Option<Date> {
        self.eight().map(|octets| Date::from_millis(octets.cast_signed()))
    }

    fn rid(&mut self) -> Option<Rid> {
        self.four().map(Rid)
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = self.four()? as usize;
        core::str::from_utf8(self.take(length)?).ok()
    }

    fn address(&mut self) -> Option<Address> {
        let local = self.text()?;
        Some(Address::new(local, self.text()?))
    }

    fn piece(&mut self, log: u16) -> Option<Piece> {
        let (segment, offset) = (self.eight()?, self.eight()?);
        let (length, checksum) = (self.four()?, self.four()?);
        Some(Piece { log, segment, offset, length, checksum })
    }

    /// A counted list whose items take at least `least` octets each: a count that cannot be true
    /// reserves nothing.
    fn list<T>(
        &mut self,
        least: usize,
        mut item: impl FnMut(&mut Self) -> Option<T>,
    ) -> Option<Vec<T>> {
        let count = self.four()? as usize;
        if count > self.0.len() / least {
            return None;
        }
        let mut items = Vec::with_capacity(count);
        for _ in 0..count {
            items.push(item(self)?);
        }
        Some(items)
    }

    fn envelope(&mut self) -> Option<Envelope> {
        let bits = self.octet()?;
        let reverse_path =
            if bits & 1 == 0 { ReversePath::Null } else { ReversePath::Mailbox(self.address()?) };
        let mut envelope = Envelope::new(reverse_path);
        envelope.body = if bits & 2 == 0 { Body::SevenBit } else { Body::EightBitMime };
        envelope.smtputf8 = bits & 4 != 0;
        envelope.ret = match bits >> 4 {
            0 => None,
            1 => Some(Ret::Full),
            2 => Some(Ret::Headers),
            _ => return None,
        };
        if bits & 8 != 0 {
            envelope.envid = Some(self.text()?.into());
        }
        envelope.recipients = self.list(9, Self::recipient)?;
        (!envelope.recipients.is_empty()).then_some(envelope)
    }

    fn recipient(&mut self) -> Option<Recipient> {
        let address = self.address()?;
        let bits = self.octet()?;
        let original = if bits & 0x80 == 0 { None } else { Some(self.text()?.into()) };
        Some(Recipient { address, notify: Notify::from_bits(bits), original })
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec;

    use super::*;

    fn meta() -> Meta {
        let quoted = Address::new("\"a@b\"", "contoso.example");
        let mut envelope = Envelope::new(ReversePath::Mailbox(quoted));
        envelope.body = Body::EightBitMime;
        envelope.ret = Some(Ret::Headers);
        envelope.envid = Some("id+2B".into());
        let postmaster = Recipient::new(Address::new("postmaster", ""));
        let mut told = Recipient::new(Address::new("jörg", "fabrikam.example"));
        told.notify = Notify::SUCCESS.and(Notify::DELAY);
        told.original = Some("rfc822;joerg@fabrikam.example".into());
        envelope.recipients = vec![postmaster, told];
        let accepted = Accepted {
            envelope: Arc::new(envelope),
            received: Date::from_millis(-5),
            direction: Direction::Outgoing,
            eight_bit: true,
            listener: "Outbound".into(),
        };
        let piece = Piece { log: 4, segment: 9, offset: 4096, length: 17, checksum: 3 };
        let mut progress = Progress::default();
        progress.note(&[Rid(0)], Outcome::Delivered);
        let until = Date::from_millis(77);
        progress.note(&[Rid(1)], Outcome::Deferred { until, attempts: 2 });
        Meta { accepted, spilled: vec![piece], progress }
    }

    #[test]
    fn a_message_is_decoded_as_it_was_encoded() {
        let meta = meta();
        let octets = encode_message(&meta.accepted, &meta.spilled, &meta.progress);
        assert_eq!(decode_message(&octets, 4), Some(meta));
        let outcome = Outcome::Deferred { until: Date::from_millis(1), attempts: 9 };
        for outcome in [Outcome::Delivered, Outcome::Bounced, outcome] {
            let rids = Rids::from_slice(&[Rid(3), Rid(1 << 31)]);
            assert_eq!(decode_outcome(&encode_outcome(&rids, outcome)), Some((rids, outcome)));
        }
    }

    #[test]
    fn cut_or_lengthened_octets_are_refused_and_altered_ones_never_panic() {
        let meta = meta();
        let octets = encode_message(&meta.accepted, &meta.spilled, &meta.progress);
        for length in 0..octets.len() {
            assert_eq!(decode_message(&octets[..length], 4), None, "{length}");
        }
        let mut longer = octets.clone();
        longer.push(0);
        assert_eq!(decode_message(&longer, 4), None);
        for (index, value) in (0..octets.len()).flat_map(|index| [(index, 0xFF), (index, 0x7F)]) {
            let mut altered = octets.clone();
            altered[index] = value;
            drop(decode_message(&altered, 4));
            drop(decode_outcome(&altered));
        }
    }
}
