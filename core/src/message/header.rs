//! The header block (RFC 5322 2.2) as an index over bytes that stay where they are.
//!
//! What nobody touched goes out as it came in, to the octet, however malformed: edits are an
//! overlay of fields struck out and fields added, and only [`Header::render`] joins the two.

use alloc::{string::String, vec, vec::Vec};

use bytes::Bytes;
use memchr::memchr;

use super::decode;

/// The fields of one message, in the order of the wire, and the edits made to them.
///
/// Names are compared without regard to ASCII case. Lines that are no field (no colon, a name with
/// a control octet or a blank inside) can be neither found nor stripped, and are never lost.
#[derive(Clone, Debug, Default)]
pub struct Header {
    /// What came over the wire.
    received: Block,
    /// Put in front of it; the newest comes first on the wire.
    prepended: Vec<Block>,
    /// Put behind it, oldest first.
    inserted: Vec<Block>,
    is_changed: bool,
}

impl Header {
    /// Indexes a header block: everything before the empty line, each line with its line ending.
    ///
    /// Accepts any octets. A line ends at LF; a line that begins with a blank or tab continues the
    /// one before it.
    #[must_use]
    pub fn parse(block: Bytes) -> Self {
        Self { received: Block::index(block), ..Self::default() }
    }

    /// The raw values of all fields called `name`, in the order of the wire: the octets after the
    /// colon, folds included, without the final line ending. See [`decode::decode_words`].
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.fields().filter(move |field| field.is_called(name)).map(|field| field.value())
    }

    /// The raw value of the first field called `name`.
    #[must_use]
    pub fn first<'a>(&'a self, name: &'a str) -> Option<&'a [u8]> {
        self.values(name).next()
    }

    /// How many fields are called `name`.
    #[must_use]
    pub fn count(&self, name: &str) -> usize {
        self.fields().filter(|field| field.is_called(name)).count()
    }

    /// Removes every field called `name`; answers how many there were.
    pub fn strip(&mut self, name: &str) -> usize {
        let blocks =
            self.prepended.iter_mut().chain([&mut self.received]).chain(&mut self.inserted);
        let stripped = blocks.map(|block| block.strip(name)).sum();
        self.is_changed |= stripped > 0;
        stripped
    }

    /// Adds a field at the end of the block.
    ///
    /// Nothing that `value` holds can begin another field: CR, LF and NUL are left out. A value
    /// that is not ASCII becomes encoded-words (RFC 2047). Octets no field name may have (RFC 5322
    /// 2.2) are left out of `name`; if nothing remains, nothing is added.
    pub fn insert(&mut self, name: &str, value: &str) {
        let name: String = name.chars().filter(|&char| is_name_char(char)).collect();
        if name.is_empty() {
            return;
        }
        let value: String =
            value.chars().filter(|char| !matches!(char, '\r' | '\n' | '\0')).collect();
        let mut field = Vec::with_capacity(name.len() + value.len() + 4);
        field.extend_from_slice(name.as_bytes());
        field.extend_from_slice(b": ");
        decode::write_value(&value, &mut field);
        field.extend_from_slice(CRLF);
        self.inserted.push(Block::index(field.into()));
        self.is_changed = true;
    }

    /// Puts complete fields, each with its CRLF, in front of everything: trace fields (RFC 5321
    /// 4.4) of our own making. The caller vouches for their form.
    pub fn prepend(&mut self, fields: Bytes) {
        if fields.is_empty() {
            return;
        }
        assert!(fields.ends_with(CRLF), "a prepended field ends its line");
        self.prepended.push(Block::index(fields));
        self.is_changed = true;
    }

    /// Whether [`Self::render`] gives anything but what was parsed.
    #[must_use]
    pub const fn is_changed(&self) -> bool {
        self.is_changed
    }

    /// The block as it is to go out, in pieces that share the memory of what was parsed and added.
    #[must_use]
    pub fn render(&self) -> Vec<Bytes> {
        if !self.is_changed {
            return vec![self.received.bytes.clone()];
        }
        let mut pieces: Vec<Bytes> = Vec::new();
        for block in self.blocks() {
            for piece in block.kept() {
                if pieces.last().is_some_and(|last| !last.ends_with(b"\n")) {
                    pieces.push(Bytes::from_static(CRLF));
                }
                pieces.push(piece);
            }
        }
        pieces
    }

    fn blocks(&self) -> impl Iterator<Item = &Block> {
        self.prepended.iter().rev().chain([&self.received]).chain(&self.inserted)
    }

    fn fields(&self) -> impl Iterator<Item = Field<'_>> {
        self.blocks().flat_map(Block::fields)
    }
}

/// Bytes with an index of the fields in them.
#[derive(Clone, Debug, Default)]
struct Block {
    bytes: Bytes,
    entries: Vec<Entry>,
}

/// Where one field lies in its block; the name is empty if the line is malformed.
#[derive(Clone, Debug)]
struct Entry {
    start: usize,
    name_length: usize,
    value: usize,
    end: usize,
    is_stripped: bool,
}

struct Field<'a> {
    entry: &'a Entry,
    bytes: &'a [u8],
}

impl Block {
    fn index(bytes: Bytes) -> Self {
        let mut entries: Vec<Entry> = Vec::new();
        let mut start = 0;
        while start < bytes.len() {
            let end = memchr(b'\n', &bytes[start..]).map_or(bytes.len(), |at| start + at + 1);
            match entries.last_mut() {
                Some(field) if is_blank(bytes[start]) => field.end = end,
                _ => entries.push(Entry::read(&bytes, start, end)),
            }
            start = end;
        }
        Self { bytes, entries }
    }

    fn fields(&self) -> impl Iterator<Item = Field<'_>> {
        let kept = self.entries.iter().filter(|entry| !entry.is_stripped);
        kept.map(|entry| Field { entry, bytes: &self.bytes })
    }

    fn strip(&mut self, name: &str) -> usize {
        let mut stripped = 0;
        for entry in &mut self.entries {
            if !entry.is_stripped && (Field { entry, bytes: &self.bytes }).is_called(name) {
                entry.is_stripped = true;
                stripped += 1;
            }
        }
        stripped
    }

    /// The longest runs of bytes without a stripped field.
    fn kept(&self) -> impl Iterator<Item = Bytes> {
        let runs = self.entries.chunk_by(|one, next| one.is_stripped == next.is_stripped);
        runs.filter(|run| !run[0].is_stripped)
            .map(|run| self.bytes.slice(run[0].start..run[run.len() - 1].end))
    }
}

impl Entry {
    fn read(bytes: &[u8], start: usize, end: usize) -> Self {
        let line = &bytes[start..end];
        let colon = memchr(b':', line);
        //= RFC 5322 4.5.8: blanks between the name and the colon are obsolete, but read.
        let name = colon.map_or(&[][..], |colon| line[..colon].trim_ascii_end());
        let is_name = name.iter().all(|&octet| is_name_char(char::from(octet)));
        let name_length = if is_name { name.len() } else { 0 };
        Self {
            start,
            name_length,
            value: start + colon.map_or(0, |colon| colon + 1),
            end,
            is_stripped: false,
        }
    }
}

impl<'a> Field<'a> {
    fn is_called(&self, name: &str) -> bool {
        let Entry { start, name_length, .. } = *self.entry;
        name_length == name.len()
            && name_length > 0
            && self.bytes[start..start + name_length].eq_ignore_ascii_case(name.as_bytes())
    }

    fn value(&self) -> &'a [u8] {
        let value = &self.bytes[self.entry.value..self.entry.end];
        let value = value.strip_suffix(b"\n").unwrap_or(value);
        value.strip_suffix(b"\r").unwrap_or(value)
    }
}

//= RFC 5322 2.2: printable US-ASCII (33 to 126) except the colon.
const fn is_name_char(char: char) -> bool {
    matches!(char, '!'..='9' | ';'..='~')
}

const fn is_blank(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t')
}

const CRLF: &[u8] = b"\r\n";

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;

    const BLOCK: &[u8] = b"Received: from a\r\n\tby b\r\nno colon here\r\nSUBJECT : one\r\n\
        X-\xff: odd\r\nX-Key:secret\r\nsubject: two\r\n";

    fn rendered(header: &Header) -> Vec<u8> {
        header.render().concat()
    }

    #[test]
    fn untouched_blocks_are_the_very_same_memory() {
        let block = Bytes::from_static(BLOCK);
        let header = Header::parse(block.clone());
        let pieces = header.render();
        assert!(!header.is_changed());
        assert_eq!((pieces.len(), pieces[0].as_ptr()), (1, block.as_ptr()));
        assert_eq!(pieces[0], block);
    }

    #[test]
    fn names_ignore_case_and_obsolete_blanks_and_values_keep_their_folds() {
        let header = Header::parse(Bytes::from_static(BLOCK));
        let subjects: Vec<&[u8]> = header.values("Subject").collect();
        assert_eq!(subjects, [&b" one"[..], b" two"]);
        assert_eq!(header.first("received"), Some(&b" from a\r\n\tby b"[..]));
        assert_eq!(header.first("X-KEY"), Some(&b"secret"[..]));
        assert_eq!((header.count("subject"), header.count("no colon here")), (2, 0));
        assert_eq!((header.count(""), header.count("X-\u{ff}")), (0, 0));
    }

    #[test]
    fn stripping_takes_every_instance_and_nothing_else() {
        let mut header = Header::parse(Bytes::from_static(BLOCK));
        assert_eq!((header.strip("Absent"), header.is_changed()), (0, false));
        assert_eq!(header.strip("subject"), 2);
        assert_eq!(header.strip("subject"), 0);
        assert_eq!(
            rendered(&header),
            b"Received: from a\r\n\tby b\r\nno colon here\r\nX-\xff: odd\r\nX-Key:secret\r\n"
        );
        header.strip("received");
        assert_eq!(rendered(&header), b"no colon here\r\nX-\xff: odd\r\nX-Key:secret\r\n");
    }

    #[test]
    fn added_fields_are_found_and_stripped_like_received_ones() {
        let mut header = Header::parse(Bytes::from_static(b"A: 1\r\n"));
        header.insert("B", "2");
        header.prepend(Bytes::from_static(b"R: x\r\n y\r\nB: 0\r\n"));
        header.prepend(Bytes::from_static(b"Q: first\r\n"));
        assert_eq!(rendered(&header), b"Q: first\r\nR: x\r\n y\r\nB: 0\r\nA: 1\r\nB: 2\r\n");
        assert_eq!(header.values("b").collect::<Vec<_>>(), [b" 0", b" 2"]);
        assert_eq!(header.strip("b"), 2);
        assert_eq!(rendered(&header), b"Q: first\r\nR: x\r\n y\r\nA: 1\r\n");
    }

    #[test]
    fn no_value_and_no_name_can_begin_another_field() {
        let mut header = Header::parse(Bytes::from_static(b"A: 1\r\n"));
        header.insert("X-A\r\nBcc", "a\r\nBcc: b\n\0c\r");
        header.insert(":\r\n", "nothing");
        assert_eq!(rendered(&header), b"A: 1\r\nX-ABcc: aBcc: bc\r\n");
    }

    #[test]
    fn a_block_without_a_final_line_ending_gets_one_before_a_field() {
        let mut header = Header::parse(Bytes::from_static(b"A: 1"));
        assert_eq!((header.first("a"), rendered(&header)), (Some(&b" 1"[..]), b"A: 1".to_vec()));
        header.insert("B", "2");
        assert_eq!(rendered(&header), b"A: 1\r\nB: 2\r\n");
    }

    #[test]
    fn a_block_may_be_empty_or_begin_in_the_middle_of_a_field() {
        let mut header = Header::parse(Bytes::new());
        assert_eq!(rendered(&header), b"");
        header.insert("B", "2");
        assert_eq!(rendered(&header), b"B: 2\r\n");
        let header = Header::parse(Bytes::from_static(b" folded\r\n: no name\r\nA:\n"));
        assert_eq!((header.first("a"), header.count("")), (Some(&b""[..]), 0));
        assert_eq!(rendered(&header), b" folded\r\n: no name\r\nA:\n");
    }
}
