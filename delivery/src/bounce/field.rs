//! Fields of a report: text from peers made harmless, lines kept short (RFC 5322 2.1.1, 2.2.3).

use alloc::string::String;

/// `name: value` with its line ending, folded between words; a long word is divided.
pub(super) fn folded(name: &str, value: &str) -> String {
    let mut field = String::with_capacity(name.len() + value.len() + 8);
    field.push_str(name);
    field.push(':');
    let line = field.len();
    wrap(&mut field, line, "", value);
    field
}

/// Adds indented lines, broken between words.
pub(super) fn paragraph(text: &mut String, words: &str) {
    text.push_str(INDENT);
    wrap(text, INDENT.len(), INDENT, words);
}

/// Adds words to a line of `line` octets, and lines that begin with `indent` and a space.
fn wrap(out: &mut String, mut line: usize, indent: &str, words: &str) {
    for word in words.split(' ').filter(|word| !word.is_empty()) {
        if line + 1 + word.len() > LINE_OCTETS && line > indent.len() {
            out.push_str("\r\n");
            out.push_str(indent);
            line = indent.len();
        }
        out.push(' ');
        line += 1;
        for c in word.chars() {
            if line + c.len_utf8() > LINE_OCTETS_MAX {
                out.push_str("\r\n");
                out.push_str(indent);
                out.push(' ');
                line = indent.len() + 1;
            }
            out.push(c);
            line += c.len_utf8();
        }
    }
    out.push_str("\r\n");
}

/// `text` with nothing in it that could end a line or hide one.
pub(super) fn printable(text: &str) -> String {
    let safe = |c: char| match c {
        '\t' | '\n' => ' ',
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '?',
        _ if c.is_control() => '?',
        _ => c,
    };
    text.chars().map(safe).collect()
}

/// What xtext stands for (RFC 3461 4); what is not xtext is left as it is.
pub(super) fn decode_xtext(text: &str) -> String {
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(plus) = rest.find('+') {
        decoded.push_str(&rest[..plus]);
        let digits = rest.get(plus + 1..plus + 3);
        let byte = digits
            .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .and_then(|digits| u8::from_str_radix(digits, 16).ok())
            .filter(u8::is_ascii);
        match byte {
            Some(byte) => {
                decoded.push(char::from(byte));
                rest = &rest[plus + 3..];
            }
            None => {
                decoded.push('+');
                rest = &rest[plus + 1..];
            }
        }
    }
    decoded.push_str(rest);
    decoded
}

const INDENT: &str = "   ";
//= RFC 5322 2.1.1
const LINE_OCTETS: usize = 78;
const LINE_OCTETS_MAX: usize = 998;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_fold_between_words_and_long_words_are_divided() {
        assert_eq!(folded("A", "b  c"), "A: b c\r\n");
        let mut text = String::new();
        paragraph(&mut text, "b : c");
        assert_eq!(text, "    b : c\r\n");
        let mut text = String::new();
        paragraph(&mut text, &"word ".repeat(60));
        assert!(text.split_terminator("\r\n").all(|l| l.starts_with("    word") && l.len() <= 78));
        let field = folded("Diagnostic-Code", &"word ".repeat(60));
        assert!(field.split("\r\n").all(|line| line.len() <= 78));
        assert_eq!(field.replace("\r\n", "").matches(" word").count(), 60);
        let long = folded("To", &"\u{e9}".repeat(3_000));
        assert!(long.split("\r\n").all(|line| line.len() <= 998));
        assert!(long.split_terminator("\r\n").skip(1).all(|line| line.starts_with(' ')));
    }

    #[test]
    fn xtext_is_decoded_and_nothing_else_is() {
        assert_eq!(decode_xtext("a+2Bb+3Dc"), "a+b=c");
        assert_eq!(decode_xtext("a+ZZ+2+"), "a+ZZ+2+");
        assert_eq!(decode_xtext("+\u{e9}+C3"), "+\u{e9}+C3");
        assert_eq!(printable(&decode_xtext("a+0D+0ABcc: b")), "a? Bcc: b");
    }
}
