//! A pattern ready for use: checked, measured, and as cheap to ask as its text allows.

use alloc::{format, string::String, sync::Arc, vec::Vec};

use regex_automata::{
    meta::{Config, Regex},
    nfa::thompson::{self, WhichCaptures},
    util::syntax,
};
use regex_syntax::hir::{Hir, Look};

use super::{
    literal::{self, Plain},
    pattern::{self, PatternError},
};

/// One pattern as the operator wrote it, and what follows from it.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    pub(super) text: Arc<str>,
    pub(super) ignores_case: bool,
    hir: Hir,
}

impl Pattern {
    /// # Errors
    ///
    /// Why the pattern cannot be used.
    pub(super) fn new(text: &str, ignores_case: bool) -> Result<Self, PatternError> {
        let translated = pattern::translate(text, ignores_case)?;
        let refused = |message: String| PatternError { message, help: None };
        let syntax = syntax::Config::new().utf8(false).nest_limit(MAX_NESTING);
        let hir = syntax::parse_with(&translated, &syntax)
            .map_err(|error| refused(format!("the engine cannot read it: {error:?}")))?;
        let pattern = Self { text: text.into(), ignores_case, hir };
        if pattern.plain().is_none() {
            let compiler = thompson::Config::new().nfa_size_limit(Some(MAX_PATTERN_MEMORY));
            thompson::Compiler::new()
                .configure(compiler.which_captures(WhichCaptures::None))
                .build_from_hir(&pattern.hir)
                .map_err(|_| refused("the pattern is too large once compiled".into()))?;
        }
        Ok(pattern)
    }

    pub(super) fn plain(&self) -> Option<Plain> {
        Plain::of(&self.hir)
    }

    pub(super) fn required(&self) -> Option<Vec<Vec<u8>>> {
        literal::required(&self.hir)
    }

    /// Whether the pattern is found in `value`; makes an engine for this one question.
    ///
    /// # Errors
    ///
    /// The pattern is too large.
    pub(super) fn is_match(&self, value: &str) -> Result<bool, String> {
        match self.plain() {
            Some(plain) => Ok(plain.is_match(value.as_bytes())),
            None => engine(&[self]).map(|engine| engine.is_match(value)),
        }
    }

    /// Whether a match must be the whole value.
    pub(super) fn is_anchored(&self) -> bool {
        let properties = self.hir.properties();
        properties.look_set_prefix().contains(Look::Start)
            && properties.look_set_suffix().contains(Look::End)
    }
}

/// One engine for many patterns that looks for all of them in one pass.
///
/// # Errors
///
/// All together are too large.
pub(super) fn engine(patterns: &[&Pattern]) -> Result<Regex, String> {
    let config = Config::new()
        .utf8_empty(false)
        .match_kind(regex_automata::MatchKind::All)
        .which_captures(WhichCaptures::Implicit)
        .nfa_size_limit(Some(2 * patterns.len() * MAX_PATTERN_MEMORY))
        .hybrid_cache_capacity(MAX_CACHE_MEMORY);
    let hirs: Vec<&Hir> = patterns.iter().map(|pattern| &pattern.hir).collect();
    Regex::builder()
        .configure(config)
        .build_many_from_hir(&hirs)
        .map_err(|error| format!("the pattern is too large once compiled: {error}"))
}

/// Octets the automaton of one pattern may take.
const MAX_PATTERN_MEMORY: usize = 1 << 20;
/// Octets the transitions found while matching may take, per engine and thread.
const MAX_CACHE_MEMORY: usize = 2 << 20;
const MAX_NESTING: u32 = 100;
