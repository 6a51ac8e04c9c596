//! The sink's side of a conversation: bytes in, replies out. Content is scanned where it lies
//! and copied only when it is to be kept, so that the sink is never the bottleneck.

use memchr::memchr;

use super::behaviour::{Behaviour, Verdict};
use super::command::{Command, path};
use super::end_of_data::EndOfData;
use super::keep::unstuff;
use crate::size::CONTENT_SIZE_MAX;
use crate::token::{Search, search};

/// Why [`Reception::receive`] stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// All input is used.
    Wait,
    /// A content is complete: look at it, then call [`Reception::conclude`].
    Content,
    /// The replies say that TLS begins now.
    StartTls,
    /// The replies are the last.
    Close,
}

/// One connection's conversation.
#[derive(Debug)]
pub struct Reception {
    /// Extensions offered in the reply to EHLO.
    extensions: Vec<String>,
    keep: bool,
    state: State,
    /// The beginning of a command line whose end has not arrived.
    line: Vec<u8>,
    sender: Vec<u8>,
    has_sender: bool,
    recipients: u64,
    greylisted: u64,
    content: Content,
}

#[derive(Debug)]
enum State {
    Commands,
    Data(EndOfData),
    Chunk { left: u64, last: bool },
}

#[derive(Debug, Default)]
struct Content {
    octets: u64,
    token: Vec<u8>,
    /// The beginning of the content while the token is searched over more than one piece.
    head: Vec<u8>,
    is_searched: bool,
    kept: Vec<u8>,
    /// Dots are to be taken out of what is kept.
    is_stuffed: bool,
}

impl Reception {
    pub fn new(extensions: Vec<String>, keep: bool) -> Self {
        Self {
            extensions,
            keep,
            state: State::Commands,
            line: Vec::new(),
            sender: Vec::new(),
            has_sender: false,
            recipients: 0,
            greylisted: 0,
            content: Content::default(),
        }
    }

    /// Uses input until a step has to be taken, and appends the replies.
    pub fn receive(
        &mut self,
        input: &mut &[u8],
        behaviour: &mut Behaviour,
        replies: &mut Vec<u8>,
    ) -> Step {
        loop {
            let step = match &mut self.state {
                State::Commands => self.receive_command(input, behaviour, replies),
                State::Data(_) => self.receive_data(input),
                State::Chunk { .. } => self.receive_chunk(input, replies),
            };
            match step {
                Some(step) => return step,
                None => continue,
            }
        }
    }

    /// Replies to a content and makes ready for the next transaction.
    pub fn conclude(&mut self, verdict: Verdict, replies: &mut Vec<u8>) {
        let reply: &[u8] = match verdict {
            _ if self.content.octets > CONTENT_SIZE_MAX as u64 => b"552 5.3.4 Too big\r\n",
            Verdict::Accept => b"250 2.0.0 Taken\r\n",
            Verdict::TemporaryFailure | Verdict::Drop => b"451 4.3.0 Try again later\r\n",
        };
        replies.extend_from_slice(reply);
        self.reset();
    }

    /// Begins anew after STARTTLS (RFC 3207 4.2).
    pub fn forget_plaintext(&mut self) {
        self.reset();
        self.line.clear();
        self.extensions.retain(|extension| extension != "STARTTLS");
    }

    pub fn token(&self) -> Option<&[u8]> {
        (!self.content.token.is_empty()).then_some(&self.content.token)
    }

    /// Octets of the content, as transmitted.
    pub fn octets(&self) -> u64 {
        self.content.octets
    }

    pub fn recipients(&self) -> u64 {
        self.recipients
    }

    /// Recipients refused by greylisting since the last call.
    pub fn take_greylisted(&mut self) -> u64 {
        std::mem::take(&mut self.greylisted)
    }

    /// The content as the server has it, when it is kept.
    pub fn kept(&self) -> Option<Vec<u8>> {
        let Content { kept, is_stuffed, .. } = &self.content;
        self.keep.then(|| if *is_stuffed { unstuff(kept) } else { kept.clone() })
    }

    fn receive_command(
        &mut self,
        input: &mut &[u8],
        behaviour: &mut Behaviour,
        replies: &mut Vec<u8>,
    ) -> Option<Step> {
        let end = memchr(b'\n', input);
        if self.line.len() + end.unwrap_or(input.len()) > COMMAND_LENGTH_MAX {
            replies.extend_from_slice(b"500 5.5.2 Line too long\r\n");
            return Some(Step::Close);
        }
        let Some(end) = end else {
            self.line.extend_from_slice(input);
            *input = &[];
            return Some(Step::Wait);
        };
        let (line, rest) = input.split_at(end + 1);
        *input = rest;
        if self.line.is_empty() {
            return self.obey(line, behaviour, replies);
        }
        let mut whole = std::mem::take(&mut self.line);
        whole.extend_from_slice(line);
        let step = self.obey(&whole, behaviour, replies);
        whole.clear();
        self.line = whole;
        step
    }

    fn obey(
        &mut self,
        line: &[u8],
        behaviour: &mut Behaviour,
        replies: &mut Vec<u8>,
    ) -> Option<Step> {
        let reply: &[u8] = match Command::parse(line.trim_ascii_end()) {
            Command::Ehlo => {
                self.reset();
                return self.offer_extensions(replies);
            }
            Command::Helo => {
                self.reset();
                b"250 sink.perf.example\r\n"
            }
            Command::Mail(_) if self.has_sender => b"503 5.5.1 One sender is enough\r\n",
            Command::Mail(argument) => {
                self.sender.clear();
                self.sender.extend_from_slice(path(argument));
                self.has_sender = true;
                b"250 2.1.0 Sender taken\r\n"
            }
            Command::Rcpt(argument) => self.take_recipient(argument, behaviour),
            Command::Data if self.recipients == 0 => b"503 5.5.1 No recipient\r\n",
            Command::Data => {
                self.state = State::Data(EndOfData::default());
                self.content.is_stuffed = true;
                b"354 Send the content\r\n"
            }
            Command::Bdat { octets, last } => {
                self.state = State::Chunk { left: octets, last };
                b""
            }
            Command::StartTls if self.extensions.iter().any(|name| name == "STARTTLS") => {
                replies.extend_from_slice(b"220 2.0.0 Begin\r\n");
                return Some(Step::StartTls);
            }
            Command::Rset => {
                self.reset();
                b"250 2.0.0 Forgotten\r\n"
            }
            Command::Noop => b"250 2.0.0 Nothing done\r\n",
            Command::Quit => {
                replies.extend_from_slice(b"221 2.0.0 Until next time\r\n");
                return Some(Step::Close);
            }
            Command::StartTls | Command::Unknown => b"500 5.5.1 Not understood\r\n",
        };
        replies.extend_from_slice(reply);
        None
    }

    fn offer_extensions(&self, replies: &mut Vec<u8>) -> Option<Step> {
        let lines = std::iter::once("sink.perf.example");
        let mut lines = lines.chain(self.extensions.iter().map(String::as_str)).peekable();
        while let Some(line) = lines.next() {
            let separator = if lines.peek().is_some() { '-' } else { ' ' };
            replies.extend_from_slice(format!("250{separator}{line}\r\n").as_bytes());
        }
        None
    }

    fn take_recipient(&mut self, argument: &[u8], behaviour: &mut Behaviour) -> &'static [u8] {
        if !self.has_sender {
            return b"503 5.5.1 No sender\r\n";
        }
        if self.recipients >= RECIPIENTS_MAX {
            return b"452 4.5.3 Too many recipients\r\n";
        }
        if !behaviour.admits(&self.sender, path(argument)) {
            self.greylisted += 1;
            return b"450 4.7.1 Greylisted, come again\r\n";
        }
        self.recipients += 1;
        b"250 2.1.5 Recipient taken\r\n"
    }

    fn receive_data(&mut self, input: &mut &[u8]) -> Option<Step> {
        let State::Data(scan) = &mut self.state else {
            unreachable!("called in this state only");
        };
        let Some(length) = scan.scan(input) else {
            self.content.receive(input, self.keep);
            *input = &[];
            return Some(Step::Wait);
        };
        let (content, rest) = input.split_at(length);
        self.content.receive(content, self.keep);
        self.content.take_off_final_dot();
        *input = rest;
        self.state = State::Commands;
        Some(Step::Content)
    }

    fn receive_chunk(&mut self, input: &mut &[u8], replies: &mut Vec<u8>) -> Option<Step> {
        let State::Chunk { left, last } = &mut self.state else {
            unreachable!("called in this state only");
        };
        let length = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
        let (piece, rest) = input.split_at(length);
        *input = rest;
        *left -= length as u64;
        let (left, last) = (*left, *last);
        self.content.receive(piece, self.keep);
        if left > 0 {
            return Some(Step::Wait);
        }
        self.state = State::Commands;
        if self.recipients == 0 {
            replies.extend_from_slice(b"503 5.5.1 No recipient\r\n");
            self.content.clear();
            return None;
        }
        if last {
            return Some(Step::Content);
        }
        replies.extend_from_slice(b"250 2.0.0 Chunk taken\r\n");
        None
    }

    fn reset(&mut self) {
        self.has_sender = false;
        self.recipients = 0;
        self.content.clear();
    }
}

impl Content {
    fn receive(&mut self, piece: &[u8], keep: bool) {
        self.octets += piece.len() as u64;
        if keep && self.octets <= CONTENT_SIZE_MAX as u64 {
            self.kept.extend_from_slice(piece);
        }
        if self.is_searched {
            return;
        }
        if !self.head.is_empty() {
            self.head.extend_from_slice(piece);
        }
        let beginning = if self.head.is_empty() { piece } else { &self.head };
        match search(beginning) {
            Search::Found(token) => {
                self.token.extend_from_slice(token);
                self.is_searched = true;
            }
            Search::Absent => self.is_searched = true,
            Search::Unfinished if self.head.is_empty() => self.head.extend_from_slice(piece),
            Search::Unfinished => {}
        }
    }

    fn take_off_final_dot(&mut self) {
        assert!(self.octets >= FINAL_LINE_LENGTH as u64, "a content ends with the line `.`");
        self.octets -= FINAL_LINE_LENGTH as u64;
        self.kept.truncate(self.kept.len().saturating_sub(FINAL_LINE_LENGTH));
    }

    fn clear(&mut self) {
        self.octets = 0;
        self.token.clear();
        self.head.clear();
        self.is_searched = false;
        self.kept.clear();
        self.is_stuffed = false;
    }
}

/// Octets of a command line, far above what RFC 5321 and its extensions ask for.
pub const COMMAND_LENGTH_MAX: usize = 8192;

/// Recipients of one transaction.
pub const RECIPIENTS_MAX: u64 = 50_000;

/// The line with the dot and its CRLF.
const FINAL_LINE_LENGTH: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    /// What came of a conversation: the replies, and token, octets, recipients and kept content
    /// of each message.
    type Story = (String, Vec<(Option<String>, u64, u64, Vec<u8>)>);

    fn converse(stream: &[u8], piece_length: usize, greylist: bool) -> Story {
        let extensions = ["PIPELINING", "CHUNKING", "STARTTLS"].map(str::to_owned);
        let mut reception = Reception::new(extensions.into(), true);
        let mut behaviour = Behaviour::new(0.0, 0.0, greylist, 1);
        let (mut replies, mut messages) = (Vec::new(), Vec::new());
        for mut piece in stream.chunks(piece_length) {
            loop {
                match reception.receive(&mut piece, &mut behaviour, &mut replies) {
                    Step::Wait => break,
                    Step::Content => {
                        let token = reception.token();
                        let token = token.map(|token| String::from_utf8_lossy(token).into_owned());
                        let kept = reception.kept().expect("this one keeps");
                        messages.push((token, reception.octets(), reception.recipients(), kept));
                        reception.conclude(Verdict::Accept, &mut replies);
                    }
                    Step::StartTls => reception.forget_plaintext(),
                    Step::Close => return (text(&replies), messages),
                }
            }
        }
        (text(&replies), messages)
    }

    fn text(replies: &[u8]) -> String {
        String::from_utf8(replies.to_vec()).expect("replies are ASCII")
    }

    fn codes(replies: &str) -> Vec<&str> {
        let last = |line: &&str| line.as_bytes()[3] == b' ';
        replies.lines().filter(last).map(|line| &line[..3]).collect()
    }

    const TWO_MESSAGES: &[u8] = b"EHLO x\r\nMAIL FROM:<a@b> BODY=8BITMIME\r\nRCPT TO:<c@d>\r\n\
        RCPT TO:<e@f> NOTIFY=NEVER\r\nDATA\r\nReceived: x\r\nX-Perf-Token: r-1\r\n\r\n..dot\r\n\
        .\r\nMAIL FROM:<>\r\nRCPT TO:<c@d>\r\nBDAT 19\r\nX-Perf-Token: r-2\r\n\
        BDAT 8 LAST\r\n\r\n.\r\n..\nQUIT\r\n";

    #[test]
    fn takes_messages_in_pieces_of_any_length() {
        let whole = converse(TWO_MESSAGES, TWO_MESSAGES.len(), false);
        let expected =
            ["250", "250", "250", "250", "354", "250", "250", "250", "250", "250", "221"];
        assert_eq!(codes(&whole.0), expected);
        assert_eq!(whole.1.len(), 2);
        let kept = b"Received: x\r\nX-Perf-Token: r-1\r\n\r\n.dot\r\n".to_vec();
        assert_eq!(whole.1[0], (Some("r-1".to_owned()), kept.len() as u64 + 1, 2, kept));
        let kept = b"X-Perf-Token: r-2\r\n\r\n.\r\n..\n".to_vec();
        assert_eq!(whole.1[1], (Some("r-2".to_owned()), kept.len() as u64, 1, kept));
        for piece_length in 1..TWO_MESSAGES.len() {
            assert_eq!(converse(TWO_MESSAGES, piece_length, false), whole, "{piece_length}");
        }
    }

    #[test]
    fn greylists_and_then_has_no_recipient() {
        let stream = b"MAIL FROM:<a>\r\nRCPT TO:<b>\r\nDATA\r\nRSET\r\n\
            MAIL FROM:<a>\r\nRCPT TO:<b>\r\nDATA\r\n.\r\n";
        let (replies, messages) = converse(stream, stream.len(), true);
        assert_eq!(codes(&replies), ["250", "450", "503", "250", "250", "250", "354", "250"]);
        assert_eq!(messages, [(None, 0, 1, Vec::new())]);
    }

    #[test]
    fn a_chunk_without_recipient_is_passed_over() {
        let (replies, messages) = converse(b"BDAT 6 LAST\r\nNOOP\r\nNOOP\r\n", 4, false);
        assert_eq!((codes(&replies), messages.len()), (vec!["503", "250"], 0));
    }

    #[test]
    fn starttls_is_offered_once() {
        let stream = b"EHLO x\r\nSTARTTLS\r\nEHLO x\r\nSTARTTLS\r\n";
        let (replies, _) = converse(stream, stream.len(), false);
        assert_eq!(replies.matches("STARTTLS").count(), 1);
        assert_eq!(codes(&replies), ["250", "220", "250", "500"]);
    }

    #[test]
    fn an_endless_command_ends_the_conversation() {
        let stream = vec![b'x'; 2 * COMMAND_LENGTH_MAX];
        let (replies, _) = converse(&stream, 1000, false);
        assert_eq!(codes(&replies), ["500"]);
    }
}
