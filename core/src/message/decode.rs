//! Values of header fields as people read them: unfolded, and out of RFC 2047's encoded-words.
//!
//! Filters must see what a mail reader shows, so reading is lenient where readers are; writing is
//! strict. Every scan is bounded, whatever a stranger nests or repeats.

use alloc::{borrow::Cow, string::String, vec::Vec};

use memchr::{memchr, memmem};

/// The value on one line, trimmed: each line ending with the blanks after it becomes one blank
/// (RFC 5322 2.2.3).
#[must_use]
pub fn unfold(raw: &[u8]) -> Cow<'_, [u8]> {
    let raw = raw.trim_ascii();
    if memchr(b'\n', raw).is_none() {
        return Cow::Borrowed(raw);
    }
    let mut lines = raw.split(|&octet| octet == b'\n');
    let mut value = Vec::with_capacity(raw.len());
    value.extend_from_slice(without_cr(lines.next().unwrap_or_default()));
    for line in lines {
        value.push(b' ');
        value.extend_from_slice(without_cr(line.trim_ascii_start()));
    }
    Cow::Owned(value)
}

/// The value unfolded, with its encoded-words (RFC 2047) decoded.
///
/// Knows the encodings B and Q and the charsets UTF-8, US-ASCII, ISO-8859-1 and Windows-1252; a
/// word in any other stays as it is written, and so does everything after the first
/// [`MAX_ENCODED_WORDS`]. Octets that are no UTF-8 become U+FFFD.
#[must_use]
pub fn decode_words(raw: &[u8]) -> Cow<'_, str> {
    match unfold(raw) {
        Cow::Borrowed(value) if memmem::find(value, b"=?").is_none() => {
            String::from_utf8_lossy(value)
        }
        value => Cow::Owned(decode_unfolded(&value)),
    }
}

/// Writes `value` after a field's `name: `, folded and encoded as it must be.
///
/// ASCII is written as it is while the line stays within RFC 5322's 998 octets, and folded at
/// blanks beyond. Everything else becomes encoded-words in UTF-8 and the Q encoding.
pub(super) fn write_value(value: &str, out: &mut Vec<u8>) {
    let has_long_word = || value.split(' ').any(|word| word.len() > MAX_WORD_UNENCODED);
    if !value.is_ascii() {
        write_words(value, out);
    } else if out.len() + value.len() <= MAX_LINE {
        out.extend_from_slice(value.as_bytes());
    } else if has_long_word() {
        write_words(value, out);
    } else {
        write_folded(value, out);
    }
}

fn write_folded(value: &str, out: &mut Vec<u8>) {
    let mut column = out.len();
    for (index, word) in value.split(' ').enumerate() {
        // A line of nothing but blanks would be obsolete syntax, so only a word goes to a new one.
        if index > 0 && !word.is_empty() && column + 1 + word.len() > MAX_LINE_ENCODED {
            out.extend_from_slice(b"\r\n");
            column = 0;
        }
        if index > 0 {
            out.push(b' ');
            column += 1;
        }
        out.extend_from_slice(word.as_bytes());
        column += word.len();
    }
}

//= RFC 2047 2: a word has at most 75 characters, a line that holds one at most 76.
fn write_words(value: &str, out: &mut Vec<u8>) {
    let mut column = out.len();
    let mut chars = value.chars().peekable();
    let mut is_first = true;
    while chars.peek().is_some() {
        if !is_first || column + OPENING.len() + MAX_CHAR_ENCODED + 2 > MAX_LINE_ENCODED {
            out.extend_from_slice(b"\r\n ");
            column = 1;
        }
        is_first = false;
        out.extend_from_slice(OPENING);
        column += OPENING.len();
        //= RFC 2047 5: each word holds whole characters.
        while let Some(&char) = chars.peek() {
            let length = encoded_length(char);
            if column + length + 2 > MAX_LINE_ENCODED {
                break;
            }
            write_q(char, out);
            column += length;
            chars.next();
        }
        out.extend_from_slice(b"?=");
    }
}

fn encoded_length(char: char) -> usize {
    if char == ' ' || is_safe_in_q(char) { 1 } else { char.len_utf8() * 3 }
}

fn write_q(char: char, out: &mut Vec<u8>) {
    if char == ' ' {
        out.push(b'_');
    } else if is_safe_in_q(char) {
        out.push(u8::try_from(char).expect("safe characters are ASCII"));
    } else {
        for &octet in char.encode_utf8(&mut [0; 4]).as_bytes() {
            let digit = |nibble: u8| HEXADECIMAL[usize::from(nibble)];
            out.extend_from_slice(&[b'=', digit(octet >> 4), digit(octet & 15)]);
        }
    }
}

//= RFC 2047 5 (3): what may stand in a word everywhere, even inside a phrase.
const fn is_safe_in_q(char: char) -> bool {
    matches!(char, 'a'..='z' | 'A'..='Z' | '0'..='9' | '!' | '*' | '+' | '-' | '/')
}

fn decode_unfolded(value: &[u8]) -> String {
    let mut text = String::with_capacity(value.len());
    // Octets of adjacent words of one charset, joined before they are read as characters: senders
    // do split a character over two words.
    let mut pending: Option<(Charset, Vec<u8>)> = None;
    let (mut plain, mut at) = (0, 0);
    for _ in 0..MAX_ENCODED_WORDS {
        let Some(found) = memmem::find(&value[at..], b"=?") else {
            break;
        };
        let start = at + found;
        let Some((charset, octets, length)) = read_word(&value[start..]) else {
            at = start + 2;
            continue;
        };
        let between = &value[plain..start];
        //= RFC 2047 6.2: blanks between two words are not shown.
        let is_adjacent = pending.is_some() && between.trim_ascii().is_empty();
        match &mut pending {
            Some((known, joined)) if is_adjacent && *known == charset => joined.extend(octets),
            _ => {
                flush(&mut pending, &mut text);
                if !is_adjacent {
                    text.push_str(&String::from_utf8_lossy(between));
                }
                pending = Some((charset, octets));
            }
        }
        at = start + length;
        plain = at;
    }
    flush(&mut pending, &mut text);
    text.push_str(&String::from_utf8_lossy(&value[plain..]));
    text
}

fn flush(pending: &mut Option<(Charset, Vec<u8>)>, text: &mut String) {
    if let Some((charset, octets)) = pending.take() {
        charset.read(&octets, text);
    }
}

/// `=?charset*language?encoding?text?=`: the charset, the octets of the text, and its length.
fn read_word(value: &[u8]) -> Option<(Charset, Vec<u8>, usize)> {
    let word = &value[2..value.len().min(MAX_ENCODED_WORD)];
    let charset_end = memchr(b'?', word)?;
    let (charset, rest) = (&word[..charset_end], &word[charset_end + 1..]);
    let [encoding, b'?', text @ ..] = rest else {
        return None;
    };
    let text = &text[..memmem::find(text, b"?=")?];
    //= RFC 2231 5: a language tag may follow the charset.
    let charset = charset.split(|&octet| octet == b'*').next().unwrap_or_default();
    let charset = Charset::named(charset)?;
    let octets = match encoding.to_ascii_lowercase() {
        b'b' => decode_base64(text),
        b'q' => decode_q(text),
        _ => return None,
    };
    Some((charset, octets, 2 + charset_end + 3 + text.len() + 2))
}

fn decode_q(text: &[u8]) -> Vec<u8> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, after @ ..] = rest {
        rest = after;
        octets.push(match (first, after) {
            (b'_', _) => b' ',
            (b'=', [high, low, after @ ..]) if is_hexadecimal(*high) && is_hexadecimal(*low) => {
                rest = after;
                nibble(*high) << 4 | nibble(*low)
            }
            _ => *first,
        });
    }
    octets
}

const fn is_hexadecimal(octet: u8) -> bool {
    octet.is_ascii_hexdigit()
}

fn nibble(octet: u8) -> u8 {
    let digit = char::from(octet).to_digit(16).expect("checked to be hexadecimal");
    u8::try_from(digit).expect("below 16")
}

/// Reads what is base64 and passes over what is not, as readers do; ends at the padding.
fn decode_base64(text: &[u8]) -> Vec<u8> {
    let mut octets = Vec::with_capacity(text.len() / 4 * 3 + 3);
    let (mut bits, mut count) = (0_u32, 0);
    for &octet in text.iter().take_while(|&&octet| octet != b'=') {
        let Some(value) = base64_value(octet) else {
            continue;
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            octets.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    octets
}

const fn base64_value(octet: u8) -> Option<u8> {
    match octet {
        b'A'..=b'Z' => Some(octet - b'A'),
        b'a'..=b'z' => Some(octet - b'a' + 26),
        b'0'..=b'9' => Some(octet - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Charset {
    Utf8,
    Ascii,
    Latin1,
    Windows1252,
}

impl Charset {
    fn named(name: &[u8]) -> Option<Self> {
        let known = CHARSETS.iter().find(|(known, _)| name.eq_ignore_ascii_case(known.as_bytes()));
        known.map(|&(_, charset)| charset)
    }

    fn read(self, octets: &[u8], text: &mut String) {
        match self {
            Self::Utf8 => text.push_str(&String::from_utf8_lossy(octets)),
            Self::Ascii => text.extend(octets.iter().map(|&octet| match octet {
                0..128 => char::from(octet),
                _ => char::REPLACEMENT_CHARACTER,
            })),
            Self::Latin1 => text.extend(octets.iter().map(|&octet| char::from(octet))),
            Self::Windows1252 => text.extend(octets.iter().map(|&octet| match octet {
                0x80..0xa0 => WINDOWS_1252_UPPER[usize::from(octet - 0x80)],
                _ => char::from(octet),
            })),
        }
    }
}

fn without_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Beginnings of encoded-words looked at in one value.
pub const MAX_ENCODED_WORDS: usize = 5_000;
/// Octets of an encoded-word; RFC 2047 allows 75, senders write whole lines.
const MAX_ENCODED_WORD: usize = 2_000;
//= RFC 5322 2.1.1
const MAX_LINE: usize = 998;
const MAX_LINE_ENCODED: usize = 76;
/// A blank-free run of ASCII beyond this cannot be folded into lines of 998 octets with its name.
const MAX_WORD_UNENCODED: usize = 900;
const MAX_CHAR_ENCODED: usize = 12;
const OPENING: &[u8] = b"=?utf-8?Q?";
const HEXADECIMAL: &[u8; 16] = b"0123456789ABCDEF";
const CHARSETS: [(&str, Charset); 8] = [
    ("utf-8", Charset::Utf8),
    ("utf8", Charset::Utf8),
    ("us-ascii", Charset::Ascii),
    ("ascii", Charset::Ascii),
    ("iso-8859-1", Charset::Latin1),
    ("latin1", Charset::Latin1),
    ("windows-1252", Charset::Windows1252),
    ("cp1252", Charset::Windows1252),
];
/// 0x80 to 0x9f; the five octets without a character keep their number, as the web's table says.
const WINDOWS_1252_UPPER: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}',
    '\u{90}', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];

#[cfg(test)]
mod tests {
    extern crate std;

    use std::string::ToString;

    use super::*;

    #[test]
    fn folds_become_one_blank_and_ends_are_trimmed() {
        assert_eq!(unfold(b" one\r\n\ttwo\n   three \r\n "), &b"one two three"[..]);
        assert!(matches!(unfold(b"  plain\t"), Cow::Borrowed(b"plain")));
    }

    #[test]
    fn words_of_the_known_charsets_are_decoded() {
        for (raw, text) in [
            ("=?UTF-8?Q?Pr=C3=A4mie?=", "Prämie"),
            ("=?utf-8?b?UHLDpG1pZQ==?=", "Prämie"),
            ("=?iso-8859-1?q?Pr=E4mie_1?=", "Prämie 1"),
            ("=?Windows-1252?Q?=80_=96?=", "€ –"),
            ("=?us-ascii*en?Q?a=FF?=", "a\u{fffd}"),
            ("Re: =?utf-8?q?a?= b =?utf-8?q?c?=", "Re: a b c"),
            ("=?utf-8?q?a?=\r\n =?utf-8?q?b?=", "ab"),
            ("=?utf-8?q?a?= =?iso-8859-1?q?b?=", "ab"),
            ("=?utf-8?B?w6Q?= x", "ä x"),
            ("\"=?utf-8?q?quoted?=\"", "\"quoted\""),
        ] {
            assert_eq!(decode_words(raw.as_bytes()), text, "{raw}");
        }
    }

    #[test]
    fn a_character_split_over_two_words_is_one_character() {
        assert_eq!(decode_words(b"=?utf-8?q?=C3?= =?utf-8?q?=A4?="), "ä");
    }

    #[test]
    fn what_is_no_word_or_unknown_stays_as_it_is() {
        for raw in [
            "=?koi8-r?Q?=C1?=",
            "=?utf-8?X?a?=",
            "=?utf-8?Q?open",
            "=?=?=?",
            "a =? b ?=",
            "=?",
            "=",
        ] {
            assert_eq!(decode_words(raw.as_bytes()), raw);
        }
        assert_eq!(decode_words(b"=?utf-8?Q?=C?= =?utf-8?Q?=zz?="), "=C=zz");
        assert_eq!(decode_words(b"\xff"), "\u{fffd}");
    }

    #[test]
    fn the_number_and_length_of_words_are_bounded() {
        let value = "=?utf-8?q?a?=".repeat(MAX_ENCODED_WORDS + 1);
        let text = decode_words(value.as_bytes()).into_owned();
        assert_eq!(text.len(), MAX_ENCODED_WORDS + "=?utf-8?q?a?=".len());
        let long = std::format!("=?utf-8?q?{}?=", "a".repeat(MAX_ENCODED_WORD));
        assert_eq!(decode_words(long.as_bytes()), long);
    }

    #[test]
    fn what_is_written_is_read_back_and_every_line_is_short() {
        let long = "Zoë ".repeat(200);
        let emoji = "🙂".repeat(60);
        for value in ["Prüfung läuft", "ä", " ä ", "a=?b_c?= é", &long, &emoji] {
            for name in ["X-Note: ", &("X-".to_string() + &"n".repeat(70) + ": ")] {
                let mut field = name.as_bytes().to_vec();
                write_value(value, &mut field);
                assert!(field.is_ascii());
                for line in field.split(|&octet| octet == b'\n').skip(1) {
                    assert!(without_cr(line).len() <= MAX_LINE_ENCODED);
                }
                assert_eq!(decode_words(&field[name.len()..]), value);
            }
        }
    }

    #[test]
    fn ascii_is_left_alone_until_its_line_is_too_long() {
        let mut short = b"A: ".to_vec();
        write_value("plain =?x", &mut short);
        assert_eq!(short, b"A: plain =?x");
        for value in ["word ".repeat(400), "x".repeat(1_200)] {
            let mut field = b"A: ".to_vec();
            write_value(value.trim_end(), &mut field);
            assert!(field.split(|&octet| octet == b'\n').all(|line| line.len() <= MAX_LINE));
            assert_eq!(decode_words(&field[3..]), value.trim_end());
        }
        let words = b"AA==".to_vec();
        assert_eq!(decode_base64(&words), [0]);
    }
}
