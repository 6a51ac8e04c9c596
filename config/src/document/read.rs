//! Reading one table of the file: each key is asked for once, and what nobody asked for is wrong.
//!
//! Serde stops at the first error. Here a bad value is reported, counts as absent, and reading goes
//! on, so that one run shows everything.

use std::{net::SocketAddr, ops::Range, time::Duration};

use toml::de::{DeTable, DeValue};

use crate::{
    diagnostic::{Code, Diagnostic},
    document::Written,
    quantity::{self, QuantityError},
    report::Report,
    source::Source,
    suggestion,
};

/// A table being read.
pub(super) struct Table<'a> {
    /// As it is written in the file: `[dns]`, `[[listener]]`; empty for the top level.
    path: &'static str,
    entries: &'a DeTable<'a>,
    span: Range<usize>,
    source: &'a Source,
    report: &'a mut Report,
    asked: Vec<&'static str>,
}

/// The entries of a nested table, and where it stands.
pub(super) struct Nested<'a> {
    pub(super) entries: &'a DeTable<'a>,
    pub(super) span: Range<usize>,
}

impl<'a> Table<'a> {
    pub(super) const fn new(
        path: &'static str,
        nested: Nested<'a>,
        source: &'a Source,
        report: &'a mut Report,
    ) -> Self {
        let Nested { entries, span } = nested;
        Self { path, entries, span, source, report, asked: Vec::new() }
    }

    /// A table inside this one, to be read before this one goes on.
    pub(super) fn nested<'b>(&'b mut self, path: &'static str, nested: Nested<'b>) -> Table<'b>
    where
        'a: 'b,
    {
        Table::new(path, nested, self.source, self.report)
    }

    /// Where the table stands: its header.
    pub(super) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// Whether `key` was written, understood or not.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.get(key).is_some()
    }

    /// Says that `key` has to be there, unless it is.
    pub(super) fn require(&mut self, key: &'static str, help: &str) {
        if !self.has(key) {
            let message = match self.path {
                "" => format!("`{key}` is missing"),
                path => format!("{path} lacks `{key}`"),
            };
            let span = self.span.clone();
            self.report.error(self.source, &span, Code::MissingKey, message).help(help);
        }
    }

    pub(super) fn text(&mut self, key: &'static str) -> Option<Written<String>> {
        let (value, span) = self.value(key)?;
        match value {
            DeValue::String(text) => Some(Written::new(text.to_string(), span)),
            other => self.wrong_type(key, span, "a string", other),
        }
    }

    pub(super) fn flag(&mut self, key: &'static str) -> Option<Written<bool>> {
        let (value, span) = self.value(key)?;
        match value {
            DeValue::Boolean(flag) => Some(Written::new(*flag, span)),
            other => self.wrong_type(key, span, "true or false", other),
        }
    }

    /// A whole number within `range`.
    pub(super) fn count(
        &mut self,
        key: &'static str,
        range: std::ops::RangeInclusive<u32>,
    ) -> Option<Written<u32>> {
        let (value, span) = self.value(key)?;
        let DeValue::Integer(integer) = value else {
            return self.wrong_type(key, span, "a whole number", value);
        };
        let number = i64::from_str_radix(integer.as_str(), integer.radix()).ok();
        match number.and_then(|number| u32::try_from(number).ok()) {
            Some(number) if range.contains(&number) => Some(Written::new(number, span)),
            _ => {
                let (least, most) = range.into_inner();
                let message = format!("`{key}` is {integer}, out of range");
                self.bad(&span, message).help(format!("from {least} to {most}"));
                None
            }
        }
    }

    /// A duration within `range`, like `"5m"`.
    pub(super) fn duration(
        &mut self,
        key: &'static str,
        range: std::ops::RangeInclusive<Duration>,
    ) -> Option<Written<Duration>> {
        let (value, span) = self.value(key)?;
        let read = match value {
            DeValue::String(text) => quantity::duration(text),
            other => return self.wrong_type(key, span, "a duration like \"5m\"", other),
        };
        match read {
            Ok(duration) if range.contains(&duration) => Some(Written::new(duration, span)),
            Ok(_) => {
                let message = format!("`{key}` is out of range");
                let (least, most) = range.into_inner();
                let (least, most) = (quantity::spell(least), quantity::spell(most));
                self.bad(&span, message).help(format!("from {least} to {most}"));
                None
            }
            Err(error) => self.bad_quantity(key, &span, error),
        }
    }

    /// A size within `range`, like `"10MiB"` or a number of octets.
    pub(super) fn size(
        &mut self,
        key: &'static str,
        range: std::ops::RangeInclusive<u64>,
    ) -> Option<Written<u64>> {
        let (value, span) = self.value(key)?;
        let read = match value {
            DeValue::String(text) => quantity::size(text),
            DeValue::Integer(integer) if integer.radix() == 10 => quantity::size(integer.as_str()),
            other => return self.wrong_type(key, span, "a size like \"10MiB\"", other),
        };
        match read {
            Ok(size) if range.contains(&size) => Some(Written::new(size, span)),
            Ok(size) => {
                let message = format!("`{key}` is {size} octets, out of range");
                let (least, most) = range.into_inner();
                self.bad(&span, message).help(format!("from {least} to {most} octets"));
                None
            }
            Err(error) => self.bad_quantity(key, &span, error),
        }
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        choices: &[(&str, T)],
    ) -> Option<Written<T>> {
        let word = self.text(key)?;
        let chosen = choices.iter().find(|(name, _)| *name == word.value);
        if let Some((_, choice)) = chosen {
            return Some(Written::new(*choice, word.span));
        }
        let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
        let message = format!("`{key}` cannot be {:?}", word.value);
        self.bad(&word.span, message).help(suggestion::help(&word.value, &names));
        None
    }

    pub(super) fn texts(&mut self, key: &'static str) -> Option<Vec<Written<String>>> {
        let (value, span) = self.value(key)?;
        let DeValue::Array(items) = value else {
            return self.wrong_type(key, span, "a list of strings", value);
        };
        let mut texts = Vec::with_capacity(items.len());
        for item in items.iter() {
            match item.get_ref() {
                DeValue::String(text) => texts.push(Written::new(text.to_string(), item.span())),
                other => {
                    let _: Option<()> =
                        self.wrong_type(key, item.span(), "a list of strings", other);
                }
            }
        }
        Some(texts)
    }

    /// Addresses with ports. With a `default_port` the port may be left out.
    pub(super) fn socket_addresses(
        &mut self,
        key: &'static str,
        default_port: Option<u16>,
    ) -> Option<Vec<Written<SocketAddr>>> {
        let texts = self.texts(key)?;
        let read = texts.into_iter().filter_map(|text| self.socket(text, default_port));
        Some(read.collect())
    }

    pub(super) fn socket_address(&mut self, key: &'static str) -> Option<Written<SocketAddr>> {
        let text = self.text(key)?;
        self.socket(text, None)
    }

    /// The table `key`, if there is one.
    pub(super) fn table(&mut self, key: &'static str) -> Option<Nested<'a>> {
        let (value, span) = self.value(key)?;
        match value {
            DeValue::Table(entries) => Some(Nested { entries, span }),
            other => self.wrong_type(key, span, &format!("a table, [{key}]"), other),
        }
    }

    /// The tables `key`, in the order of the file.
    pub(super) fn tables(&mut self, key: &'static str) -> Vec<Nested<'a>> {
        let Some((value, span)) = self.value(key) else {
            return Vec::new();
        };
        let DeValue::Array(items) = value else {
            let _: Option<()> =
                self.wrong_type(key, span, &format!("a list of tables, [[{key}]]"), value);
            return Vec::new();
        };
        let mut tables = Vec::with_capacity(items.len());
        for item in items.iter() {
            match item.get_ref() {
                DeValue::Table(entries) => tables.push(Nested { entries, span: item.span() }),
                other => {
                    let _: Option<()> = self.wrong_type(key, item.span(), "a table", other);
                }
            }
        }
        tables
    }

    /// Reports every key that nobody asked for.
    pub(super) fn finish(self) {
        for key in self.entries.keys() {
            let name = key.get_ref().as_ref();
            if self.asked.contains(&name) {
                continue;
            }
            let message = match self.path {
                "" => format!("unknown key `{name}`"),
                path => format!("unknown key `{name}` in {path}"),
            };
            self.report
                .error(self.source, &key.span(), Code::UnknownKey, message)
                .help(suggestion::help(name, &self.asked));
        }
    }

    /// Reports a value that was read and makes no sense.
    pub(super) fn bad(
        &mut self,
        span: &Range<usize>,
        message: impl Into<String>,
    ) -> &mut Diagnostic {
        self.report.error(self.source, span, Code::BadValue, message)
    }

    fn value(&mut self, key: &'static str) -> Option<(&'a DeValue<'a>, Range<usize>)> {
        debug_assert!(!self.asked.contains(&key), "{key} is asked for twice");
        self.asked.push(key);
        let value = self.entries.get(key)?;
        Some((value.get_ref(), value.span()))
    }

    fn socket(
        &mut self,
        text: Written<String>,
        default_port: Option<u16>,
    ) -> Option<Written<SocketAddr>> {
        let Written { value: text, span } = text;
        let with_port = default_port
            .and_then(|port| Some(SocketAddr::new(text.parse().ok()?, port)))
            .or_else(|| text.parse().ok());
        match with_port {
            Some(address) if address.port() != 0 => Some(Written::new(address, span)),
            Some(_) => {
                self.bad(&span, "port 0 is no port").help("write the port out, 1 to 65535");
                None
            }
            None => {
                self.bad(&span, format!("{text:?} is not an IP address with a port"))
                    .help("write it like \"192.0.2.1:25\", \"0.0.0.0:25\" or \"[2001:db8::1]:25\"");
                None
            }
        }
    }

    fn wrong_type<T>(
        &mut self,
        key: &str,
        span: Range<usize>,
        wanted: &str,
        value: &DeValue<'_>,
    ) -> Option<T> {
        let found = value.type_str();
        let message = format!("`{key}` wants {wanted}, not {} {found}", article(found));
        self.report.error(self.source, &span, Code::WrongType, message);
        None
    }

    fn bad_quantity<T>(
        &mut self,
        key: &str,
        span: &Range<usize>,
        error: QuantityError,
    ) -> Option<T> {
        self.bad(span, format!("`{key}`: {}", error.message)).help(error.help);
        None
    }
}

fn article(noun: &str) -> &'static str {
    if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" }
}
