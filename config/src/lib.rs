//! Operator text becomes one immutable [`Snapshot`], or a list of everything that is wrong with it.
//!
//! Two steps: a document says what was written and where; resolving it binds names, compiles tables
//! and filters, and gathers every error. [`init`] goes the other way: it writes a first file.

mod diagnostic;
mod document;
mod domain;
pub mod init;
mod quantity;
mod report;
mod resolve;
mod snapshot;
mod source;
mod suggestion;

pub use self::{
    diagnostic::{Code, Diagnostic, Excerpt, Severity},
    resolve::{Loaded, load},
    snapshot::{
        BareLineEndings, Control, Delivery, Dns, Limits, Listener, ListenerKind, Logs, MailLogs,
        Snapshot, Spool, Tls, Workers,
    },
};
