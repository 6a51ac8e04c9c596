//! Python's `re` dialect, in which AsyncOS patterns are written, as a pattern our engine reads.
//!
//! The engine takes linear time whatever a stranger sends, so what needs backtracking is refused.
//! Where both dialects read a construct differently it is rewritten; nothing is passed through
//! that was not understood. `\w \d \s \b` are ASCII, as they are for Python's byte strings.

use alloc::{format, string::String, vec::Vec};
use core::{fmt::Write as _, iter::Peekable, str::Chars};

/// Why a pattern cannot be used.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct PatternError {
    pub(super) message: String,
    pub(super) help: Option<&'static str>,
}

/// Rewrites a Python pattern; `ignores_case` acts like a leading `(?i)`.
pub(super) fn translate(pattern: &str, ignores_case: bool) -> Result<String, PatternError> {
    if pattern.len() > MAX_PATTERN {
        return Err(error(format!("a pattern has at most {MAX_PATTERN} octets")));
    }
    let mut flags = Flags { ignores_case, ..Flags::default() };
    // A flag group acts on the whole pattern wherever it stands, so a later one starts afresh. Each
    // round adds a flag, so there are at most as many rounds as flags.
    loop {
        let mut translator = Translator::new(pattern, flags);
        translator.run()?;
        if translator.whole == flags {
            return Ok(translator.out);
        }
        flags = translator.whole;
    }
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Flags {
    ignores_case: bool,
    is_multiline: bool,
    dot_matches_newline: bool,
    is_verbose: bool,
}

struct Translator<'a> {
    chars: Peekable<Chars<'a>>,
    out: String,
    /// What acts here; the enclosing groups' are below.
    flags: Vec<Flags>,
    whole: Flags,
    /// Whether what was just read may be repeated.
    last: Last,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Last {
    Nothing,
    Item,
    Repeat,
}

impl<'a> Translator<'a> {
    fn new(pattern: &'a str, flags: Flags) -> Self {
        Self {
            chars: pattern.chars().peekable(),
            out: String::with_capacity(pattern.len() * 2),
            flags: alloc::vec![flags],
            whole: flags,
            last: Last::Nothing,
        }
    }

    fn run(&mut self) -> Result<(), PatternError> {
        while let Some(char) = self.chars.next() {
            match char {
                '\\' => self.escape()?,
                '[' => self.class()?,
                '(' => self.group()?,
                ')' => self.close()?,
                '|' => self.put("|", Last::Nothing),
                '.' if self.current().dot_matches_newline => self.put("(?s:.)", Last::Item),
                '.' => self.put(".", Last::Item),
                '^' if self.current().is_multiline => self.put("(?m:^)", Last::Item),
                '^' => self.put(r"\A", Last::Item),
                '$' if self.current().is_multiline => self.put("(?m:$)", Last::Item),
                // Before a final newline, or at the very end.
                '$' => self.put(r"(?:\n?\z)", Last::Item),
                '*' | '+' | '?' => self.repeat(char.encode_utf8(&mut [0; 4]))?,
                '{' => match self.bounds()? {
                    Some(bounds) => self.repeat(&bounds)?,
                    None => self.literal('{'),
                },
                '#' if self.current().is_verbose => {
                    while self.chars.next().is_some_and(|char| char != '\n') {}
                }
                _ if self.current().is_verbose && char.is_ascii_whitespace() => {}
                _ => self.literal(char),
            }
        }
        if self.flags.len() > 1 { Err(error("a `(` is never closed")) } else { Ok(()) }
    }

    fn current(&self) -> Flags {
        *self.flags.last().expect("the whole pattern's flags are never taken off")
    }

    fn put(&mut self, text: &str, last: Last) {
        self.out.push_str(text);
        self.last = last;
    }

    fn literal(&mut self, char: char) {
        if !self.current().ignores_case || !char.is_alphabetic() {
            push_literal(char, &mut self.out);
        } else if char.is_ascii() {
            // No Kelvin sign for k, no long s for s: ASCII letters have two cases.
            let (lower, upper) = (char.to_ascii_lowercase(), char.to_ascii_uppercase());
            let _ = write!(self.out, "[{upper}{lower}]");
        } else {
            let _ = write!(self.out, "(?i:{char})");
        }
        self.last = Last::Item;
    }

    fn repeat(&mut self, operator: &str) -> Result<(), PatternError> {
        match self.last {
            Last::Nothing => return Err(error(format!("nothing to repeat before `{operator}`"))),
            Last::Repeat => return Err(error(format!("`{operator}` repeats a repetition"))),
            Last::Item => {}
        }
        self.put(operator, Last::Repeat);
        if self.chars.next_if_eq(&'?').is_some() {
            self.out.push('?');
        } else if self.chars.peek() == Some(&'+') {
            return Err(needs_backtracking("a possessive repetition"));
        }
        Ok(())
    }

    /// After `{`: `n}`, `n,}`, `,m}` or `n,m}`. Anything else is a brace like any other character.
    fn bounds(&mut self) -> Result<Option<String>, PatternError> {
        let mut ahead = self.chars.clone();
        let digits = |ahead: &mut Peekable<Chars<'a>>| {
            let mut digits = String::new();
            while let Some(digit) = ahead.next_if(char::is_ascii_digit) {
                digits.push(digit);
            }
            digits
        };
        let least = digits(&mut ahead);
        let has_comma = ahead.next_if_eq(&',').is_some();
        let most = if has_comma { digits(&mut ahead) } else { least.clone() };
        if ahead.next() != Some('}') || (least.is_empty() && !has_comma) {
            return Ok(None);
        }
        self.chars = ahead;
        let number = |text: &str, default: u32| match text {
            "" => Ok(default),
            _ => text.parse().map_err(|_| error("the number in a repetition is too large")),
        };
        let (least, bound) = (number(&least, 0)?, number(&most, u32::MAX)?);
        if least > bound {
            return Err(error("the least number of repetitions is greater than the most"));
        }
        Ok(Some(if most.is_empty() {
            format!("{{{least},}}")
        } else {
            format!("{{{least},{bound}}}")
        }))
    }

    fn escape(&mut self) -> Result<(), PatternError> {
        let Some(char) = self.chars.next() else {
            return Err(error("a backslash at the end"));
        };
        match char {
            'A' => self.put(r"\A", Last::Item),
            'Z' => self.put(r"\z", Last::Item),
            'b' => self.put(r"(?-u:\b)", Last::Item),
            'B' => self.put(r"(?-u:\B)", Last::Item),
            'd' | 'D' | 's' | 'S' | 'w' | 'W' => {
                self.put(&format!("[{}]", category(char)), Last::Item);
            }
            '1'..='9' => match self.octal(char, false)? {
                Some(char) => self.literal(char),
                None => return Err(needs_backtracking("a back-reference")),
            },
            _ => {
                let char = self.character_escape(char)?;
                self.literal(char);
            }
        }
        Ok(())
    }

    /// The character an escape stands for, inside a class or outside.
    fn character_escape(&mut self, char: char) -> Result<char, PatternError> {
        Ok(match char {
            'a' => '\x07',
            'f' => '\x0c',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\x0b',
            'x' => self.hexadecimal(2)?,
            'u' => self.hexadecimal(4)?,
            'U' => self.hexadecimal(8)?,
            '0' => self.octal(char, true)?.unwrap_or('\0'),
            _ if char.is_ascii_alphanumeric() => {
                return Err(error(format!(r"`\{char}` is no escape of this dialect")));
            }
            _ => char,
        })
    }

    fn hexadecimal(&mut self, count: usize) -> Result<char, PatternError> {
        let mut value = 0;
        for _ in 0..count {
            let digit = self.chars.next().and_then(|char| char.to_digit(16));
            let Some(digit) = digit else {
                return Err(error(format!("an escape that wants {count} hexadecimal digits")));
            };
            value = value * 16 + digit;
        }
        char::from_u32(value).ok_or_else(|| error("an escape that stands for no character"))
    }

    /// Up to three octal digits after a backslash. Outside a class, fewer than three that do not
    /// begin with 0 are a back-reference.
    fn octal(&mut self, first: char, is_lenient: bool) -> Result<Option<char>, PatternError> {
        let mut ahead = self.chars.clone();
        let Some(mut value) = first.to_digit(8) else {
            return Ok(None);
        };
        let mut count = 1;
        while count < 3
            && let Some(digit) = ahead.peek().and_then(|char| char.to_digit(8))
        {
            ahead.next();
            value = value * 8 + digit;
            count += 1;
        }
        if count < 3 && !is_lenient {
            return Ok(None);
        }
        self.chars = ahead;
        let char = u8::try_from(value).map_err(|_| error("an octal escape above \\377"))?;
        Ok(Some(char::from(char)))
    }

    fn group(&mut self) -> Result<(), PatternError> {
        let mut flags = self.current();
        let opening = if self.chars.next_if_eq(&'?').is_none() {
            "("
        } else {
            match self.chars.next() {
                Some(':') => "(?:",
                Some('#') => {
                    return match self.chars.any(|char| char == ')') {
                        true => Ok(()),
                        false => Err(error("a comment that never ends")),
                    };
                }
                Some('P') => return self.named_group(),
                Some('=' | '!') => return Err(needs_backtracking("a look-ahead")),
                Some('<') if matches!(self.chars.peek(), Some('=' | '!')) => {
                    return Err(needs_backtracking("a look-behind"));
                }
                Some('>') => return Err(needs_backtracking("an atomic group")),
                Some('(') => return Err(needs_backtracking("a conditional group")),
                Some(first) => match self.flag_group(first, &mut flags)? {
                    true => "(?:",
                    false => return Ok(()),
                },
                None => return Err(error("a `(` is never closed")),
            }
        };
        self.open(opening, flags)
    }

    fn open(&mut self, opening: &str, flags: Flags) -> Result<(), PatternError> {
        if self.flags.len() > MAX_GROUP_DEPTH {
            return Err(error(format!("groups nested more than {MAX_GROUP_DEPTH} deep")));
        }
        self.put(opening, Last::Nothing);
        self.flags.push(flags);
        Ok(())
    }

    /// After `(?P`.
    fn named_group(&mut self) -> Result<(), PatternError> {
        match self.chars.next() {
            Some('=') => return Err(needs_backtracking("a back-reference")),
            Some('<') => {}
            _ => return Err(error("after `(?P` comes `<name>`")),
        }
        let mut name = String::new();
        loop {
            match self.chars.next() {
                Some('>') => break,
                Some(char) if char.is_ascii_alphanumeric() || char == '_' => name.push(char),
                _ => {
                    return Err(error("the name of a group has letters, digits and `_` only"));
                }
            }
        }
        if name.is_empty() || name.starts_with(|char: char| char.is_ascii_digit()) {
            return Err(error("the name of a group begins with a letter"));
        }
        self.open(&format!("(?P<{name}>"), self.current())
    }

    /// After `(?`: `flags)` for the whole pattern, or `flags-flags:` for a group (true).
    fn flag_group(&mut self, first: char, flags: &mut Flags) -> Result<bool, PatternError> {
        let (mut next, mut value, before) = (Some(first), true, *flags);
        loop {
            match next {
                Some('i') => flags.ignores_case = value,
                Some('m') => flags.is_multiline = value,
                Some('s') => flags.dot_matches_newline = value,
                Some('x') => flags.is_verbose = value,
                Some('a' | 'u' | 'L') if value => {}
                Some('-') if value => value = false,
                Some(':') => return Ok(true),
                Some(')') if value => break,
                _ => return Err(error("an unknown kind of group after `(?`")),
            }
            next = self.chars.next();
        }
        self.whole.ignores_case |= flags.ignores_case && !before.ignores_case;
        self.whole.is_multiline |= flags.is_multiline && !before.is_multiline;
        self.whole.dot_matches_newline |= flags.dot_matches_newline && !before.dot_matches_newline;
        self.whole.is_verbose |= flags.is_verbose && !before.is_verbose;
        Ok(false)
    }

    fn close(&mut self) -> Result<(), PatternError> {
        if self.flags.len() == 1 {
            return Err(error("a `)` without a `(`"));
        }
        self.flags.pop();
        self.put(")", Last::Item);
        Ok(())
    }

    fn class(&mut self) -> Result<(), PatternError> {
        let is_negated = self.chars.next_if_eq(&'^').is_some();
        let (mut class, mut is_ascii) = (String::new(), !is_negated);
        let mut is_first = true;
        loop {
            let Some(char) = self.chars.next() else {
                return Err(error("a `[` is never closed"));
            };
            if char == ']' && !is_first {
                break;
            }
            is_first = false;
            let Some(start) = self.class_item(char, &mut class, &mut is_ascii)? else {
                continue;
            };
            let end = self.range_end(start)?;
            is_ascii &= end.is_ascii();
            push_literal(start, &mut class);
            if end != start {
                class.push('-');
                push_literal(end, &mut class);
            }
        }
        let negation = if is_negated { "^" } else { "" };
        let class = match (self.current().ignores_case, is_ascii) {
            (false, _) => format!("[{negation}{class}]"),
            (true, true) => format!("(?i-u:[{class}])"),
            (true, false) => format!("(?i:[{negation}{class}])"),
        };
        self.put(&class, Last::Item);
        Ok(())
    }

    /// The character that begins an item, or none if the item is a category and already written.
    fn class_item(
        &mut self,
        char: char,
        class: &mut String,
        is_ascii: &mut bool,
    ) -> Result<Option<char>, PatternError> {
        if char != '\\' {
            return Ok(Some(char));
        }
        match self.chars.next() {
            None => Err(error("a backslash at the end")),
            Some('b') => Ok(Some('\x08')),
            Some(digit @ '1'..='7') => self.octal(digit, true),
            Some(letter @ ('d' | 'D' | 's' | 'S' | 'w' | 'W')) => {
                let category = category(letter);
                *is_ascii &= letter.is_ascii_lowercase();
                match letter.is_ascii_lowercase() {
                    true => class.push_str(category),
                    false => class.push_str(&format!("[{category}]")),
                }
                let mut ahead = self.chars.clone();
                match (ahead.next(), ahead.next()) {
                    (Some('-'), Some(next)) if next != ']' => Err(error("a range of categories")),
                    _ => Ok(None),
                }
            }
            Some(char) => self.character_escape(char).map(Some),
        }
    }

    /// The end of the range that `start` may begin; `start` itself if it begins none.
    fn range_end(&mut self, start: char) -> Result<char, PatternError> {
        let mut ahead = self.chars.clone();
        if ahead.next() != Some('-') || matches!(ahead.peek(), Some(']') | None) {
            return Ok(start);
        }
        self.chars = ahead;
        let end = match self.chars.next() {
            Some('\\') => match self.chars.next() {
                Some('b') => '\x08',
                Some(digit @ '1'..='7') => self.octal(digit, true)?.unwrap_or(digit),
                Some('d' | 'D' | 's' | 'S' | 'w' | 'W') => {
                    return Err(error("a range that ends in a category"));
                }
                Some(char) => self.character_escape(char)?,
                None => return Err(error("a backslash at the end")),
            },
            Some(char) => char,
            None => return Err(error("a `[` is never closed")),
        };
        if end < start {
            return Err(error(format!("the range {start}-{end} is the wrong way round")));
        }
        Ok(end)
    }
}

/// What stands between the brackets of a class for one of Python's categories, in ASCII.
const fn category(letter: char) -> &'static str {
    match letter {
        'd' => "0-9",
        'D' => "^0-9",
        's' => r" \t\n\r\x0B\x0C",
        'S' => r"^ \t\n\r\x0B\x0C",
        'w' => "0-9A-Za-z_",
        _ => "^0-9A-Za-z_",
    }
}

/// A character that means itself everywhere in our engine's syntax.
fn push_literal(char: char, out: &mut String) {
    if char.is_alphanumeric() || char == '_' || (!char.is_ascii() && !char.is_control()) {
        out.push(char);
    } else if char.is_ascii_punctuation() && !matches!(char, '<' | '>') {
        out.push('\\');
        out.push(char);
    } else {
        let _ = write!(out, r"\x{{{:X}}}", u32::from(char));
    }
}

fn error(message: impl Into<String>) -> PatternError {
    PatternError { message: message.into(), help: None }
}

fn needs_backtracking(construct: &str) -> PatternError {
    let message = format!("{construct} needs the backtracking engine, not yet supported");
    PatternError { message, help: Some("say it without, for instance as two conditions") }
}

/// Octets of one pattern.
pub(super) const MAX_PATTERN: usize = 16 * 1024;
/// Groups within each other.
const MAX_GROUP_DEPTH: usize = 50;

#[cfg(test)]
mod tests {
    use regex_automata::{meta::Regex, util::syntax};

    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        let translated = translate(pattern, false).unwrap_or_else(|error| panic!("{error:?}"));
        let syntax = syntax::Config::new().utf8(false);
        let regex = Regex::builder().syntax(syntax).build(&translated);
        regex.unwrap_or_else(|error| panic!("{pattern} -> {translated}: {error:?}")).is_match(text)
    }

    /// Expected values are CPython's `re.search`.
    #[test]
    fn patterns_mean_what_they_mean_in_python() {
        for (pattern, text, expected) in [
            ("a$", "a\n", true),
            ("a$", "a\nb", false),
            ("(?m)a$", "a\nb", true),
            (r"a\Z", "a\n", false),
            ("^$", "", true),
            ("^$|<\\s*>", "x< >", true),
            ("(a$|b)c?", "xa", true),
            ("[[:alpha:]]", "x", false),
            ("[[:alpha:]]", "a]", true),
            ("[a-z&&b]", "&", true),
            ("[a~~b]", "~", true),
            ("[!--b]", ",", true),
            ("[[]", "[", true),
            ("[]a]", "]", true),
            ("[^]a]", "]", false),
            (r"\07", "\x07", true),
            (r"\101", "A", true),
            (r"[\101]", "A", true),
            (r"[\1]", "\x01", true),
            (r"\<a", "<a", true),
            (r"[\b]", "\x08", true),
            (r"\bcat\b", "a cat.", true),
            (r"\w", "é", false),
            (r"\W", "é", true),
            (r"\bx", "éx", true),
            ("x{,3}y", "y", true),
            ("x{,}y", "xxy", true),
            ("^x{2}$", "xx", true),
            ("x{", "x{", true),
            ("x{}", "x{}", true),
            ("x{a,3}", "x{a,3}", true),
            ("}", "}", true),
            ("^.$", "é", true),
            ("a.b", "a\nb", false),
            ("(?s)a.b", "a\nb", true),
            ("(?i)prämie", "PRÄMIE", true),
            ("(?i)kiss", "\u{212a}iss", false),
            ("(?i)[a-k]iss", "KISS", true),
            ("(?i)[^a]", "A", false),
            ("b(?i)a", "BA", true),
            ("(?i:b)a", "BA", false),
            ("(?x) a b # c", "ab", true),
            ("a#b", "a#b", true),
            ("(?#note)a", "a", true),
            ("(?P<n>a)b", "ab", true),
            (r"\x41\u00e9", "Aé", true),
            ("a*?b", "aab", true),
            ("a b", "a b", true),
            ("~&-", "~&-", true),
            (r"[\w.-]+@", "a-b.c@", true),
            (r"[^\s]", " ", false),
            (r"[\D]", "1", false),
            (r"(?i)[\Dx]", "1", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} on {text:?}");
        }
    }

    #[test]
    fn what_python_refuses_is_refused() {
        for pattern in [
            "(",
            ")",
            "a)",
            "[",
            "[]",
            "*a",
            "a**",
            "a{2}{3}",
            "(|*)",
            "(?P<1>a)",
            "(?z)",
            r"\",
            r"\q",
            r"\x4",
            "[z-a]",
            "[a--b]",
            r"[\w-z]",
            r"[a-\d]",
            r"\400",
            "a{3,2}",
            "(?",
            "(?#",
            "(?i",
            "(?P",
            "(?-i)",
            "a{99999999999}",
        ] {
            let error = translate(pattern, false).expect_err(pattern);
            assert!(!error.message.contains("backtracking"), "{pattern}");
        }
        assert!(translate(&"(".repeat(1_000), false).is_err());
        assert!(translate(&"a".repeat(MAX_PATTERN + 1), false).is_err());
    }

    #[test]
    fn what_needs_backtracking_is_refused_as_such() {
        for pattern in [
            "(?=a)",
            "(?!a)",
            "(?<=a)b",
            "(?<!a)b",
            r"(a)\1",
            "(?P<n>a)(?P=n)",
            "(a)?(?(1)b|c)",
            "a++",
            "(?>a)",
        ] {
            let error = translate(pattern, false).expect_err(pattern);
            assert!(error.message.contains("backtracking"), "{pattern}: {error:?}");
        }
    }
}
