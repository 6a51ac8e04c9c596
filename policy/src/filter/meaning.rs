//! What a script means: names become rules and actions, values become patterns and numbers.
//!
//! All that can be wrong with a script is found here or before; what comes after cannot fail but
//! for size.

use alloc::{
    borrow::ToOwned as _, boxed::Box, collections::BTreeMap, format, string::String, sync::Arc,
    vec::Vec,
};
use core::ops::Range;

use ringpost_core::smtp::reply::Reply;

use super::{
    Names,
    matcher::Pattern,
    problem::{Problem, Problems},
    rejection,
    remote_ip::Addresses,
    syntax::{self, Call, Expression, Literal, Operator, Value},
    template::Template,
    vocabulary::{self, Known},
};

#[derive(Debug)]
pub(super) struct Filter {
    pub(super) name: Arc<str>,
    /// Of the name.
    pub(super) span: Range<usize>,
    pub(super) is_active: bool,
    pub(super) body: Branch,
}

#[derive(Debug)]
pub(super) struct Branch {
    pub(super) condition: Condition,
    pub(super) then: Vec<Statement>,
    pub(super) otherwise: Vec<Statement>,
}

#[derive(Debug)]
pub(super) enum Statement {
    If(Branch),
    Act(Action, Range<usize>),
}

#[derive(Debug)]
pub(super) enum Condition {
    Any(Vec<Self>),
    All(Vec<Self>),
    Not(Box<Self>),
    Test(Test, Range<usize>),
}

/// Something that is true of a message or not. `!=` is [`Condition::Not`] of `==`.
#[derive(Clone, Debug)]
pub(super) enum Test {
    True,
    /// Any value of the field has the pattern in it.
    Matches(Field, Pattern),
    Present(Arc<str>),
    ClientIs(Addresses),
    ListenerIs(Arc<str>),
    Size(Operator, u64),
    RecipientCount(Operator, u64),
}

/// Where patterns look.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Field {
    /// All fields of this name, in lower case.
    Header(Arc<str>),
    MailFrom,
    Recipients,
    SenderGroup,
}

#[derive(Clone, Debug)]
pub(super) enum Action {
    SkipFilters,
    Drop,
    Bounce,
    Reject(Reply),
    StripHeader(Arc<str>),
    InsertHeader(Arc<str>, Template),
    LogEntry(Template),
    NoOp,
}

impl Action {
    /// Whether nothing runs after it.
    pub(super) const fn is_final(&self) -> bool {
        matches!(self, Self::SkipFilters | Self::Drop | Self::Bounce | Self::Reject(_))
    }
}

/// Resolves what was read; filters with problems are left out.
pub(super) fn resolve(
    filters: &[syntax::Filter<'_>],
    names: &Names<'_>,
    problems: &mut Problems,
) -> Vec<Filter> {
    let mut resolver = Resolver { names, problems };
    let mut seen = BTreeMap::new();
    let mut resolved = Vec::new();
    for filter in filters {
        let name = filter.name.text;
        if vocabulary::is_reserved(name) {
            let message = format!("`{name}` is a reserved word");
            resolver.report::<()>(&filter.name.span, message, "give the filter another name");
        }
        if seen.insert(name, ()).is_some() {
            let message = format!("there already is a filter named `{name}`");
            resolver.report::<()>(&filter.name.span, message, "names are unique within a script");
        }
        if let Some(body) = resolver.branch(&filter.body) {
            resolved.push(Filter {
                name: name.into(),
                span: filter.name.span.clone(),
                is_active: filter.is_active,
                body,
            });
        }
    }
    resolved
}

struct Resolver<'r, 'n> {
    names: &'r Names<'n>,
    problems: &'r mut Problems,
}

impl Resolver<'_, '_> {
    fn branch(&mut self, branch: &syntax::If<'_>) -> Option<Branch> {
        // Every part is looked at even when another is wrong: all problems are to be found.
        let condition = branch.condition.as_ref().and_then(|condition| self.condition(condition));
        let then = self.statements(&branch.then);
        let otherwise = self.statements(&branch.otherwise);
        Some(Branch { condition: condition?, then: then?, otherwise: otherwise? })
    }

    fn statements(&mut self, statements: &[syntax::Statement<'_>]) -> Option<Vec<Statement>> {
        let resolve = |statement: &syntax::Statement<'_>| match statement {
            syntax::Statement::If(branch) => self.branch(branch).map(Statement::If),
            syntax::Statement::Action(call) => {
                self.action(call).map(|action| Statement::Act(action, call.span.clone()))
            }
        };
        all(statements.iter().map(resolve).collect())
    }

    fn condition(&mut self, expression: &Expression<'_>) -> Option<Condition> {
        match expression {
            Expression::Any(operands) => {
                let operands = operands.iter().map(|operand| self.condition(operand)).collect();
                all(operands).map(Condition::Any)
            }
            Expression::All(operands) => {
                let operands = operands.iter().map(|operand| self.condition(operand)).collect();
                all(operands).map(Condition::All)
            }
            Expression::Not(negated) => self.condition(negated).map(negate),
            Expression::Test(test) => self.test(test),
        }
    }

    fn test(&mut self, test: &syntax::Test<'_>) -> Option<Condition> {
        let name = &test.rule.name;
        let rule = match vocabulary::rule(name.text) {
            Known::Supported(rule) => rule,
            Known::Unsupported => return self.unsupported("condition", name),
            Known::Unknown => {
                return self.unknown("condition", name, vocabulary::similar_rule(name.text));
            }
        };
        let (resolved, is_negated) = match rule {
            vocabulary::Rule::True => (self.bare(test, Test::True)?, false),
            vocabulary::Rule::Header => self.header(test)?,
            vocabulary::Rule::Subject => {
                self.matches(test, Field::Header("subject".into()), false)?
            }
            vocabulary::Rule::SenderGroup => self.matches(test, Field::SenderGroup, false)?,
            // Envelope addresses ignore case in AsyncOS, local parts too.
            vocabulary::Rule::MailFrom => self.matches(test, Field::MailFrom, true)?,
            vocabulary::Rule::RcptTo => self.matches(test, Field::Recipients, true)?,
            vocabulary::Rule::RemoteIp => self.remote_ip(test)?,
            vocabulary::Rule::RecvListener => self.listener(test)?,
            vocabulary::Rule::BodySize => self.number(test, Test::Size)?,
            vocabulary::Rule::RcptCount => self.number(test, Test::RecipientCount)?,
        };
        let span = match &test.comparison {
            Some(comparison) => test.rule.span.start..comparison.value.span.end,
            None => test.rule.span.clone(),
        };
        let condition = Condition::Test(resolved, span);
        Some(if is_negated { negate(condition) } else { condition })
    }

    fn bare(&mut self, test: &syntax::Test<'_>, resolved: Test) -> Option<Test> {
        self.arguments(&test.rule, 0)?;
        if test.comparison.is_some() {
            let message = format!("`{}` is not compared with anything", test.rule.name.text);
            return self.report(&test.rule.span, message, "leave the comparison out");
        }
        Some(resolved)
    }

    fn header(&mut self, test: &syntax::Test<'_>) -> Option<(Test, bool)> {
        let [name] = self.arguments(&test.rule, 1)? else {
            return None;
        };
        let name = self.header_name(name)?.to_ascii_lowercase();
        if test.comparison.is_none() {
            return Some((Test::Present(name.into()), false));
        }
        self.compared_with_pattern(test, Field::Header(name.into()), false)
    }

    fn matches(
        &mut self,
        test: &syntax::Test<'_>,
        field: Field,
        ignores_case: bool,
    ) -> Option<(Test, bool)> {
        self.arguments(&test.rule, 0)?;
        self.compared_with_pattern(test, field, ignores_case)
    }

    fn compared_with_pattern(
        &mut self,
        test: &syntax::Test<'_>,
        field: Field,
        ignores_case: bool,
    ) -> Option<(Test, bool)> {
        let (value, is_negated) = self.equality(test)?;
        let text = self.text(value)?;
        match Pattern::new(text, ignores_case) {
            Ok(pattern) => Some((Test::Matches(field, pattern), is_negated)),
            Err(error) => {
                let problem = Problem::new(value.span.clone(), error.message);
                self.problems.add(match error.help {
                    Some(help) => problem.help(help),
                    None => problem,
                });
                None
            }
        }
    }

    fn remote_ip(&mut self, test: &syntax::Test<'_>) -> Option<(Test, bool)> {
        self.arguments(&test.rule, 0)?;
        let (value, is_negated) = self.equality(test)?;
        match Addresses::parse(self.text(value)?) {
            Ok(addresses) => Some((Test::ClientIs(addresses), is_negated)),
            Err(help) => self.report(&value.span, "this is no address", help),
        }
    }

    fn listener(&mut self, test: &syntax::Test<'_>) -> Option<(Test, bool)> {
        self.arguments(&test.rule, 0)?;
        let (value, is_negated) = self.equality(test)?;
        let name = self.text(value)?;
        if let Some(listener) = self.names.listeners.iter().find(|known| ***known == *name) {
            return Some((Test::ListenerIs(listener.clone()), is_negated));
        }
        let message = format!("there is no listener named `{name}`");
        let help = format!("the listeners are: {}", list(self.names.listeners));
        self.report(&value.span, message, help)
    }

    fn number(
        &mut self,
        test: &syntax::Test<'_>,
        make: fn(Operator, u64) -> Test,
    ) -> Option<(Test, bool)> {
        self.arguments(&test.rule, 0)?;
        let Some(comparison) = &test.comparison else {
            return self.needs_comparison(test, "> 10k");
        };
        let value = match comparison.value.literal {
            Literal::Number(number) => number.whole(),
            _ => None,
        };
        let Some(value) = value else {
            let help = "write digits without quotes; b, k, M and G may follow";
            return self.report(&comparison.value.span, "expected a whole number", help);
        };
        Some((make(comparison.operator, value), false))
    }

    fn equality<'t>(&mut self, test: &'t syntax::Test<'_>) -> Option<(&'t Value, bool)> {
        let Some(comparison) = &test.comparison else {
            return self.needs_comparison(test, "== \"text\"");
        };
        match comparison.operator {
            Operator::Equal => Some((&comparison.value, false)),
            Operator::NotEqual => Some((&comparison.value, true)),
            _ => {
                let message = format!("`{}` knows `==` and `!=` only", test.rule.name.text);
                self.report(&test.rule.span, message, "text is not greater or less")
            }
        }
    }

    fn needs_comparison<T>(&mut self, test: &syntax::Test<'_>, example: &str) -> Option<T> {
        let name = test.rule.name.text;
        let message = format!("`{name}` needs a comparison");
        self.report(&test.rule.span, message, format!("for instance `{name} {example}`"))
    }

    fn action(&mut self, call: &Call<'_>) -> Option<Action> {
        let name = &call.name;
        let action = match vocabulary::action(name.text) {
            Known::Supported(action) => action,
            Known::Unsupported => return self.unsupported("action", name),
            Known::Unknown => {
                return self.unknown("action", name, vocabulary::similar_action(name.text));
            }
        };
        Some(match action {
            vocabulary::Action::SkipFilters => self.without_arguments(call, Action::SkipFilters)?,
            vocabulary::Action::Drop => self.without_arguments(call, Action::Drop)?,
            vocabulary::Action::Bounce => self.without_arguments(call, Action::Bounce)?,
            vocabulary::Action::NoOp => self.without_arguments(call, Action::NoOp)?,
            vocabulary::Action::Reject => {
                let [text] = self.arguments(call, 1)? else {
                    return None;
                };
                match rejection::parse(self.text(text)?) {
                    Ok(reply) => Action::Reject(reply),
                    Err(message) => {
                        return self.report(&text.span, message, rejection::EXAMPLE);
                    }
                }
            }
            vocabulary::Action::StripHeader => {
                let [name] = self.arguments(call, 1)? else {
                    return None;
                };
                Action::StripHeader(self.header_name(name)?.into())
            }
            vocabulary::Action::InsertHeader => {
                let [name, value] = self.arguments(call, 2)? else {
                    return None;
                };
                let (name, value) = (self.header_name(name), self.text(value));
                Action::InsertHeader(name?.into(), Template::parse(value?))
            }
            vocabulary::Action::LogEntry => {
                let [text] = self.arguments(call, 1)? else {
                    return None;
                };
                Action::LogEntry(Template::parse(self.text(text)?))
            }
        })
    }

    fn without_arguments(&mut self, call: &Call<'_>, action: Action) -> Option<Action> {
        self.arguments(call, 0).map(|_| action)
    }

    fn arguments<'c>(&mut self, call: &'c Call<'_>, count: usize) -> Option<&'c [Value]> {
        if call.arguments.len() == count {
            return Some(&call.arguments);
        }
        let expected = match count {
            0 => "no arguments",
            1 => "one argument",
            _ => "two arguments",
        };
        let found = call.arguments.len();
        let message = format!("`{}` takes {expected}, not {found}", call.name.text);
        self.problems.add(Problem::new(call.span.clone(), message));
        None
    }

    fn text<'v>(&mut self, value: &'v Value) -> Option<&'v str> {
        match &value.literal {
            Literal::Text(text) => Some(text),
            _ => self.report(&value.span, "expected a string", "text is always quoted"),
        }
    }

    fn header_name<'v>(&mut self, value: &'v Value) -> Option<&'v str> {
        let name = self.text(value)?;
        //= RFC 5322 2.2
        let is_name = |octet: u8| matches!(octet, 33..=126) && octet != b':';
        if !name.is_empty() && name.len() <= MAX_HEADER_NAME && name.bytes().all(is_name) {
            return Some(name);
        }
        let message = format!("no header field can be called `{name}`");
        self.report(&value.span, message, "a name is printable ASCII without blanks and colons")
    }

    fn unsupported<T>(&mut self, what: &str, name: &syntax::Word<'_>) -> Option<T> {
        let message = format!("`{}` is known to AsyncOS, not yet supported", name.text);
        let help = format!("remove this {what}, or the filter");
        self.report(&name.span, message, help)
    }

    fn unknown<T>(
        &mut self,
        what: &str,
        name: &syntax::Word<'_>,
        similar: Option<&str>,
    ) -> Option<T> {
        let problem = Problem::new(name.span.clone(), format!("unknown {what} `{}`", name.text));
        self.problems.add(match similar {
            Some(similar) => problem.help(format!("did you mean `{similar}`?")),
            None => problem,
        });
        None
    }

    fn report<T>(
        &mut self,
        span: &Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Option<T> {
        self.problems.add(Problem::new(span.clone(), message).help(help));
        None
    }
}

/// Names as a sentence lists them.
pub(super) fn list(names: &[Arc<str>]) -> String {
    if names.is_empty() { "(none)".to_owned() } else { names.join(", ") }
}

fn negate(condition: Condition) -> Condition {
    match condition {
        Condition::Not(negated) => *negated,
        condition => Condition::Not(Box::new(condition)),
    }
}

/// All of them or none, once all were looked at.
fn all<T>(items: Vec<Option<T>>) -> Option<Vec<T>> {
    items.into_iter().collect()
}

/// Octets of a field name: it shares a line of 998 (RFC 5322 2.1.1) with a value.
const MAX_HEADER_NAME: usize = 256;
