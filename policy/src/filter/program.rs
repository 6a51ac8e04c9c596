//! Filters in the form they run in: one flat list of steps, each naming the next.
//!
//! The list is made from its end, so every step knows its successors when it is written. A filter
//! that cannot match unless some text is in the message sleeps until that text is found.

use alloc::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    vec::Vec,
};

use super::{
    bits::Bits,
    meaning::{self, Action, Branch, Condition, Field, Statement, Test},
    problem::Problem,
    remote_ip::Addresses,
    scan::{Collected, FieldPatterns},
    syntax::Operator,
};

#[derive(Debug)]
pub(super) struct Program {
    steps: Vec<Step>,
    /// The active filters, in order.
    pub(super) filters: Vec<Filter>,
    pub(super) questions: Vec<Question>,
    pub(super) actions: Vec<Action>,
    pub(super) fields: Vec<FieldPatterns>,
    /// The filters that never sleep.
    pub(super) awake: Bits,
}

#[derive(Debug)]
pub(super) struct Filter {
    pub(super) name: Arc<str>,
    pub(super) entry: u32,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Ask { question: u32, yes: u32, no: u32 },
    Act { action: u32, next: u32 },
    End,
}

#[derive(Debug)]
pub(super) enum Question {
    True,
    Matches { field: u32, pattern: u32 },
    Present(Arc<str>),
    ClientIs(Addresses),
    ListenerIs(Arc<str>),
    Size(Operator, u64),
    RecipientCount(Operator, u64),
}

impl Program {
    /// # Errors
    ///
    /// Patterns that are too large in sum.
    pub(super) fn new(filters: &[meaning::Filter]) -> Result<Self, Problem> {
        let mut compiler = Compiler::default();
        compiler.steps.push(Step::End);
        let active: Vec<_> = filters.iter().filter(|filter| filter.is_active).collect();
        let mut awake = Bits::new(active.len());
        for (number, filter) in (0..).zip(&active) {
            let entry = compiler.branch(&filter.body, END);
            compiler.filters.push(Filter { name: filter.name.clone(), entry });
            match compiler.necessary_for(&filter.body) {
                Some(signs) => {
                    for (field, pattern) in signs {
                        compiler.fields[field as usize].1.wake(pattern, number);
                    }
                }
                None => awake.insert(number),
            }
        }
        let fields = compiler.fields.into_iter();
        Ok(Self {
            steps: compiler.steps,
            filters: compiler.filters,
            questions: compiler.questions,
            actions: compiler.actions,
            fields: fields.map(|(field, found)| found.build(field)).collect::<Result<_, _>>()?,
            awake,
        })
    }

    pub(super) fn step(&self, at: u32) -> Step {
        self.steps[at as usize]
    }
}

#[derive(Default)]
struct Compiler {
    steps: Vec<Step>,
    filters: Vec<Filter>,
    questions: Vec<Question>,
    actions: Vec<Action>,
    fields: Vec<(Field, Collected)>,
    numbers: BTreeMap<Field, u32>,
}

/// A pattern of a field, both by number.
type Sign = (u32, u32);

impl Compiler {
    /// Writes a branch that goes on at `next`; answers where it begins, as all of these do.
    fn branch(&mut self, branch: &Branch, next: u32) -> u32 {
        let yes = self.statements(&branch.then, next);
        let no = self.statements(&branch.otherwise, next);
        self.condition(&branch.condition, yes, no)
    }

    fn statements(&mut self, statements: &[Statement], next: u32) -> u32 {
        statements.iter().rev().fold(next, |next, statement| match statement {
            Statement::If(branch) => self.branch(branch, next),
            Statement::Act(action, _) => {
                self.actions.push(action.clone());
                let action = last(&self.actions);
                self.write(Step::Act { action, next })
            }
        })
    }

    fn condition(&mut self, condition: &Condition, yes: u32, no: u32) -> u32 {
        match condition {
            Condition::Not(negated) => self.condition(negated, no, yes),
            Condition::All(operands) => {
                let ordered = in_order_of_cost(operands);
                ordered.iter().rev().fold(yes, |yes, operand| self.condition(operand, yes, no))
            }
            Condition::Any(operands) => {
                let ordered = in_order_of_cost(operands);
                ordered.iter().rev().fold(no, |no, operand| self.condition(operand, yes, no))
            }
            Condition::Test(test, span) => {
                let question = match test {
                    Test::True => Question::True,
                    Test::Matches(field, pattern) => {
                        let field = self.field(field);
                        let pattern = self.fields[field as usize].1.number(pattern, span);
                        Question::Matches { field, pattern }
                    }
                    Test::Present(name) => Question::Present(name.clone()),
                    Test::ClientIs(addresses) => Question::ClientIs(*addresses),
                    Test::ListenerIs(name) => Question::ListenerIs(name.clone()),
                    Test::Size(operator, size) => Question::Size(*operator, *size),
                    Test::RecipientCount(operator, count) => {
                        Question::RecipientCount(*operator, *count)
                    }
                };
                self.questions.push(question);
                let question = last(&self.questions);
                self.write(Step::Ask { question, yes, no })
            }
        }
    }

    fn write(&mut self, step: Step) -> u32 {
        self.steps.push(step);
        last(&self.steps)
    }

    fn field(&mut self, field: &Field) -> u32 {
        *self.numbers.entry(field.clone()).or_insert_with(|| {
            self.fields.push((field.clone(), Collected::default()));
            last(&self.fields)
        })
    }

    /// Signs of which a message must show one, or the filter does nothing. None if there are none.
    fn necessary_for(&mut self, body: &Branch) -> Option<Vec<Sign>> {
        if !body.otherwise.is_empty() {
            return None;
        }
        self.necessary(&body.condition, true)
    }

    /// Signs of which one must show for the condition to have this outcome.
    fn necessary(&mut self, condition: &Condition, outcome: bool) -> Option<Vec<Sign>> {
        let (operands, needs_all) = match condition {
            Condition::Not(negated) => return self.necessary(negated, !outcome),
            Condition::Test(Test::True, _) if !outcome => return Some(Vec::new()),
            Condition::Test(Test::Matches(field, pattern), span)
                if outcome && pattern.required().is_some() =>
            {
                let field = self.field(field);
                return Some(alloc::vec![(
                    field,
                    self.fields[field as usize].1.number(pattern, span)
                )]);
            }
            Condition::Test(..) => return None,
            Condition::All(operands) => (operands, outcome),
            Condition::Any(operands) => (operands, !outcome),
        };
        let signs = operands.iter().map(|operand| self.necessary(operand, outcome));
        if needs_all {
            return signs.flatten().min_by_key(Vec::len);
        }
        signs.collect::<Option<Vec<_>>>().map(|signs| signs.concat())
    }
}

/// The cheaper operand first; of two equals the right one, as AsyncOS does. Chains group to the
/// left, so each operand is weighed against the sum of those before it.
fn in_order_of_cost(operands: &[Condition]) -> VecDeque<&Condition> {
    let (mut ordered, mut sum) = (VecDeque::new(), 0);
    for operand in operands {
        let cost = cost(operand);
        if cost <= sum {
            ordered.push_front(operand);
        } else {
            ordered.push_back(operand);
        }
        sum += cost;
    }
    ordered
}

fn cost(condition: &Condition) -> u32 {
    match condition {
        Condition::Not(negated) => cost(negated),
        Condition::All(operands) | Condition::Any(operands) => operands.iter().map(cost).sum(),
        Condition::Test(Test::Matches(Field::Header(_), _) | Test::Present(_), _) => 2,
        Condition::Test(..) => 1,
    }
}

fn last<T>(list: &[T]) -> u32 {
    u32::try_from(list.len() - 1).expect("the length of a script is bounded")
}

/// The first step written.
const END: u32 = 0;

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use crate::filter::{Names, problem::Problems, syntax};

    fn program(script: &str) -> Program {
        let mut problems = Problems::default();
        let read = syntax::parse(script, &mut problems);
        let filters = meaning::resolve(&read, &Names { listeners: &[] }, &mut problems);
        assert_eq!(problems.into_sorted(), []);
        Program::new(&filters).expect("it is small")
    }

    #[test]
    fn filters_that_need_a_text_sleep() {
        for (condition, sleeps) in [
            ("subject == 'viagra'", true),
            ("true and subject == 'viagra'", true),
            ("subject == 'a' or mail-from == 'b'", true),
            ("not (subject != 'a' or true)", true),
            ("not true", true),
            ("subject != 'viagra'", false),
            ("subject == 'a' or true", false),
            ("subject == '[0-9]'", false),
            ("header('X')", false),
            ("rcpt-count > 1", false),
        ] {
            let program = program(&std::format!("f: if {condition} {{ drop(); }}"));
            assert_eq!(program.awake.contains(0), !sleeps, "{condition}");
        }
        let program = program("f: if subject == 'viagra' { drop(); } else { no-op(); }");
        assert!(program.awake.contains(0), "an else runs when the text is missing");
    }

    #[test]
    fn the_right_one_of_equals_is_asked_first_and_the_cheaper_before_all() {
        let script = "f: if rcpt-count == 1 and rcpt-count == 2 and rcpt-count == 3 { drop(); }";
        let program_of_equals = program(script);
        let Step::Ask { question, .. } = program_of_equals.step(program_of_equals.filters[0].entry)
        else {
            panic!("a filter begins with a question")
        };
        let question = &program_of_equals.questions[question as usize];
        assert!(matches!(question, Question::RecipientCount(Operator::Equal, 3)));
        let program = program("f: if rcpt-count == 1 and header('X') { drop(); }");
        let Step::Ask { question, .. } = program.step(program.filters[0].entry) else {
            panic!("a filter begins with a question")
        };
        assert!(matches!(program.questions[question as usize], Question::RecipientCount(..)));
    }

    #[test]
    fn the_same_pattern_is_compiled_once() {
        let program = program(
            "a: if subject == 'x+' { drop(); } b: if header('Subject') == 'x+' { drop(); }",
        );
        let [Question::Matches { pattern: one, .. }, Question::Matches { pattern: other, .. }] =
            &program.questions[..]
        else {
            panic!("two questions about patterns")
        };
        assert_eq!((program.fields.len(), one), (1, other));
    }
}
