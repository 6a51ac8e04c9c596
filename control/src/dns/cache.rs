//! Answers remembered for as long as their zones allow, within a fixed number.
//!
//! Two generations: when the young one is full it becomes the old one, and what was old is
//! forgotten. What is asked often is carried over; nothing is ever searched or sorted.

use std::{collections::HashMap, mem, time::Instant};

use ringpost_core::lookup::{Answer, Question};

pub(super) struct Cache {
    young: HashMap<Question, Remembered>,
    old: HashMap<Question, Remembered>,
    generation_size: usize,
}

struct Remembered {
    answer: Answer,
    until: Instant,
}

impl Cache {
    pub(super) fn new(size: u32) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), generation_size: (size / 2) as usize }
    }

    pub(super) fn find(&mut self, question: &Question, now: Instant) -> Option<Answer> {
        if let Some(remembered) = self.young.get(question) {
            return remembered.answer_at(now);
        }
        let remembered = self.old.remove(question)?;
        let answer = remembered.answer_at(now)?;
        self.insert(question.clone(), answer.clone(), remembered.until);
        Some(answer)
    }

    pub(super) fn insert(&mut self, question: Question, answer: Answer, until: Instant) {
        if self.young.len() >= self.generation_size {
            self.old = mem::take(&mut self.young);
        }
        if self.generation_size > 0 {
            self.young.insert(question, Remembered { answer, until });
        }
    }
}

impl Remembered {
    fn answer_at(&self, now: Instant) -> Option<Answer> {
        (now < self.until).then(|| self.answer.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn question(number: u32) -> Question {
        Question::Mx(format!("d{number}.example").into())
    }

    #[test]
    fn an_answer_ends_with_its_time() {
        let (mut cache, now) = (Cache::new(10), Instant::now());
        cache.insert(question(1), Answer::NoRecords, now + Duration::from_secs(1));
        assert_eq!(cache.find(&question(1), now), Some(Answer::NoRecords));
        assert_eq!(cache.find(&question(1), now + Duration::from_secs(1)), None);
    }

    #[test]
    fn it_stays_small_and_keeps_what_is_asked_often() {
        let (mut cache, now) = (Cache::new(10), Instant::now());
        let until = now + Duration::from_secs(1);
        cache.insert(question(0), Answer::NoSuchName, until);
        for number in 1..100 {
            cache.insert(question(number), Answer::NoRecords, until);
            assert_eq!(cache.find(&question(0), now), Some(Answer::NoSuchName), "{number}");
            assert!(cache.young.len() + cache.old.len() <= 10);
        }
        assert_eq!(cache.find(&question(1), now), None);
    }

    #[test]
    fn a_cache_of_no_size_remembers_nothing() {
        let (mut cache, now) = (Cache::new(0), Instant::now());
        cache.insert(question(1), Answer::NoRecords, now + Duration::from_secs(1));
        assert_eq!(cache.find(&question(1), now), None);
    }
}
