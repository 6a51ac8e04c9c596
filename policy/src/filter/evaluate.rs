//! A program run over one message: questions answered at most once, edits made as they come.

use alloc::{
    string::{String, ToString},
    sync::Arc,
    vec::Vec,
};

use ringpost_core::message::decode;

use super::{
    Disposition, Examined, Verdict,
    bits::Bits,
    meaning::{Action, Field},
    program::{Program, Question, Step},
    scan::{self, Scan},
    syntax::Operator,
    template::Template,
};

/// Runs every filter that may match, in order, until one decides.
pub(super) fn evaluate(program: &Program, examined: &mut Examined<'_>) -> Verdict {
    let mut run = Run {
        program,
        scans: program.fields.iter().map(|_| None).collect(),
        awake: program.awake.clone(),
        verdict: Verdict::default(),
        subject: None,
        octets_left: MAX_ADDED,
        is_edited: true,
        examined,
    };
    let mut next = 0;
    loop {
        run.wake();
        let Some(number) = run.awake.first_from(next) else {
            break;
        };
        if run.filter(number) {
            break;
        }
        next = number + 1;
    }
    run.verdict
}

struct Run<'r, 'm> {
    program: &'r Program,
    examined: &'r mut Examined<'m>,
    /// Per field; none until it is asked about, and again after an edit of it.
    scans: Vec<Option<Scan>>,
    awake: Bits,
    verdict: Verdict,
    /// The last subject, kept when the field is stripped.
    subject: Option<String>,
    octets_left: usize,
    /// Sleeping filters have not been told of the latest edit.
    is_edited: bool,
}

impl Run<'_, '_> {
    fn wake(&mut self) {
        if !core::mem::take(&mut self.is_edited) {
            return;
        }
        for (field, scan) in self.program.fields.iter().zip(&mut self.scans) {
            if scan.is_none() && field.wakes_filters() {
                let found = field.scan(&scan::values(&field.field, self.examined));
                field.wake(&found, &mut self.awake);
                *scan = Some(found);
            }
        }
    }

    /// Runs one filter; whether it was the last.
    fn filter(&mut self, number: u32) -> bool {
        let program = self.program;
        let filter = &program.filters[number as usize];
        let (mut at, mut has_acted) = (filter.entry, false);
        loop {
            match program.step(at) {
                Step::Ask { question, yes, no } => {
                    at = if self.ask(&program.questions[question as usize]) { yes } else { no };
                }
                Step::Act { action, next } => {
                    self.verdict.matched += u32::from(!has_acted);
                    has_acted = true;
                    if self.act(&program.actions[action as usize], &filter.name) {
                        return true;
                    }
                    at = next;
                }
                Step::End => return false,
            }
        }
    }

    fn ask(&mut self, question: &Question) -> bool {
        match question {
            Question::True => true,
            Question::Matches { field, pattern } => self.matches(*field, *pattern),
            Question::Present(name) => self.examined.header.first(name).is_some(),
            Question::ClientIs(addresses) => addresses.matches(self.examined.client),
            Question::ListenerIs(name) => **name == *self.examined.listener,
            Question::Size(operator, size) => compare(self.examined.size, *operator, *size),
            Question::RecipientCount(operator, count) => {
                compare(self.examined.envelope.recipients.len() as u64, *operator, *count)
            }
        }
    }

    fn matches(&mut self, field: u32, pattern: u32) -> bool {
        let patterns = &self.program.fields[field as usize];
        let values = || scan::values(&patterns.field, self.examined);
        let scan = self.scans[field as usize].get_or_insert_with(|| patterns.scan(&values()));
        scan.answer(pattern).unwrap_or_else(|| patterns.is_match(pattern, scan, &values()))
    }

    /// Does what an action says; whether it was a final one.
    fn act(&mut self, action: &Action, filter: &Arc<str>) -> bool {
        match action {
            Action::SkipFilters => {}
            Action::Drop => {
                self.verdict.disposition = Disposition::Drop { filter: filter.clone() };
            }
            Action::Bounce => {
                self.verdict.disposition = Disposition::Bounce { filter: filter.clone() };
            }
            Action::Reject(reply) => {
                let (filter, reply) = (filter.clone(), reply.clone());
                self.verdict.disposition = Disposition::Reject { filter, reply };
            }
            Action::StripHeader(name) => self.strip(name, filter),
            Action::InsertHeader(name, value) => {
                let value = self.expand(value, filter, MAX_VALUE);
                self.examined.header.insert(name, &value);
                self.edited(name, "insert-header", filter);
            }
            Action::LogEntry(text) => {
                if self.verdict.log_entries.len() < MAX_LOG_ENTRIES {
                    let text = self.expand(text, filter, MAX_LOG_ENTRY);
                    // One entry is one line of the log, whatever the message holds.
                    let text = text.replace("\r\n", " ").replace(char::is_control, " ");
                    self.verdict.log_entries.push(text.into());
                }
            }
            Action::NoOp => {}
        }
        action.is_final()
    }

    fn strip(&mut self, name: &str, filter: &Arc<str>) {
        let subject = self.examined.header.first("Subject").map(decode::decode_words);
        if name.eq_ignore_ascii_case("Subject") && subject.is_some() {
            self.subject = subject.map(|subject| subject.to_string());
        }
        if self.examined.header.strip(name) > 0 {
            self.edited(name, "strip-header", filter);
        }
    }

    fn expand(&mut self, text: &Template, filter: &str, limit: usize) -> String {
        let limit = limit.min(self.octets_left);
        let text = text.expand(self.examined, filter, self.subject.as_deref(), limit);
        self.octets_left -= text.len();
        text
    }

    fn edited(&mut self, name: &str, action: &'static str, filter: &Arc<str>) {
        self.is_edited = true;
        self.verdict.rewritten_by.get_or_insert_with(|| (action, filter.clone()));
        for (field, scan) in self.program.fields.iter().zip(&mut self.scans) {
            if matches!(&field.field, Field::Header(known) if known.eq_ignore_ascii_case(name)) {
                *scan = None;
            }
        }
    }
}

const fn compare(one: u64, operator: Operator, other: u64) -> bool {
    match operator {
        Operator::Equal => one == other,
        Operator::NotEqual => one != other,
        Operator::Less => one < other,
        Operator::LessOrEqual => one <= other,
        Operator::Greater => one > other,
        Operator::GreaterOrEqual => one >= other,
    }
}

/// Octets of one inserted value; the rest of a longer one is left out.
const MAX_VALUE: usize = 16 * 1024;
/// Octets of one log entry; the rest of a longer one is left out.
const MAX_LOG_ENTRY: usize = 1024;
/// Log entries of one message; later ones are left out.
const MAX_LOG_ENTRIES: usize = 100;
/// Octets that variables and text may add to one message and its log, so that filters which copy
/// the header into the header cannot double it without end.
const MAX_ADDED: usize = 1 << 20;
