//! Text with variables (`$Subject`, `$Header['X']`), read once and filled in per message.
//!
//! What is filled in comes from strangers: whoever uses the result keeps line ends out of it.

use alloc::{
    borrow::Cow,
    format,
    string::{String, ToString},
    sync::Arc,
    vec::Vec,
};
use core::fmt::Write as _;

use ringpost_core::message::decode;

use super::{Examined, vocabulary};

/// Text and variables in turn.
#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Template {
    parts: Vec<Part>,
    /// Variables AsyncOS has and we do not, which stay as they are written.
    pub(super) unsupported: Vec<Arc<str>>,
}

#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Part {
    Text(Arc<str>),
    Variable(Variable),
    Header(Arc<str>),
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Variable {
    AllHeaders,
    BodySize,
    Date,
    EnvelopeFrom,
    EnvelopeRecipients,
    FilterName,
    Group,
    Hostname,
    Mid,
    Policy,
    RecvListener,
    RemoteHost,
    RemoteIp,
    Subject,
    Time,
    Timestamp,
}

impl Template {
    pub(super) fn parse(text: &str) -> Self {
        let mut template = Self::default();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            plain.push_str(&rest[..at]);
            rest = &rest[at..];
            let Some((part, length)) = template.read_variable(rest) else {
                plain.push('$');
                rest = &rest[1..];
                continue;
            };
            if !plain.is_empty() {
                template.parts.push(Part::Text(core::mem::take(&mut plain).into()));
            }
            template.parts.push(part);
            rest = &rest[length..];
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            template.parts.push(Part::Text(plain.into()));
        }
        template
    }

    /// Fills in what is known of a message. `subject` is the last one it had: the idiom for tags
    /// strips the field before it writes a new one. At most `limit` octets.
    pub(super) fn expand(
        &self,
        examined: &Examined<'_>,
        filter: &str,
        subject: Option<&str>,
        limit: usize,
    ) -> String {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(plain) => text.push_str(plain),
                Part::Variable(variable) => variable.write(examined, filter, subject, &mut text),
                Part::Header(name) => {
                    let value = examined.header.first(name).map(decode::decode_words);
                    text.push_str(value.as_deref().unwrap_or_default());
                }
            }
            if text.len() > limit {
                text.truncate(text.floor_char_boundary(limit));
                return text;
            }
        }
        text
    }

    /// The variable at the beginning of `text`, which begins with `$`, and its length.
    fn read_variable(&mut self, text: &str) -> Option<(Part, usize)> {
        let is_name = |char: char| char.is_ascii_alphabetic() || char == '_';
        let end = text[1..].find(|char| !is_name(char)).map_or(text.len(), |length| length + 1);
        if text[1..end].eq_ignore_ascii_case("header") {
            return read_header(&text[end..]).map(|(part, length)| (part, end + length));
        }
        // A name may be followed by `_` and more text: the longest name that is one counts.
        let underscores = text[1..end].rmatch_indices('_').map(|(at, _)| at + 1);
        for end in core::iter::once(end).chain(underscores) {
            let name = vocabulary::normal(&text[1..end]);
            if let Some((_, variable)) = VARIABLES.iter().find(|(known, _)| *known == name) {
                return Some((Part::Variable(*variable), end));
            }
            if UNSUPPORTED.contains(&name.as_str()) {
                self.unsupported.push(text[..end].into());
                return None;
            }
        }
        None
    }
}

/// `['Name']` or `["Name"]`.
fn read_header(text: &str) -> Option<(Part, usize)> {
    let quoted = text.strip_prefix('[')?;
    let quote = quoted.chars().next().filter(|char| matches!(char, '\'' | '"'))?;
    let name = &quoted[1..][..quoted[1..].find(quote)?];
    quoted[name.len() + 2..].starts_with(']').then(|| (Part::Header(name.into()), name.len() + 4))
}

impl Variable {
    fn write(self, examined: &Examined<'_>, filter: &str, subject: Option<&str>, out: &mut String) {
        let [year, month, day, hour, minute, second] = examined.date.calendar();
        let text: Cow<'_, str> = match self {
            Self::AllHeaders => {
                let pieces = examined.header.render();
                pieces.iter().for_each(|piece| out.push_str(&String::from_utf8_lossy(piece)));
                return;
            }
            Self::BodySize => examined.size.to_string().into(),
            Self::Date => format!("{month:02}/{day:02}/{year:04}").into(),
            Self::EnvelopeFrom => examined.envelope.reverse_path.as_str().into(),
            Self::EnvelopeRecipients => {
                for (index, recipient) in examined.envelope.recipients.iter().enumerate() {
                    let separator = if index == 0 { "" } else { ", " };
                    let _ = write!(out, "{separator}{}", recipient.address);
                }
                return;
            }
            Self::FilterName => filter.into(),
            Self::Group => examined.group.unwrap_or(UNKNOWN).into(),
            Self::Hostname => examined.hostname.into(),
            Self::Mid => examined.mid.to_string().into(),
            Self::Policy if examined.policy.is_empty() => UNKNOWN.into(),
            Self::Policy => examined.policy.into(),
            Self::RecvListener => examined.listener.into(),
            Self::RemoteHost => examined.client_name.name().map_or("unknown", |name| name).into(),
            Self::RemoteIp => examined.client.to_canonical().to_string().into(),
            Self::Subject => match examined.header.first("Subject") {
                Some(value) => decode::decode_words(value),
                None => subject.unwrap_or_default().into(),
            },
            Self::Time => format!("{hour:02}:{minute:02}:{second:02}").into(),
            Self::Timestamp => examined.date.rfc5322().to_string().into(),
        };
        out.push_str(&text);
    }
}

const UNKNOWN: &str = ">Unknown<";

/// In the spelling of [`vocabulary::normal`]. The time zone is UTC, so both time stamps are one.
const VARIABLES: [(&str, Variable); 19] = [
    ("allheaders", Variable::AllHeaders),
    ("bodysize", Variable::BodySize),
    ("date", Variable::Date),
    ("envelopefrom", Variable::EnvelopeFrom),
    ("envelopesender", Variable::EnvelopeFrom),
    ("enveloperecipients", Variable::EnvelopeRecipients),
    ("filtername", Variable::FilterName),
    ("group", Variable::Group),
    ("hostname", Variable::Hostname),
    ("mid", Variable::Mid),
    ("policy", Variable::Policy),
    ("recvlistener", Variable::RecvListener),
    ("remotehost", Variable::RemoteHost),
    ("remoteip", Variable::RemoteIp),
    ("remote-ip", Variable::RemoteIp),
    ("subject", Variable::Subject),
    ("time", Variable::Time),
    ("timestamp", Variable::Timestamp),
    ("gmtimestamp", Variable::Timestamp),
];

const UNSUPPORTED: [&str; 11] = [
    "certificatesigners",
    "dropped-filename",
    "dropped-filenames",
    "dropped-filetypes",
    "filenames",
    "filesizes",
    "filetypes",
    "matchedcontent",
    "recvint",
    "reputation",
    "smtpauthid",
];

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;

    fn shape(text: &str) -> Vec<String> {
        let show = |part: &Part| match part {
            Part::Text(text) => text.to_string(),
            Part::Variable(variable) => format!("<{variable:?}>"),
            Part::Header(name) => format!("<header {name}>"),
        };
        Template::parse(text).parts.iter().map(show).collect()
    }

    #[test]
    fn variables_are_found_and_everything_else_is_text() {
        for (text, parts) in [
            ("[x] $Subject", &["[x] ", "<Subject>"][..]),
            ("$MID$mid", &["<Mid>", "<Mid>"]),
            ("$remote_ip|$RemoteIP", &["<RemoteIp>", "|", "<RemoteIp>"]),
            ("$EnvelopeFrom_$MID", &["<EnvelopeFrom>", "_", "<Mid>"]),
            ("$Header['X-A']$header[\"b\"]", &["<header X-A>", "<header b>"]),
            ("$Header $Header['a $nope $ $$5", &["$Header $Header['a $nope $ $$5"]),
            ("$Header['", &["$Header['"]),
            ("é$Dateé", &["é", "<Date>", "é"]),
            ("", &[]),
        ] {
            assert_eq!(shape(text), parts, "{text}");
        }
    }

    #[test]
    fn what_asyncos_would_fill_in_is_known_to_be_missing() {
        let template = Template::parse("$Reputation $dropped_filename $unknown");
        assert_eq!(template.unsupported.len(), 2);
        assert_eq!(template.parts.len(), 1);
    }
}
