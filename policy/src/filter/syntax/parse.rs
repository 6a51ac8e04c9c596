//! Tokens to filters, by recursive descent that always goes on.
//!
//! After a mistake it goes on at the next `;`, `}`, `if` or beginning of a filter, whichever comes
//! first, so that one mistake is one problem and every other is still found.

use alloc::{boxed::Box, format, string::String, vec, vec::Vec};
use core::ops::Range;

use super::{
    Call, Comparison, Expression, Filter, If, Literal, MAX_DEPTH, Statement, Test, Value, Word,
    lex::{Kind, Token},
};
use crate::filter::problem::{Problem, Problems};

pub(super) fn filters<'a>(tokens: &[Token<'a>], problems: &mut Problems) -> Vec<Filter<'a>> {
    let mut parser = Parser { tokens, at: 0, depth: 0, problems };
    let mut filters = Vec::new();
    while parser.kind() != &Kind::End {
        match parser.filter() {
            Some(filter) => filters.push(filter),
            None => parser.skip_to_filter(),
        }
    }
    filters
}

/// `None` from a method means: reported, and the caller is to go on somewhere sensible.
struct Parser<'t, 'a> {
    tokens: &'t [Token<'a>],
    at: usize,
    depth: usize,
    problems: &'t mut Problems,
}

impl<'a> Parser<'_, 'a> {
    fn filter(&mut self) -> Option<Filter<'a>> {
        let name = self.name("the name of a filter")?;
        let is_active = match self.kind() {
            Kind::Sign(b':') => true,
            Kind::Sign(b'!') => false,
            _ => return self.expected("`:` (active) or `!` (inactive) after the filter's name"),
        };
        self.at += 1;
        if !self.is_keyword("if") {
            return self.expected("`if`: a filter is one if statement");
        }
        let body = self.if_statement();
        Some(Filter { name, is_active, body })
    }

    /// Stands at `if`, or at a word that was meant to be.
    fn if_statement(&mut self) -> If<'a> {
        self.at += 1;
        let condition = self.expression();
        if condition.is_none() {
            self.skip_to(|kind| matches!(kind, Kind::Sign(b'{')));
        }
        let then = self.block();
        let is_misspelt = MISSPELT_ELSE_IF.iter().any(|word| self.is_keyword(word));
        let otherwise = if is_misspelt {
            let problem = Problem::new(self.span(), "there is no such keyword");
            self.problems.add(problem.help("write `else if`"));
            self.nested_if()
        } else if self.is_keyword("else") {
            self.at += 1;
            if self.is_keyword("if") { self.nested_if() } else { self.block() }
        } else {
            Vec::new()
        };
        If { condition, then, otherwise }
    }

    fn nested_if(&mut self) -> Vec<Statement<'a>> {
        match self.deeper(|parser| Some(parser.if_statement())) {
            Some(nested) => vec![Statement::If(nested)],
            None => {
                self.skip_to_filter();
                Vec::new()
            }
        }
    }

    fn block(&mut self) -> Vec<Statement<'a>> {
        let opening = self.span();
        if self.kind() != &Kind::Sign(b'{') {
            self.expected::<()>("`{`");
            return Vec::new();
        }
        self.at += 1;
        let (mut statements, before) = (Vec::new(), self.problems.count());
        while self.kind() != &Kind::Sign(b'}') {
            if self.kind() == &Kind::End || self.is_filter_start() {
                self.problems.add(Problem::new(opening, "this `{` is never closed"));
                return statements;
            }
            match self.statement() {
                Some(statement) => statements.push(statement),
                None => self.skip_statement(),
            }
        }
        let closing = self.span();
        self.at += 1;
        if statements.is_empty() && self.problems.count() == before {
            let problem = Problem::new(opening.start..closing.end, "this block is empty");
            self.problems.add(problem.help("write `no-op();` to do nothing"));
        }
        statements
    }

    fn statement(&mut self) -> Option<Statement<'a>> {
        if self.is_keyword("if") {
            let Some(nested) = self.deeper(|parser| Some(parser.if_statement())) else {
                self.skip_to_filter();
                return None;
            };
            if self.kind() == &Kind::Sign(b';') {
                self.at += 1;
            }
            return Some(Statement::If(nested));
        }
        let name = self.name("an action or `if`")?;
        if self.kind() != &Kind::Sign(b'(') {
            let help = format!("actions are called with parentheses: `{}();`", name.text);
            let problem = Problem::new(name.span, "expected `(` after the action's name");
            self.problems.add(problem.help(help));
            return None;
        }
        let call = self.call(name)?;
        if self.kind() == &Kind::Sign(b';') {
            self.at += 1;
        } else {
            let end = call.span.end;
            let problem = Problem::new(end - 1..end, "expected `;` after the action");
            self.problems.add(problem);
            if !matches!(self.kind(), Kind::Name(_) | Kind::Sign(b'}') | Kind::End) {
                self.skip_statement();
            }
        }
        Some(Statement::Action(call))
    }

    fn expression(&mut self) -> Option<Expression<'a>> {
        let first = self.conjunction()?;
        self.chain("or", first, Self::conjunction, Expression::Any)
    }

    fn conjunction(&mut self) -> Option<Expression<'a>> {
        let first = self.negation()?;
        self.chain("and", first, Self::negation, Expression::All)
    }

    fn chain(
        &mut self,
        keyword: &str,
        first: Expression<'a>,
        operand: fn(&mut Self) -> Option<Expression<'a>>,
        join: fn(Vec<Expression<'a>>) -> Expression<'a>,
    ) -> Option<Expression<'a>> {
        if !self.is_keyword(keyword) {
            return Some(first);
        }
        let mut operands = vec![first];
        while self.is_keyword(keyword) {
            self.at += 1;
            operands.push(operand(self)?);
        }
        Some(join(operands))
    }

    fn negation(&mut self) -> Option<Expression<'a>> {
        if self.is_keyword("not") {
            self.at += 1;
            let negated = self.deeper(Self::negation)?;
            return Some(Expression::Not(Box::new(negated)));
        }
        if self.kind() != &Kind::Sign(b'(') {
            return self.test().map(Expression::Test);
        }
        self.at += 1;
        let inner = self.deeper(Self::expression)?;
        if self.kind() != &Kind::Sign(b')') {
            return self.expected("`)`, `and` or `or`");
        }
        self.at += 1;
        Some(inner)
    }

    fn test(&mut self) -> Option<Test<'a>> {
        let name = self.name("a condition")?;
        let rule = if self.kind() == &Kind::Sign(b'(') {
            self.call(name)?
        } else {
            Call { span: name.span.clone(), name, arguments: Vec::new() }
        };
        let Kind::Operator(operator) = *self.kind() else {
            return Some(Test { rule, comparison: None });
        };
        self.at += 1;
        let value = self.value()?;
        Some(Test { rule, comparison: Some(Comparison { operator, value }) })
    }

    /// Stands at the opening parenthesis.
    fn call(&mut self, name: Word<'a>) -> Option<Call<'a>> {
        self.at += 1;
        let arguments = self.values(b')', "`,` or `)`")?;
        let span = name.span.start..self.tokens[self.at - 1].span.end;
        Some(Call { name, arguments, span })
    }

    /// Values up to and including the closing sign.
    fn values(&mut self, closing: u8, what: &str) -> Option<Vec<Value>> {
        let mut values = Vec::new();
        if self.kind() == &Kind::Sign(closing) {
            self.at += 1;
            return Some(values);
        }
        loop {
            values.push(self.value()?);
            match *self.kind() {
                Kind::Sign(b',') => self.at += 1,
                Kind::Sign(sign) if sign == closing => {
                    self.at += 1;
                    return Some(values);
                }
                _ => return self.expected(what),
            }
        }
    }

    fn value(&mut self) -> Option<Value> {
        let span = self.span();
        let literal = match self.kind() {
            Kind::Text(text) => Literal::Text(text.clone()),
            Kind::Number(number) => Literal::Number(*number),
            Kind::Sign(b'[') => {
                self.at += 1;
                self.deeper(|parser| parser.values(b']', "`,` or `]`"))?;
                let span = span.start..self.tokens[self.at - 1].span.end;
                return Some(Value { literal: Literal::List, span });
            }
            Kind::Name(name) => {
                let help = format!("text is always quoted: \"{name}\"");
                let problem = Problem::new(span, "expected a string or a number");
                self.problems.add(problem.help(help));
                return None;
            }
            _ => return self.expected("a string or a number"),
        };
        self.at += 1;
        Some(Value { literal, span })
    }

    fn name(&mut self, what: &str) -> Option<Word<'a>> {
        match *self.kind() {
            Kind::Name(text) if !KEYWORDS.iter().any(|word| text.eq_ignore_ascii_case(word)) => {
                let word = Word { text, span: self.span() };
                self.at += 1;
                Some(word)
            }
            // A filter named like a keyword is judged where names are.
            Kind::Name(text) if self.is_filter_start() => {
                let word = Word { text, span: self.span() };
                self.at += 1;
                Some(word)
            }
            _ => self.expected(what),
        }
    }

    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        if self.depth == MAX_DEPTH {
            let message = format!("nested more than {MAX_DEPTH} deep");
            self.problems.add(Problem::new(self.span(), message));
            return None;
        }
        self.depth += 1;
        let result = read(self);
        self.depth -= 1;
        result
    }

    fn expected<T>(&mut self, what: &str) -> Option<T> {
        let found = match self.kind() {
            Kind::Name(name) => format!("`{name}`"),
            Kind::Text(_) => String::from("a string"),
            Kind::Number(_) => String::from("a number"),
            Kind::Operator(_) => String::from("an operator"),
            Kind::Sign(sign) => format!("`{}`", char::from(*sign)),
            Kind::End => String::from("the end of the script"),
        };
        self.problems.add(Problem::new(self.span(), format!("expected {what}, found {found}")));
        None
    }

    /// Past the `;` of the broken statement, or before what can only begin or end another.
    fn skip_statement(&mut self) {
        self.skip_to(|kind| matches!(kind, Kind::Sign(b';')));
        if self.kind() == &Kind::Sign(b';') {
            self.at += 1;
        } else if self.kind() == &Kind::Sign(b'{') {
            // The block of something unreadable: its statements are read as if they stood here.
            self.at += 1;
        }
    }

    fn skip_to(&mut self, is_wanted: impl Fn(&Kind<'_>) -> bool) {
        loop {
            match self.kind() {
                kind if is_wanted(kind) => return,
                Kind::End | Kind::Sign(b';' | b'{' | b'}') => return,
                _ if self.is_keyword("if") || self.is_filter_start() => return,
                _ => self.at += 1,
            }
        }
    }

    fn skip_to_filter(&mut self) {
        self.at += usize::from(self.kind() != &Kind::End);
        while self.kind() != &Kind::End && !self.is_filter_start() {
            self.at += 1;
        }
    }

    fn is_filter_start(&self) -> bool {
        let is_name = |token: &Token<'_>| matches!(token.kind, Kind::Name(_));
        let is_mark = |token: &Token<'_>| matches!(token.kind, Kind::Sign(b':' | b'!'));
        let rest = &self.tokens[self.at..];
        matches!(rest, [name, mark, Token { kind: Kind::Name(word), .. }, ..]
            if is_name(name) && is_mark(mark) && word.eq_ignore_ascii_case("if"))
    }

    fn is_keyword(&self, keyword: &str) -> bool {
        matches!(self.kind(), Kind::Name(name) if name.eq_ignore_ascii_case(keyword))
    }

    fn kind(&self) -> &Kind<'a> {
        &self.tokens[self.at].kind
    }

    fn span(&self) -> Range<usize> {
        self.tokens[self.at].span.clone()
    }
}

const KEYWORDS: [&str; 5] = ["if", "else", "and", "or", "not"];
const MISSPELT_ELSE_IF: [&str; 3] = ["elif", "elsif", "elseif"];

#[cfg(test)]
mod tests {
    extern crate std;

    use std::string::{String, ToString};

    use super::*;
    use crate::filter::syntax;

    fn read(script: &str) -> (Vec<Filter<'_>>, Vec<String>) {
        let mut problems = Problems::default();
        let filters = syntax::parse(script, &mut problems);
        let problems = problems.into_sorted();
        let show = |problem: Problem| std::format!("{}: {problem}", &script[problem.span.clone()]);
        (filters, problems.into_iter().map(show).collect())
    }

    fn shape(expression: &Expression<'_>) -> String {
        let list =
            |operands: &[Expression<'_>]| operands.iter().map(shape).collect::<Vec<_>>().join(" ");
        match expression {
            Expression::Any(operands) => std::format!("(or {})", list(operands)),
            Expression::All(operands) => std::format!("(and {})", list(operands)),
            Expression::Not(negated) => std::format!("(not {})", shape(negated)),
            Expression::Test(test) => test.rule.name.text.to_string(),
        }
    }

    #[test]
    fn not_binds_tighter_than_and_than_or() {
        for (condition, expected) in [
            ("a and b or c", "(or (and a b) c)"),
            ("a or b and c or d", "(or a (and b c) d)"),
            ("not a and b", "(and (not a) b)"),
            ("NOT (a Or not not b)", "(not (or a (not (not b))))"),
            ("(a) AND (b)", "(and a b)"),
        ] {
            let script = std::format!("f: if {condition} {{ x(); }}");
            let (filters, problems) = read(&script);
            assert_eq!(problems, Vec::<String>::new());
            assert_eq!(shape(filters[0].body.condition.as_ref().expect("it was read")), expected);
        }
    }

    #[test]
    fn one_mistake_is_one_problem_and_reading_goes_on() {
        let script = "one: if a { x; y() z(); w(,); }\n\
            two: if a == { y(); }\n\
            three if b { y(); }\n\
            four! if (a { y(); } else { }\n\
            five: if a { if b { y(); }\n\
            six: if a { y(); } elif b { y(); }\n";
        let (filters, problems) = read(script);
        let names: Vec<_> = filters.iter().map(|filter| filter.name.text).collect();
        assert_eq!(names, ["one", "two", "four", "five", "six"]);
        assert!(!filters[2].is_active);
        assert_eq!(problems.len(), 9, "{problems:#?}");
        assert!(problems[0].contains("actions are called with parentheses: `x();`"));
        assert!(problems[8].contains("else if"));
    }

    #[test]
    fn depth_is_bounded_and_length_is_not() {
        let deep = std::format!("f: if {}a {{ x(); }}", "not ".repeat(100_000));
        assert_eq!(read(&deep).1.len(), 1);
        let deep = std::format!("f: if a {}", "{ if a ".repeat(100_000));
        assert!(!read(&deep).1.is_empty());
        let chain = std::format!("f: if a {{ x(); }} {}", "else if b { y(); } ".repeat(100_000));
        assert_eq!(read(&chain).1.len(), 1);
        let long = std::format!("f: if a {} {{ x(); }}", "or a ".repeat(100_000));
        assert_eq!(read(&long).1.len(), 0);
    }

    #[test]
    fn else_if_and_a_semicolon_after_an_if_are_read() {
        let (filters, problems) = read("f: if a { if b { x(); }; y(); } else if c { z(); }");
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(filters[0].body.then.len(), 2);
        assert!(matches!(&filters[0].body.otherwise[..], [Statement::If(_)]));
    }
}
