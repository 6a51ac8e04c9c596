//! The shape of a script: tokens, then a tree in which every node knows its octets.
//!
//! Nothing here knows what a name means, so new rules and actions need no new syntax.

mod lex;
mod parse;

use alloc::{string::String, vec::Vec};
use core::ops::Range;

use super::problem::Problems;

/// Reads a whole script; what could be read is in the tree even when there are problems.
pub(super) fn parse<'a>(script: &'a str, problems: &mut Problems) -> Vec<Filter<'a>> {
    let tokens = lex::tokens(script, problems);
    parse::filters(&tokens, problems)
}

/// `name: if …` (active) or `name! if …` (inactive).
#[derive(Debug)]
pub(super) struct Filter<'a> {
    pub(super) name: Word<'a>,
    pub(super) is_active: bool,
    pub(super) body: If<'a>,
}

/// An identifier as written.
#[derive(Clone, Debug)]
pub(super) struct Word<'a> {
    pub(super) text: &'a str,
    pub(super) span: Range<usize>,
}

#[derive(Debug)]
pub(super) struct If<'a> {
    /// None if it could not be read; the problem is reported.
    pub(super) condition: Option<Expression<'a>>,
    pub(super) then: Vec<Statement<'a>>,
    pub(super) otherwise: Vec<Statement<'a>>,
}

#[derive(Debug)]
pub(super) enum Statement<'a> {
    If(If<'a>),
    Action(Call<'a>),
}

/// Operands of one operator are side by side, however many: chains are long, nesting is not.
#[derive(Debug)]
pub(super) enum Expression<'a> {
    Any(Vec<Self>),
    All(Vec<Self>),
    Not(alloc::boxed::Box<Self>),
    Test(Test<'a>),
}

#[derive(Debug)]
pub(super) struct Test<'a> {
    pub(super) rule: Call<'a>,
    pub(super) comparison: Option<Comparison>,
}

#[derive(Debug)]
pub(super) struct Comparison {
    pub(super) operator: Operator,
    pub(super) value: Value,
}

/// A name with its arguments; no parentheses and empty ones are the same.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) name: Word<'a>,
    pub(super) arguments: Vec<Value>,
    /// From the name to the closing parenthesis.
    pub(super) span: Range<usize>,
}

#[derive(Debug)]
pub(super) struct Value {
    pub(super) literal: Literal,
    pub(super) span: Range<usize>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Literal {
    /// Without quotes, one level of backslashes taken off.
    Text(String),
    Number(Number),
    /// `[a, b]`, which no rule or action of this version takes.
    List,
}

/// A number in thousandths, its size suffix multiplied in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Number(pub(super) i64);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Number {
    /// The number if it is whole and not negative.
    pub(super) fn whole(self) -> Option<u64> {
        (self.0 % 1000 == 0).then(|| u64::try_from(self.0 / 1000).ok()).flatten()
    }
}

/// Blocks and parentheses within each other.
pub(super) const MAX_DEPTH: usize = 200;
