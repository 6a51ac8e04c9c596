//! What the world knows of one message, and what recovery may therefore say about it.

use std::sync::Arc;

use ringpost_core::{
    address::{Address, ReversePath},
    envelope::{Envelope, Recipient},
    event::Direction,
    id::Rid,
    spool::{
        Piece,
        progress::Remaining,
        record::{Accepted, Outcome},
        recover::Queued,
    },
    time::Date,
};

use crate::{disk::Disk, random::Random};

pub(crate) struct Story {
    pub(crate) accepted: Accepted,
    pub(crate) header: Vec<u8>,
    pub(crate) body: Vec<u8>,
    pub(crate) log: u16,
    pub(crate) stage: Stage,
    /// The client was told 250.
    pub(crate) acknowledged: bool,
    /// Where the content is: the header, then the body.
    pub(crate) pieces: Vec<Piece>,
    pub(crate) fates: Vec<Fate>,
    /// The copy that is being made: its first part.
    pub(crate) copying: Option<Vec<Piece>>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Stage {
    /// Parts of the body were spilled, the last one may not be durable yet.
    Arriving {
        spilled: Vec<Piece>,
        waits: bool,
    },
    /// The message record was appended.
    Appended,
    Aborted,
    /// The finish was appended.
    Finishing,
    Finished,
    /// Not found after a crash although it might have been.
    Lost,
}

/// What was said about one recipient.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fate {
    pub(crate) done: bool,
    pub(crate) done_durably: bool,
    pub(crate) attempts: u32,
    pub(crate) durable_attempts: u32,
}

impl Story {
    pub(crate) fn new(log: u16, random: &mut Random) -> Self {
        let sender = ReversePath::Mailbox(Address::from_text("sender@contoso.example"));
        let mut envelope = Envelope::new(sender);
        for number in 0..1 + random.below(3) {
            let address = Address::from_text(&format!("r{number}@fabrikam.example"));
            envelope.recipients.push(Recipient::new(address));
        }
        let fates = vec![Fate::default(); envelope.recipients.len()];
        let accepted = Accepted {
            envelope: Arc::new(envelope),
            received: Date::from_millis(random.below(1 << 40) as i64),
            direction: Direction::Incoming,
            eight_bit: random.chance(1, 2),
            listener: "Inbound".into(),
        };
        let most = if random.chance(1, 4) { 9_000 } else { 600 };
        let (header, body) = (random.below(200), random.below(most));
        Self {
            accepted,
            header: random.octets(header),
            body: random.octets(body),
            log,
            stage: Stage::Arriving { spilled: Vec::new(), waits: false },
            acknowledged: false,
            pieces: Vec::new(),
            fates,
            copying: None,
        }
    }

    /// Octets of the body that the pieces hold.
    pub(crate) fn covered(pieces: &[Piece]) -> usize {
        pieces.iter().map(|piece| piece.length as usize).sum()
    }

    pub(crate) fn undone(&self) -> Vec<Rid> {
        let fates = self.fates.iter().enumerate();
        fates.filter(|(_, fate)| !fate.done).map(|(index, _)| Rid(index as u32)).collect()
    }

    pub(crate) fn note(&mut self, rid: Rid, outcome: Outcome, is_durable: bool) {
        let fate = &mut self.fates[rid.0 as usize];
        match outcome {
            Outcome::Delivered | Outcome::Bounced if is_durable => fate.done_durably = true,
            Outcome::Delivered | Outcome::Bounced => fate.done = true,
            Outcome::Deferred { attempts, .. } if is_durable => {
                fate.durable_attempts = fate.durable_attempts.max(attempts);
            }
            Outcome::Deferred { attempts, .. } => fate.attempts = attempts,
        }
    }

    /// When the attempt after this many is due: known from the number, so that it can be checked.
    pub(crate) fn until(rid: Rid, attempts: u32) -> Date {
        Date::from_millis(i64::from(attempts) * 1_000 + i64::from(rid.0))
    }

    /// The content as it can be read now.
    pub(crate) fn check_content(&self, pieces: &[Piece], disk: &Disk) -> Result<(), String> {
        let mut octets = Vec::new();
        for piece in pieces {
            let read = disk.read(piece).ok_or_else(|| format!("{piece:?} is gone"))?;
            if !piece.verifies(read) {
                return Err(format!("{piece:?} does not verify"));
            }
            octets.extend_from_slice(read);
        }
        let expected = [self.header.as_slice(), self.body.as_slice()].concat();
        if octets == expected { Ok(()) } else { Err("the content was altered".into()) }
    }

    /// Holds what recovery says of it against what happened.
    pub(crate) fn recovered(&mut self, found: Option<&Queued>, disk: &Disk) -> Result<(), String> {
        self.copying = None;
        let Some(found) = found else {
            return self.missing();
        };
        match self.stage {
            Stage::Appended | Stage::Finishing => self.stage = Stage::Appended,
            _ => return Err(format!("{:?}, yet it came back", self.stage)),
        }
        if found.accepted != self.accepted || found.log != self.log {
            return Err("the envelope was altered".into());
        }
        // All that is recovered is durable, and must be kept as if it had been acknowledged.
        self.acknowledged = true;
        self.pieces = vec![found.header];
        self.pieces.extend(&found.body);
        self.check_content(&self.pieces, disk)?;
        for (index, fate) in self.fates.iter_mut().enumerate() {
            let remaining =
                found.remaining.iter().find(|remaining| remaining.rid.0 == index as u32);
            fate.recovered(remaining)?;
        }
        Ok(())
    }

    fn missing(&mut self) -> Result<(), String> {
        match self.stage {
            Stage::Appended if self.acknowledged => Err("an acknowledged message is lost".into()),
            Stage::Arriving { .. } => {
                self.stage = Stage::Aborted;
                Ok(())
            }
            Stage::Appended => {
                self.stage = Stage::Lost;
                Ok(())
            }
            Stage::Finishing => {
                self.stage = Stage::Finished;
                Ok(())
            }
            Stage::Aborted | Stage::Finished | Stage::Lost => Ok(()),
        }
    }
}

impl Fate {
    fn recovered(&mut self, remaining: Option<&Remaining>) -> Result<(), String> {
        let Some(remaining) = remaining else {
            self.done_durably = true;
            return if self.done { Ok(()) } else { Err("a recipient was dropped".into()) };
        };
        if self.done_durably {
            return Err("a durable outcome was forgotten".into());
        }
        self.done = false;
        let Remaining { rid, attempts, not_before } = *remaining;
        if !(self.durable_attempts..=self.attempts).contains(&attempts) {
            return Err(format!("{attempts} attempts after {self:?}"));
        }
        let expected = (attempts > 0).then(|| Story::until(rid, attempts));
        if not_before != expected {
            return Err(format!("due at {not_before:?} after {attempts} attempts"));
        }
        (self.attempts, self.durable_attempts) = (attempts, attempts);
        Ok(())
    }
}
