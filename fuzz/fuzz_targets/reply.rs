//! Replies read in pieces are the replies read whole, within their bounds and printable.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringpost_core::smtp::reply::{BadReply, MAX_LINES, MAX_TEXT_SIZE, Reply, ReplyParser};

fuzz_target!(|input: (Vec<u8>, u8)| {
    let (wire, size) = input;
    let whole = read(&wire, wire.len().max(1));
    assert_eq!(read(&wire, usize::from(size).max(1)), whole);
    for reply in &whole.0 {
        assert!((200..600).contains(&reply.code) && reply.text.len() <= MAX_TEXT_SIZE);
        assert!(reply.text.split('\n').count() <= MAX_LINES);
        assert!(
            reply
                .text
                .bytes()
                .all(|octet| matches!(octet, b' '..=b'~' | b'\n'))
        );
    }
});

fn read(wire: &[u8], size: usize) -> (Vec<Reply>, Option<BadReply>) {
    let (mut parser, mut replies) = (ReplyParser::new(), Vec::new());
    for mut piece in wire.chunks(size) {
        while !piece.is_empty() {
            let (used, outcome) = parser.receive(piece);
            match outcome {
                Ok(reply) => replies.extend(reply),
                Err(bad) => return (replies, Some(bad)),
            }
            piece = &piece[used..];
        }
    }
    (replies, None)
}
