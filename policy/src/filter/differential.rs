//! The compiled program against a walk over the tree it was made from, on random scripts and
//! messages: everything that makes it fast must change nothing.

extern crate std;

use std::{collections::HashMap, format, string::ToString, sync::Arc};

use alloc::{string::String, vec::Vec};
use regex_automata::meta::Regex;
use ringpost_core::{
    address::{Address, ReversePath},
    envelope::{Envelope, Recipient},
    id::Mid,
    lookup::ClientName,
    message::{decode::decode_words, header::Header},
    time::Date,
};

use super::{
    Disposition, Examined, Filters, Names, compile, matcher,
    meaning::{self, Action, Branch, Condition, Filter, Statement, Test},
    problem::Problems,
    scan, syntax,
};

#[test]
fn compiled_filters_do_what_the_tree_says() {
    let mut random = Random(0x5eed);
    let mut engines = HashMap::new();
    let (mut ends, mut edits) = (0, 0);
    for _ in 0..SCRIPTS {
        let script = random.script();
        let listeners: [Arc<str>; 1] = ["In".into()];
        let names = Names { listeners: &listeners };
        let program = compile(&script, &names).expect(&script);
        let mut problems = Problems::default();
        let read = syntax::parse(&script, &mut problems);
        let tree = meaning::resolve(&read, &names, &mut problems);
        for _ in 0..MESSAGES {
            let message = random.message();
            let fast = message.run(&program);
            let slow = message.walk(&tree, &mut engines);
            assert_eq!(fast, slow, "{script}\n{message:?}");
            ends += u32::from(fast.0 != Disposition::Deliver);
            edits += u32::from(fast.1 != message.header);
        }
    }
    assert!(ends > 100 && edits > 100, "{ends} ends and {edits} edits compare nothing");
}

/// Disposition, header, log, and number of filters that acted.
type Outcome = (Disposition, String, Vec<Arc<str>>, u32);

#[derive(Debug)]
struct Message {
    header: String,
    envelope: Envelope,
    group: Option<&'static str>,
    size: u64,
}

struct Walk<'w, 'm> {
    examined: Examined<'m>,
    engines: &'w mut HashMap<(Arc<str>, bool), Regex>,
    log: Vec<Arc<str>>,
    end: Option<Disposition>,
    subject: Option<String>,
    has_acted: bool,
}

impl Message {
    fn examined<'a>(&'a self, header: &'a mut Header) -> Examined<'a> {
        Examined {
            envelope: &self.envelope,
            header,
            size: self.size,
            mid: Mid(1),
            client: [192, 0, 2, 1].into(),
            client_name: &ClientName::NoName,
            listener: "In",
            group: self.group,
            policy: "ACCEPTED",
            hostname: "mx.test",
            date: Date::from_millis(0),
        }
    }

    fn run(&self, program: &Filters) -> Outcome {
        let mut header = Header::parse(self.header.clone().into());
        let verdict = program.evaluate(&mut self.examined(&mut header));
        (verdict.disposition, rendered(&header), verdict.log_entries, verdict.matched)
    }

    fn walk(&self, tree: &[Filter], engines: &mut HashMap<(Arc<str>, bool), Regex>) -> Outcome {
        let mut header = Header::parse(self.header.clone().into());
        let examined = self.examined(&mut header);
        let (log, end, subject) = (Vec::new(), None, None);
        let mut walk = Walk { examined, engines, log, end, subject, has_acted: false };
        let mut matched = 0;
        for filter in tree.iter().filter(|filter| filter.is_active) {
            walk.has_acted = false;
            walk.branch(&filter.body, &filter.name);
            matched += u32::from(walk.has_acted);
            if walk.end.is_some() {
                break;
            }
        }
        let (log, end) = (walk.log, walk.end.unwrap_or_default());
        (end, rendered(&header), log, matched)
    }
}

impl Walk<'_, '_> {
    fn branch(&mut self, branch: &Branch, filter: &Arc<str>) {
        let taken = if self.holds(&branch.condition) { &branch.then } else { &branch.otherwise };
        for statement in taken {
            match statement {
                Statement::If(branch) => self.branch(branch, filter),
                Statement::Act(action, _) => self.act(action, filter),
            }
            if self.end.is_some() {
                return;
            }
        }
    }

    fn holds(&mut self, condition: &Condition) -> bool {
        match condition {
            Condition::Any(operands) => operands.iter().any(|operand| self.holds(operand)),
            Condition::All(operands) => operands.iter().all(|operand| self.holds(operand)),
            Condition::Not(negated) => !self.holds(negated),
            Condition::Test(Test::True, _) => true,
            Condition::Test(Test::Matches(field, pattern), _) => {
                let key = (pattern.text.clone(), pattern.ignores_case);
                let build = || matcher::engine(&[pattern]).expect("it is small");
                let engine = self.engines.entry(key).or_insert_with(build);
                let values = scan::values(field, &self.examined);
                values.iter().any(|value| engine.is_match(&**value))
            }
            Condition::Test(Test::Present(name), _) => self.examined.header.count(name) > 0,
            Condition::Test(Test::ClientIs(addresses), _) => {
                addresses.matches(self.examined.client)
            }
            Condition::Test(Test::ListenerIs(name), _) => **name == *self.examined.listener,
            Condition::Test(Test::Size(operator, size), _) => {
                assert_eq!(*operator, syntax::Operator::Greater, "the only one generated");
                self.examined.size > *size
            }
            Condition::Test(Test::RecipientCount(operator, count), _) => {
                assert_eq!(*operator, syntax::Operator::Equal, "the only one generated");
                self.examined.envelope.recipients.len() as u64 == *count
            }
        }
    }

    fn act(&mut self, action: &Action, filter: &Arc<str>) {
        self.has_acted = true;
        let name = filter.clone();
        let expand = |text: &super::template::Template, subject: &Option<String>| {
            text.expand(&self.examined, filter, subject.as_deref(), 1 << 14)
        };
        match action {
            Action::SkipFilters => self.end = Some(Disposition::Deliver),
            Action::Drop => self.end = Some(Disposition::Drop { filter: name }),
            Action::Bounce => self.end = Some(Disposition::Bounce { filter: name }),
            Action::Reject(reply) => {
                self.end = Some(Disposition::Reject { filter: name, reply: reply.clone() });
            }
            Action::StripHeader(stripped) => {
                if let Some(value) = self.examined.header.first("subject")
                    && stripped.eq_ignore_ascii_case("subject")
                {
                    self.subject = Some(decode_words(value).to_string());
                }
                self.examined.header.strip(stripped);
            }
            Action::InsertHeader(inserted, value) => {
                let value = expand(value, &self.subject);
                self.examined.header.insert(inserted, &value);
            }
            Action::LogEntry(text) => self.log.push(expand(text, &self.subject).into()),
            Action::NoOp => {}
        }
    }
}

fn rendered(header: &Header) -> String {
    String::from_utf8(header.render().concat()).expect("the tests are UTF-8")
}

/// SplitMix64: the same scripts and messages in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((bits ^ bits >> 31) % bound as u64).expect("below a usize")
    }

    fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }

    fn script(&mut self) -> String {
        let count = 1 + self.below(8);
        (0..count)
            .map(|number| {
                format!("f{number}{} {}\n", self.pick(&[":", ":", ":", "!"]), self.branch(3))
            })
            .collect()
    }

    fn branch(&mut self, depth: usize) -> String {
        let (condition, then) = (self.condition(depth), self.block(depth));
        match self.below(3) {
            0 => format!("if {condition} {then} else {}", self.block(depth)),
            _ => format!("if {condition} {then}"),
        }
    }

    fn block(&mut self, depth: usize) -> String {
        let count = 1 + self.below(3);
        let mut block = String::from("{ ");
        for _ in 0..count {
            block += &match depth {
                1.. if self.below(4) == 0 => self.branch(depth - 1),
                _ => self.action(),
            };
        }
        block + " }"
    }

    fn action(&mut self) -> String {
        let (name, value) = (self.pick(&NAMES), self.pick(&VALUES));
        match self.below(16) {
            0 => String::from("drop();"),
            1 => String::from("bounce();"),
            2 => String::from("skip-filters();"),
            3 => String::from("reject('550 no');"),
            4..7 => format!("strip-header('{name}');"),
            7..13 => format!("insert-header('{name}', '{value}');"),
            13 => String::from("no-op();"),
            _ => format!("log-entry('{value}');"),
        }
    }

    fn condition(&mut self, depth: usize) -> String {
        let operators: &[&str] = &["and", "or"];
        match self.below(if depth == 0 { 1 } else { 4 }) {
            1 => format!("not ({})", self.condition(depth - 1)),
            2 | 3 => {
                let (one, operator) = (self.condition(depth - 1), self.pick(operators));
                let (two, three) = (self.condition(depth - 1), self.condition(depth - 1));
                format!("({one} {operator} {two} {operator} {three})")
            }
            _ => self.test(),
        }
    }

    fn test(&mut self) -> String {
        let (operator, pattern) = (self.pick(&["==", "!="]), self.pick(&PATTERNS));
        match self.below(12) {
            0 => String::from("true"),
            1 => format!("header('{}')", self.pick(&NAMES)),
            2 => format!("rcpt-count == {}", 1 + self.below(2)),
            3 => format!("body-size > {}", self.below(100)),
            4 => format!("remote-ip {operator} '192.0.2.{}'", self.below(2)),
            5 => format!("recv-listener {operator} 'In'"),
            6 => format!("mail-from {operator} '{pattern}'"),
            7 => format!("rcpt-to {operator} '{pattern}'"),
            8 => format!("sendergroup {operator} '{pattern}'"),
            _ => format!("header('{}') {operator} '{pattern}'", self.pick(&NAMES)),
        }
    }

    fn message(&mut self) -> Message {
        let mut header = String::new();
        for _ in 0..self.below(6) {
            header += &format!("{}: {}\r\n", self.pick(&NAMES), self.pick(&VALUES));
        }
        let mut envelope = Envelope::new(ReversePath::Null);
        for _ in 0..=self.below(2) {
            envelope.recipients.push(Recipient::new(Address::from_text(self.pick(&VALUES))));
        }
        let group = self.pick(&[None, Some("alpha"), Some("Beta")]);
        Message { header, envelope, group, size: self.below(100) as u64 }
    }
}

const SCRIPTS: usize = 250;
const MESSAGES: usize = 8;
const NAMES: [&str; 4] = ["Subject", "X-A", "x-a", "X-B"];
const VALUES: [&str; 8] = [
    "alpha",
    "ALPHA beta",
    "beta7",
    "",
    "$Subject alpha",
    "betaalpha",
    "=?utf-8?q?alph=61?=",
    "$MID",
];
const PATTERNS: [&str; 16] = [
    "alpha",
    "^alpha",
    "alpha$",
    "^alpha$",
    "(?i)alpha",
    "(?i)^BETA$",
    "a.p",
    "alpha|beta",
    "bet[a-z][0-9]",
    "[0-9]",
    "",
    "^$",
    "(?:beta)+alpha",
    "b.*7$",
    "(a|b)eta",
    "nowhere",
];
