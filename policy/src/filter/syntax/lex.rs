//! Octets to tokens: strings, numbers with size suffixes, names, and the few signs there are.
//!
//! Never fails: what is no token is reported once and passed over.

use alloc::{format, string::String, vec::Vec};
use core::ops::Range;

use super::{Number, Operator};
use crate::filter::problem::{Problem, Problems};

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind<'a>,
    pub(super) span: Range<usize>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind<'a> {
    Name(&'a str),
    Text(String),
    Number(Number),
    Operator(Operator),
    /// One of `( ) { } [ ] , ; : !`.
    Sign(u8),
    End,
}

/// The tokens of a script; the last is [`Kind::End`].
pub(super) fn tokens<'a>(script: &'a str, problems: &mut Problems) -> Vec<Token<'a>> {
    let mut lexer = Lexer { script, at: 0, is_line_start: true };
    let mut tokens = Vec::new();
    while let Some(token) = lexer.next(problems) {
        tokens.push(token);
    }
    tokens.push(Token { kind: Kind::End, span: script.len()..script.len() });
    tokens
}

struct Lexer<'a> {
    script: &'a str,
    at: usize,
    /// Only blanks stand between the beginning of the line and here.
    is_line_start: bool,
}

impl<'a> Lexer<'a> {
    fn next(&mut self, problems: &mut Problems) -> Option<Token<'a>> {
        loop {
            self.skip_blanks_and_comments();
            let start = self.at;
            let first = self.rest().chars().next()?;
            self.is_line_start = false;
            let kind = match first {
                '"' | '\'' => Some(self.text(first, problems)),
                '-' | '0'..='9' | 'a'..='z' | 'A'..='Z' | '_' => self.word(problems),
                _ => self.sign(problems),
            };
            match kind {
                Some(kind) => {
                    return Some(Token { kind, span: start..self.at });
                }
                None => self.pass_over(start, problems),
            }
        }
    }

    fn rest(&self) -> &'a str {
        &self.script[self.at..]
    }

    fn skip_blanks_and_comments(&mut self) {
        while let Some(first) = self.rest().chars().next() {
            if first == '#' && self.is_line_start {
                self.at += self.rest().find('\n').unwrap_or_else(|| self.rest().len());
            } else if first.is_whitespace() || first == BYTE_ORDER_MARK {
                self.is_line_start |= first == '\n';
                self.at += first.len_utf8();
            } else {
                return;
            }
        }
    }

    /// A quoted string; one level of backslashes is ours, every other stays for the pattern.
    fn text(&mut self, quote: char, problems: &mut Problems) -> Kind<'a> {
        let start = self.at;
        let mut text = String::new();
        let mut chars = self.script[start..].char_indices().skip(1).peekable();
        while let Some((at, char)) = chars.next() {
            match char {
                '\n' => {
                    self.at = start + at;
                    self.unterminated(start, problems);
                    return Kind::Text(text);
                }
                '\\' => match chars.next_if(|(_, next)| matches!(next, '\\' | '"' | '\'')) {
                    Some((_, escaped)) => text.push(escaped),
                    None => text.push('\\'),
                },
                _ if char == quote => {
                    self.at = start + at + 1;
                    return Kind::Text(text);
                }
                _ => text.push(char),
            }
        }
        self.at = self.script.len();
        self.unterminated(start, problems);
        Kind::Text(text)
    }

    fn unterminated(&self, start: usize, problems: &mut Problems) {
        let help = "a string ends on its own line with the quote it began with";
        problems.add(Problem::new(start..self.at, "string without a closing quote").help(help));
    }

    fn word(&mut self, problems: &mut Problems) -> Option<Kind<'a>> {
        let is_word = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_');
        let starts_number = |char: char| char == '-' || char.is_ascii_digit();
        let rest = self.rest();
        let mut length = rest.find(|char| !is_word(char)).unwrap_or(rest.len());
        if rest.starts_with(starts_number) {
            // A fraction: the dot belongs to nothing else in this language.
            if rest[..length].trim_start_matches('-').bytes().all(|octet| octet.is_ascii_digit())
                && let Some(fraction) = rest[length..].strip_prefix('.')
            {
                let digits = fraction.find(|char| !is_word(char)).unwrap_or(fraction.len());
                length += 1 + digits;
            }
            let text = &rest[..length];
            match number(text) {
                Some(number) => {
                    self.at += length;
                    return Some(Kind::Number(number));
                }
                None if text.starts_with('-') || text.contains('.') => {
                    self.at += length;
                    let span = self.at - length..self.at;
                    problems.add(
                        Problem::new(span, format!("`{text}` is not a number"))
                            .help("write digits, up to three after a dot, and b, k, M or G"),
                    );
                    return Some(Kind::Number(Number(0)));
                }
                None => {}
            }
        }
        let name = &rest[..length];
        self.at += length;
        (!name.is_empty()).then_some(Kind::Name(name))
    }

    fn sign(&mut self, problems: &mut Problems) -> Option<Kind<'a>> {
        let (kind, length) = match self.rest().as_bytes() {
            [b'=', b'=', ..] => (Kind::Operator(Operator::Equal), 2),
            [b'!', b'=', ..] => (Kind::Operator(Operator::NotEqual), 2),
            [b'<', b'=', ..] => (Kind::Operator(Operator::LessOrEqual), 2),
            [b'>', b'=', ..] => (Kind::Operator(Operator::GreaterOrEqual), 2),
            [b'<', ..] => (Kind::Operator(Operator::Less), 1),
            [b'>', ..] => (Kind::Operator(Operator::Greater), 1),
            [b'=', ..] => {
                let problem = Problem::new(self.at..self.at + 1, "`=` is not an operator");
                problems.add(problem.help("equality is written `==`"));
                (Kind::Operator(Operator::Equal), 1)
            }
            [sign @ (b'(' | b')' | b'{' | b'}' | b'[' | b']' | b',' | b';' | b':' | b'!'), ..] => {
                (Kind::Sign(*sign), 1)
            }
            _ => return None,
        };
        self.at += length;
        Some(kind)
    }

    /// Passes over a run of characters that begin nothing.
    fn pass_over(&mut self, start: usize, problems: &mut Problems) {
        let known = |char: char| {
            char.is_ascii_alphanumeric()
                || char.is_whitespace()
                || "\"'(){}[],;:!=<>_".contains(char)
        };
        let rest = &self.script[start..];
        let first = rest.chars().next().map_or(1, char::len_utf8);
        let length = rest[first..].find(known).map_or(rest.len(), |length| first + length);
        self.at = start + length;
        let text = &rest[..length];
        let problem = Problem::new(start..self.at, format!("`{text}` has no meaning here"));
        let help = match text {
            "&" | "&&" => Some("write `and`"),
            "|" | "||" => Some("write `or`"),
            _ if text.starts_with('#') => Some("a comment stands on a line of its own"),
            _ if text.starts_with(['“', '”', '„', '‘', '’']) => {
                Some("use straight quotes")
            }
            _ => None,
        };
        if text.starts_with('#') {
            self.at = start + rest.find('\n').unwrap_or(rest.len());
        }
        problems.add(match help {
            Some(help) => problem.help(help),
            None => problem,
        });
    }
}

fn number(text: &str) -> Option<Number> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text),
    };
    let (digits, multiplier) = match digits.as_bytes().last()?.to_ascii_lowercase() {
        b'b' => (&digits[..digits.len() - 1], 1),
        b'k' => (&digits[..digits.len() - 1], 1 << 10),
        b'm' => (&digits[..digits.len() - 1], 1 << 20),
        b'g' => (&digits[..digits.len() - 1], 1 << 30),
        _ => (digits, 1),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let is_digits =
        |text: &str| !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit());
    if !is_digits(whole) || !is_digits(fraction) || fraction.len() > 3 {
        return None;
    }
    let scale = 10_i64.pow(3 - u32::try_from(fraction.len()).ok()?);
    let thousandths = whole.parse::<i64>().ok()?.checked_mul(1000)?;
    let thousandths = thousandths.checked_add(fraction.parse::<i64>().ok()? * scale)?;
    thousandths.checked_mul(sign * multiplier).map(Number)
}

const BYTE_ORDER_MARK: char = '\u{feff}';

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;

    fn kinds(script: &str) -> (Vec<Kind<'_>>, usize) {
        let mut problems = Problems::default();
        let kinds = tokens(script, &mut problems).into_iter().map(|token| token.kind).collect();
        (kinds, problems.into_sorted().len())
    }

    #[test]
    fn sizes_fractions_and_signs_are_numbers() {
        for (text, thousandths) in [
            ("10", 10_000),
            ("10b", 10_000),
            ("13k", 13 * 1_024_000),
            ("5M", 5_000 << 20),
            ("1g", 1_000 << 30),
            ("-7.5", -7_500),
            ("0.5m", 500 << 20),
        ] {
            assert_eq!(kinds(text), (std::vec![Kind::Number(Number(thousandths)), Kind::End], 0));
        }
        assert_eq!(kinds("99999999999999999G").1, 0, "an overlong number is a name");
        assert_eq!(kinds("1.2345").1, 1);
        assert_eq!(kinds("-x").1, 1);
    }

    #[test]
    fn one_level_of_backslashes_is_taken_off() {
        let text = |text: &str| Kind::Text(text.into());
        let (found, problems) = kinds(r#""\\.exe$" "\.exe" 'it\'s "x"' "\"" "\n""#);
        let texts = [r"\.exe$", r"\.exe", "it's \"x\"", "\"", r"\n"]
            .map(text)
            .into_iter()
            .chain([Kind::End]);
        assert_eq!((found, problems), (texts.collect(), 0));
    }

    #[test]
    fn only_whole_lines_are_comments() {
        let (found, problems) = kinds("  # one ; {\n\t# two\nx # three\ny");
        assert_eq!(found, [Kind::Name("x"), Kind::Name("y"), Kind::End]);
        assert_eq!(problems, 1);
    }

    #[test]
    fn a_string_ends_with_its_line() {
        let (found, problems) = kinds("'a\nb \"c");
        assert_eq!(
            found,
            [Kind::Text("a".into()), Kind::Name("b"), Kind::Text("c".into()), Kind::End]
        );
        assert_eq!(problems, 2);
    }

    #[test]
    fn what_is_no_token_is_reported_once_per_run() {
        let (found, problems) = kinds("a && b = c @@@ “d”");
        assert_eq!(found.len(), 6);
        assert_eq!(problems, 5, "two curly quotes, one run each");
    }
}
