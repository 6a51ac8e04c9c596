//! All patterns of all filters that look at one field, asked together.
//!
//! One pass of an aho-corasick automaton over the field finds which patterns could match at all;
//! only when one of those is really asked about does an engine run, for all its patterns at once.

use alloc::{borrow::Cow, collections::BTreeMap, string::String, sync::Arc, vec::Vec};
use core::ops::Range;

use aho_corasick::AhoCorasick;
use regex_automata::{Input, PatternSet, meta::Regex};
use ringpost_core::message::decode;
use smallvec::SmallVec;

use super::{
    Examined,
    bits::Bits,
    literal::Plain,
    matcher::{self, Pattern},
    meaning::Field,
    problem::Problem,
};

/// The patterns of one field.
#[derive(Debug)]
pub(super) struct FieldPatterns {
    pub(super) field: Field,
    /// How to ask about each pattern.
    asks: Vec<Ask>,
    literals: Option<AhoCorasick>,
    /// Per literal: the patterns it may be a sign of.
    signs: Vec<Vec<u32>>,
    /// Patterns that no text is a sign of.
    unsigned: Vec<u32>,
    engines: Vec<Engine>,
    /// Per pattern: the filters that cannot match unless it (or another) does.
    wakes: Vec<Vec<u32>>,
}

#[derive(Debug)]
enum Ask {
    Plain(Plain),
    Engine(u32),
}

#[derive(Debug)]
struct Engine {
    regex: Regex,
    /// The patterns, in the engine's order.
    patterns: Vec<u32>,
}

/// What is known of one message's field.
#[derive(Debug)]
pub(super) struct Scan {
    candidates: Bits,
    known: Bits,
    matched: Bits,
}

/// What a field of one message holds, decoded.
pub(super) type Values<'a> = SmallVec<[Cow<'a, str>; 4]>;

impl FieldPatterns {
    /// What each pattern could match, at the cost of one pass over the values.
    pub(super) fn scan(&self, values: &Values<'_>) -> Scan {
        let mut candidates = Bits::new(self.asks.len());
        self.unsigned.iter().for_each(|&pattern| candidates.insert(pattern));
        if let Some(literals) = &self.literals {
            for value in values {
                for found in literals.find_overlapping_iter(value.as_bytes()) {
                    let signs = &self.signs[found.pattern().as_usize()];
                    signs.iter().for_each(|&pattern| candidates.insert(pattern));
                }
            }
        }
        let (known, matched) = (Bits::new(self.asks.len()), Bits::new(self.asks.len()));
        Scan { candidates, known, matched }
    }

    /// Whether some filter sleeps until a pattern of this field may match.
    pub(super) fn wakes_filters(&self) -> bool {
        self.wakes.iter().any(|filters| !filters.is_empty())
    }

    /// Wakes every filter that may match now.
    pub(super) fn wake(&self, scan: &Scan, awake: &mut Bits) {
        for pattern in scan.candidates.iter() {
            self.wakes[pattern as usize].iter().for_each(|&filter| awake.insert(filter));
        }
    }

    /// Whether a pattern is in any of the values.
    pub(super) fn is_match(&self, pattern: u32, scan: &mut Scan, values: &Values<'_>) -> bool {
        match &self.asks[pattern as usize] {
            Ask::Plain(plain) => {
                let is_match = values.iter().any(|value| plain.is_match(value.as_bytes()));
                scan.learn(pattern, is_match);
            }
            Ask::Engine(engine) => self.engines[*engine as usize].run(scan, values),
        }
        scan.matched.contains(pattern)
    }
}

impl Engine {
    fn run(&self, scan: &mut Scan, values: &Values<'_>) {
        let mut found = PatternSet::new(self.patterns.len());
        for value in values {
            self.regex.which_overlapping_matches(&Input::new(value.as_bytes()), &mut found);
        }
        for &pattern in &self.patterns {
            scan.learn(pattern, false);
        }
        for index in found.iter() {
            scan.learn(self.patterns[index.as_usize()], true);
        }
    }
}

impl Scan {
    /// The answer about a pattern if it costs nothing.
    pub(super) fn answer(&self, pattern: u32) -> Option<bool> {
        if !self.candidates.contains(pattern) {
            return Some(false);
        }
        self.known.contains(pattern).then(|| self.matched.contains(pattern))
    }

    fn learn(&mut self, pattern: u32, is_match: bool) {
        self.known.insert(pattern);
        if is_match {
            self.matched.insert(pattern);
        }
    }
}

/// The values a field has in a message: a missing header has none, the null sender an empty one.
pub(super) fn values<'a>(field: &'a Field, examined: &'a Examined<'_>) -> Values<'a> {
    match field {
        Field::Header(name) => examined.header.values(name).map(decode::decode_words).collect(),
        Field::MailFrom => [examined.envelope.reverse_path.as_str().into()].into_iter().collect(),
        Field::Recipients => {
            let recipients = examined.envelope.recipients.iter();
            recipients.map(|recipient| recipient.address.as_str().into()).collect()
        }
        Field::SenderGroup => examined.group.into_iter().map(Cow::Borrowed).collect(),
    }
}

/// The patterns of one field while filters are being compiled.
#[derive(Debug, Default)]
pub(super) struct Collected {
    numbers: BTreeMap<(Arc<str>, bool), u32>,
    patterns: Vec<(Pattern, Range<usize>)>,
    wakes: Vec<Vec<u32>>,
}

impl Collected {
    /// The number of a pattern; the same pattern always has the same.
    pub(super) fn number(&mut self, pattern: &Pattern, span: &Range<usize>) -> u32 {
        let key = (pattern.text.clone(), pattern.ignores_case);
        *self.numbers.entry(key).or_insert_with(|| {
            self.patterns.push((pattern.clone(), span.clone()));
            self.wakes.push(Vec::new());
            u32::try_from(self.patterns.len() - 1).expect("the length of a script is bounded")
        })
    }

    /// Lets a filter sleep until this pattern may match.
    pub(super) fn wake(&mut self, pattern: u32, filter: u32) {
        self.wakes[pattern as usize].push(filter);
    }

    /// # Errors
    ///
    /// A pattern that is too large for its engine.
    pub(super) fn build(self, field: Field) -> Result<FieldPatterns, Problem> {
        let mut engines = Vec::new();
        let mut asks: Vec<Ask> = Vec::new();
        let mut together: Vec<u32> = Vec::new();
        for (index, (pattern, _)) in (0..).zip(&self.patterns) {
            asks.push(match pattern.plain() {
                Some(plain) => Ask::Plain(plain),
                None => {
                    together.push(index);
                    Ask::Engine(0)
                }
            });
        }
        for numbers in together.chunks(PATTERNS_PER_ENGINE) {
            self.build_engines(numbers, &mut engines)?;
        }
        for (index, engine) in (0..).zip(&engines) {
            for &pattern in &engine.patterns {
                asks[pattern as usize] = Ask::Engine(index);
            }
        }
        let (literals, signs, unsigned) = self.collect_literals()?;
        let wakes = self.wakes;
        Ok(FieldPatterns { field, asks, literals, signs, unsigned, engines, wakes })
    }

    fn build_engines(&self, numbers: &[u32], engines: &mut Vec<Engine>) -> Result<(), Problem> {
        let pattern = |&number: &u32| &self.patterns[number as usize].0;
        let patterns: Vec<&Pattern> = numbers.iter().map(pattern).collect();
        match matcher::engine(&patterns) {
            Ok(regex) => {
                engines.push(Engine { regex, patterns: numbers.to_vec() });
                Ok(())
            }
            Err(message) if numbers.len() == 1 => {
                let (_, span) = &self.patterns[numbers[0] as usize];
                Err(Problem::new(span.clone(), message))
            }
            Err(_) => {
                let (one, other) = numbers.split_at(numbers.len() / 2);
                self.build_engines(one, engines)?;
                self.build_engines(other, engines)
            }
        }
    }

    fn collect_literals(&self) -> Result<Literals, Problem> {
        let mut signs: BTreeMap<Vec<u8>, Vec<u32>> = BTreeMap::new();
        let mut unsigned = Vec::new();
        for (index, (pattern, _)) in (0..).zip(&self.patterns) {
            match pattern.required() {
                Some(texts) => {
                    for text in texts {
                        signs.entry(text).or_default().push(index);
                    }
                }
                None => unsigned.push(index),
            }
        }
        if signs.is_empty() {
            return Ok((None, Vec::new(), unsigned));
        }
        let literals = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .build(signs.keys())
            .map_err(|error| {
                Problem::new(0..0, String::from("too many patterns"))
                    .help(alloc::format!("{error}"))
            })?;
        Ok((Some(literals), signs.into_values().collect(), unsigned))
    }
}

type Literals = (Option<AhoCorasick>, Vec<Vec<u32>>, Vec<u32>);

/// Patterns one engine looks for in one pass; more are shared out over several.
const PATTERNS_PER_ENGINE: usize = 64;
