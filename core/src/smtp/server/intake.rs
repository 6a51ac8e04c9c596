//! Content coming in: decoded straight from what the socket gave, counted, completed.

use alloc::boxed::Box;

use super::{
    Server, Step,
    content::Content,
    replies,
    states::{Committing, Discarding, Framing, Intake, Receiving, State, Transaction, Window},
    step::Received,
};
use crate::{
    event::{Abort, Status},
    smtp::{
        body::{Coding, Decoder},
        reply::Reply,
    },
};

impl Server {
    pub(super) fn begin_intake(&self, transaction: Transaction, coding: Coding) -> Box<Intake> {
        let limit = self.settings.limits.max_content_line_size;
        Box::new(Intake {
            transaction,
            content: Content::new(&self.settings),
            decoder: Decoder::new(coding, self.settings.bare, limit),
        })
    }

    /// Takes content from `bytes`; sets the state that follows and gives the octets used.
    pub(super) fn receive_content(&mut self, mut receiving: Receiving, bytes: &[u8]) -> usize {
        if self.count_content(&mut receiving, bytes.len()) {
            self.state = self.hang_up(&replies::TOO_SLOW, State::Receiving(receiving));
            return bytes.len();
        }
        let (used, is_end) = receiving.take(bytes);
        self.state = if is_end { self.end_framing(receiving) } else { State::Receiving(receiving) };
        used
    }

    /// Takes content from the pending input, or gives the step that gets more.
    pub(super) fn advance_content(&mut self, mut receiving: Receiving) -> Option<Step> {
        if let Some(blocks) = receiving.intake.content.spill() {
            receiving.window = Window::default();
            self.state = State::Spilling(receiving);
            return Some(Step::Spill(blocks));
        }
        let is_empty_chunk = matches!(receiving.framing, Framing::Chunk { left: 0, .. });
        if self.input.is_empty() && !is_empty_chunk {
            self.state = State::Receiving(receiving);
            return Some(Step::Receive);
        }
        let input = self.input.split();
        let used = self.receive_content(receiving, &input);
        self.input = input;
        self.use_input(used);
        None
    }

    /// Throws octets away as long as they belong to the chunk, then says the reply it gets.
    pub(super) fn advance_discarding(&mut self, mut discarding: Discarding) -> Option<Step> {
        let size = usize::try_from(discarding.left).unwrap_or(usize::MAX).min(self.input.len());
        self.use_input(size);
        discarding.left -= size as u64;
        if discarding.left > 0 {
            if size > 0 {
                self.clock.heard();
            }
            self.state = State::Discarding(discarding);
            return Some(Step::Receive);
        }
        self.state = self.refuse(&discarding.reply, *discarding.then);
        None
    }

    /// All content is here: the driver gets it, or the peer is told what is wrong with it.
    pub(super) fn complete(&mut self, intake: Intake) -> State {
        let Intake { transaction, content, .. } = intake;
        let whole = match content.finish() {
            Ok(whole) => whole,
            Err(reply) => return self.refuse_content(&reply, transaction),
        };
        let Transaction { hello, mid, started, envelope, .. } = transaction;
        let received = Received {
            mid,
            header: whole.header,
            body: whole.body,
            size: whole.size,
            protocol: hello.protocol(self.tls.is_some(), envelope.smtputf8),
            envelope,
            helo: hello.name.clone(),
            tls: self.tls,
            started,
            eight_bit: whole.is_eight_bit,
        };
        State::Committing(Committing { hello, received: Some(Box::new(received)) })
    }

    fn end_framing(&mut self, mut receiving: Receiving) -> State {
        let intake = &mut receiving.intake;
        let Framing::Chunk { size, last, .. } = receiving.framing else {
            return State::Complete(receiving.intake);
        };
        if last {
            let held_back = intake.decoder.finish();
            intake.content.push(held_back);
            intake.note_faults();
            return State::Complete(receiving.intake);
        }
        //= RFC 3030 2: a chunk that fails ends the transaction; those behind it are out of order.
        if let Some(reply) = intake.content.refusal() {
            return self.refuse_content(&reply, receiving.intake.transaction);
        }
        let text = alloc::format!("{size} octets received");
        self.say(&Reply { text: text.into(), ..CHUNK_OK });
        State::BetweenChunks(receiving.intake)
    }

    fn refuse_content(&mut self, reply: &Reply, transaction: Transaction) -> State {
        let hello = transaction.hello.clone();
        self.abort(&State::Mail(transaction), Abort::Receiving);
        self.refuse(reply, State::Ready(Some(hello)))
    }
}

impl Receiving {
    /// Gives the octets used, and whether the content, or its chunk, ends there.
    fn take(&mut self, bytes: &[u8]) -> (usize, bool) {
        match &mut self.framing {
            Framing::Dots => self.intake.take(bytes),
            Framing::Chunk { left, .. } => {
                let size = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                self.intake.take(&bytes[..size]);
                *left -= size as u64;
                (size, *left == 0)
            }
        }
    }
}

impl Intake {
    fn take(&mut self, bytes: &[u8]) -> (usize, bool) {
        let mut used = 0;
        let mut is_end = false;
        while used < bytes.len() && !is_end {
            let decoded = self.decoder.decode(&bytes[used..]);
            self.content.push(decoded.text);
            used += decoded.used;
            is_end = decoded.is_end;
        }
        self.note_faults();
        (used, is_end)
    }

    fn note_faults(&mut self) {
        self.content.note(self.decoder.has_bare(), self.decoder.has_long_line());
    }
}

const CHUNK_OK: Reply = Reply::new(250, Status::new(2, 0, 0), "");
