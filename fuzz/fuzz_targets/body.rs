//! Content decoded in any pieces is what a decoder written only for reading makes of the whole.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringpost_core::smtp::{
    body::{Coding, Decoder},
    server::BareLineEndings,
};

fuzz_target!(|input: (Vec<u8>, Vec<u8>, u8)| {
    let (wire, sizes, policy) = input;
    let bare = match policy % 3 {
        0 => BareLineEndings::Reject,
        1 => BareLineEndings::Clean,
        _ => BareLineEndings::Allow,
    };
    assert_eq!(decoded(&wire, &sizes, bare), reference(&wire, bare));
});

/// The text, the octets used, and whether a bare ending was met; none if the end did not come.
type Outcome = Option<(Vec<u8>, usize, bool)>;

fn decoded(wire: &[u8], sizes: &[u8], bare: BareLineEndings) -> Outcome {
    let mut decoder = Decoder::new(Coding::Dots, bare, u32::MAX);
    let mut sizes = sizes
        .iter()
        .map(|&size| usize::from(size))
        .filter(|&size| size > 0)
        .cycle();
    let (mut text, mut used) = (Vec::new(), 0);
    while used < wire.len() {
        let size = sizes.next().unwrap_or(wire.len()).min(wire.len() - used);
        let end = used + size;
        while used < end {
            let decoded = decoder.decode(&wire[used..end]);
            text.extend_from_slice(decoded.text);
            used += decoded.used;
            if decoded.is_end {
                return Some((text, used, decoder.has_bare()));
            }
        }
    }
    None
}

fn reference(wire: &[u8], bare: BareLineEndings) -> Outcome {
    let framed = [b"\r\n", wire].concat();
    let end = framed
        .windows(5)
        .position(|window| window == b"\r\n.\r\n")?;
    let (mut text, mut has_bare) = (Vec::new(), false);
    let mut rest = &wire[..end];
    while let Some(at) = rest.windows(2).position(|window| window == b"\r\n") {
        let line = &rest[..at];
        for &octet in line.strip_prefix(b".").unwrap_or(line) {
            let is_bare = matches!(octet, b'\r' | b'\n' | 0);
            match bare {
                BareLineEndings::Clean if octet == 0 => {}
                BareLineEndings::Clean if is_bare => text.extend_from_slice(b"\r\n"),
                _ => text.push(octet),
            }
            has_bare |= is_bare && bare == BareLineEndings::Reject;
        }
        text.extend_from_slice(b"\r\n");
        rest = &rest[at + 2..];
    }
    Some((text, end + 3, has_bare))
}
