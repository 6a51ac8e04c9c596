//! Scripts that are legal and probably not meant: groups that do not exist, secrets anybody can
//! extend, filters that never run.

use alloc::{format, sync::Arc, vec::Vec};
use core::ops::Range;

use super::{
    matcher::Pattern,
    meaning::{self, Action, Branch, Condition, Field, Filter, Statement, Test},
    problem::{Problem, Problems},
};

/// What was found when the script was compiled, and what waits for the sender groups.
#[derive(Debug)]
pub(super) struct Lints {
    found: Vec<Problem>,
    sender_groups: Vec<(Pattern, Range<usize>)>,
}

impl Lints {
    pub(super) fn new(filters: &[Filter]) -> Self {
        let mut linter = Linter { found: Problems::default(), sender_groups: Vec::new() };
        filters.iter().for_each(|filter| linter.branch(&filter.body));
        linter.inactive(filters);
        linter.never_run(filters);
        Self { found: linter.found.into_sorted(), sender_groups: linter.sender_groups }
    }

    /// Everything, in the order of the text.
    pub(super) fn of(&self, groups: &[Arc<str>]) -> Vec<Problem> {
        let mut problems = Problems::default();
        self.found.iter().for_each(|problem| problems.add(problem.clone()));
        for (pattern, span) in &self.sender_groups {
            let is_match = |group: &Arc<str>| pattern.is_match(group) == Ok(true);
            if !groups.iter().any(is_match) {
                let message = format!("`{}` matches no sender group", pattern.text);
                let help = format!("the sender groups are: {}", meaning::list(groups));
                problems.add(Problem::new(span.clone(), message).help(help));
            }
        }
        problems.into_sorted()
    }
}

struct Linter {
    found: Problems,
    sender_groups: Vec<(Pattern, Range<usize>)>,
}

impl Linter {
    fn branch(&mut self, branch: &Branch) {
        self.condition(&branch.condition, true, &branch.then);
        self.statements(&branch.then);
        self.statements(&branch.otherwise);
    }

    /// `then` is what happens if the whole condition is true; a test with `outcome` helps it be so.
    fn condition(&mut self, condition: &Condition, outcome: bool, then: &[Statement]) {
        match condition {
            Condition::Any(operands) | Condition::All(operands) => {
                operands.iter().for_each(|operand| self.condition(operand, outcome, then));
            }
            Condition::Not(negated) => self.condition(negated, !outcome, then),
            Condition::Test(Test::Matches(Field::SenderGroup, pattern), span) => {
                self.sender_groups.push((pattern.clone(), span.clone()));
            }
            Condition::Test(Test::Matches(Field::Header(name), pattern), span)
                if outcome && !pattern.is_anchored() && strips(then, name) =>
            {
                let message = "this looks like a secret, but any value that contains it passes";
                let help = format!("anchor the pattern: \"^{}$\"", pattern.text);
                self.found.add(Problem::new(span.clone(), message).help(help));
            }
            Condition::Test(..) => {}
        }
    }

    fn statements(&mut self, statements: &[Statement]) {
        let mut is_over = false;
        for statement in statements {
            if is_over {
                if let Some(span) = span(statement) {
                    let problem = Problem::new(span, "this is never reached");
                    self.found.add(problem.help("a final action before it ends the filters"));
                }
                return;
            }
            match statement {
                Statement::If(branch) => self.branch(branch),
                Statement::Act(Action::InsertHeader(_, text) | Action::LogEntry(text), span) => {
                    for variable in &text.unsupported {
                        let message = format!(
                            "`{variable}` is known to AsyncOS, not yet supported: it stays as it is"
                        );
                        self.found.add(Problem::new(span.clone(), message));
                    }
                }
                Statement::Act(..) => {}
            }
            is_over = ends(statement);
        }
    }

    fn inactive(&mut self, filters: &[Filter]) {
        for filter in filters.iter().filter(|filter| !filter.is_active) {
            let message = format!("filter `{}` is inactive", filter.name);
            let help = "write `:` instead of `!` after its name to activate it";
            self.found.add(Problem::new(filter.span.clone(), message).help(help));
        }
    }

    fn never_run(&mut self, filters: &[Filter]) {
        let mut active = filters.iter().filter(|filter| filter.is_active);
        let Some(last) = active.find(|filter| ends_always(&filter.body)) else {
            return;
        };
        for filter in active {
            let message = format!("filter `{}` never runs", filter.name);
            let help =
                format!("filter `{}` before it ends the filters for every message", last.name);
            self.found.add(Problem::new(filter.span.clone(), message).help(help));
        }
    }
}

fn strips(statements: &[Statement], name: &str) -> bool {
    statements.iter().any(|statement| match statement {
        Statement::Act(Action::StripHeader(stripped), _) => stripped.eq_ignore_ascii_case(name),
        Statement::Act(..) => false,
        Statement::If(branch) => strips(&branch.then, name) || strips(&branch.otherwise, name),
    })
}

fn ends(statement: &Statement) -> bool {
    match statement {
        Statement::Act(action, _) => action.is_final(),
        Statement::If(branch) => ends_always(branch),
    }
}

fn ends_always(branch: &Branch) -> bool {
    let (then, otherwise) = (branch.then.iter().any(ends), branch.otherwise.iter().any(ends));
    match constant(&branch.condition) {
        Some(true) => then,
        Some(false) => otherwise,
        None => then && otherwise,
    }
}

/// What the condition says of every message, if it is plain to see.
fn constant(condition: &Condition) -> Option<bool> {
    let decided = |operands: &[Condition], by: bool| {
        if operands.iter().any(|operand| constant(operand) == Some(by)) {
            return Some(by);
        }
        operands.iter().all(|operand| constant(operand) == Some(!by)).then_some(!by)
    };
    match condition {
        Condition::Any(operands) => decided(operands, true),
        Condition::All(operands) => decided(operands, false),
        Condition::Not(negated) => constant(negated).map(|constant| !constant),
        Condition::Test(Test::True, _) => Some(true),
        Condition::Test(..) => None,
    }
}

fn span(statement: &Statement) -> Option<Range<usize>> {
    match statement {
        Statement::Act(_, span) => Some(span.clone()),
        Statement::If(branch) => condition_span(&branch.condition),
    }
}

fn condition_span(condition: &Condition) -> Option<Range<usize>> {
    match condition {
        Condition::Any(operands) | Condition::All(operands) => condition_span(operands.first()?),
        Condition::Not(negated) => condition_span(negated),
        Condition::Test(_, span) => Some(span.clone()),
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::string::String;

    use crate::filter::{Names, compile};

    use super::*;

    fn lints(script: &str) -> Vec<String> {
        let filters = compile(script, &Names { listeners: &[] }).expect("it is legal");
        let groups = ["RELAY_O365".into(), "UNKNOWNLIST".into()];
        let lints = filters.lints(&groups);
        lints
            .into_iter()
            .map(|lint| std::format!("{}: {lint}", &script[lint.span.clone()]))
            .collect()
    }

    #[test]
    fn a_sender_group_nobody_has_is_found_with_the_ones_there_are() {
        assert_eq!(lints("a: if sendergroup == 'RELAY' { drop(); }"), Vec::<String>::new());
        let found = lints("a: if true and sendergroup != '^RELAY$' { drop(); }");
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("sendergroup != '^RELAY$': "));
        assert!(found[0].ends_with("the sender groups are: RELAY_O365, UNKNOWNLIST)"));
    }

    #[test]
    fn a_secret_without_anchors_is_found_and_one_with_them_is_not() {
        let script = |pattern: &str| {
            std::format!(
                "a: if header('X-Key') == '{pattern}' {{ if true {{ strip-header('x-key'); }} }} \
                 else {{ drop(); }}"
            )
        };
        for pattern in ["secret", "^secret", "secret$", "^secret$|x"] {
            assert_eq!(lints(&script(pattern)).len(), 1, "{pattern}");
        }
        assert_eq!(lints(&script("^secret$")), Vec::<String>::new());
        assert_eq!(lints("a: if header('X') == 'a' { drop(); }"), Vec::<String>::new());
    }

    #[test]
    fn what_never_runs_is_found() {
        let found =
            lints("a: if true or subject == 'x' { drop(); no-op(); } b: if true { no-op(); }");
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("no-op(): this is never reached"));
        assert!(found[1].starts_with("b: filter `b` never runs"));
        let both = "a: if subject == 'x' { drop(); } else { bounce(); } b! if true { no-op(); }";
        assert_eq!(lints(both).len(), 1, "an inactive filter is only inactive");
        let maybe = "a: if subject == 'x' { drop(); } b: if true { no-op(); }";
        assert_eq!(lints(maybe), Vec::<String>::new());
    }

    #[test]
    fn variables_that_stay_as_they_are_are_found() {
        assert_eq!(lints("a: if true { log-entry('$Reputation $Subject $nonsense'); }").len(), 1);
    }
}
