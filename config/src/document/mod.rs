//! The configuration as it was written: every value with its place in the file, no name bound yet.
//!
//! A bad value is reported here and left out, so `None` means "not written or already reported".

mod machine;
mod mail;
mod read;

use std::{ops::Range, sync::Arc};

use toml::de::DeTable;

use self::read::{Nested, Table};
pub(crate) use self::{
    machine::{BounceProfile, Control, Delivery, Dns, Limits, Logs, Spool, Tls},
    mail::{
        Destination, Filters, Host, Kind, Listener, MailFlowPolicy, Recipient, Route, SenderGroup,
        Verdict,
    },
};
use crate::{diagnostic::Code, report::Report, source::Source};

/// A value and the octets of the file it was written in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Written<T> {
    pub(crate) value: T,
    pub(crate) span: Range<usize>,
}

/// One configuration file.
#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) hostname: Option<Written<String>>,
    pub(crate) data_dir: Option<Written<String>>,
    pub(crate) workers: Option<Written<u32>>,
    pub(crate) control: Control,
    pub(crate) dns: Dns,
    pub(crate) tls: Tls,
    pub(crate) limits: Limits,
    pub(crate) mail_flow_policies: Vec<MailFlowPolicy>,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) filters: Filters,
    pub(crate) routes: Vec<Route>,
    pub(crate) destinations: Vec<Destination>,
    pub(crate) bounce_profile: BounceProfile,
    pub(crate) delivery: Delivery,
    pub(crate) spool: Spool,
    pub(crate) logs: Logs,
}

impl<T> Written<T> {
    pub(crate) const fn new(value: T, span: Range<usize>) -> Self {
        Self { value, span }
    }
}

impl Written<String> {
    /// The text, to be shared.
    pub(crate) fn shared(&self) -> Arc<str> {
        self.value.as_str().into()
    }
}

impl Document {
    /// Reads a file and reports everything in it that cannot be understood by itself.
    pub(crate) fn read(source: &Source, report: &mut Report) -> Self {
        let (root, errors) = DeTable::parse_recoverable(&source.text);
        for error in errors {
            let span = error.span().unwrap_or(0..0);
            report.error(source, &span, Code::Syntax, first_line(error.message()));
        }
        let nested = Nested { entries: root.get_ref(), span: 0..0 };
        let mut table = Table::new("", nested, source, report);
        let document = Self::read_tables(&mut table);
        table.finish();
        document
    }

    fn read_tables(table: &mut Table<'_>) -> Self {
        table
            .require("hostname", "the name this gateway has in the DNS: hostname = \"mx.example\"");
        table.require("data_dir", "where the spool lives: data_dir = \"/var/lib/ringpost\"");
        Self {
            hostname: table.text("hostname"),
            data_dir: table.text("data_dir"),
            workers: table.count("workers", 1..=MAX_WORKERS),
            control: Control::read(table),
            dns: Dns::read(table),
            tls: Tls::read(table),
            limits: Limits::read(table),
            mail_flow_policies: MailFlowPolicy::read_all(table),
            listeners: Listener::read_all(table),
            filters: Filters::read(table),
            routes: Route::read_all(table),
            destinations: Destination::read_all(table),
            bounce_profile: BounceProfile::read(table),
            delivery: Delivery::read(table),
            spool: Spool::read(table),
            logs: Logs::read(table),
        }
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

/// Shards beyond this would hold more than the machine has cores.
const MAX_WORKERS: u32 = 1_024;
