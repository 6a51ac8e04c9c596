//! How the sink is told to misbehave: refusals and losses by chance, and greylisting.

use std::collections::HashSet;

use super::chance::Chance;

/// What is done with a content that is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Accept,
    /// 451: the content is thrown away and may come again.
    TemporaryFailure,
    /// The connection is closed without a reply and the content thrown away.
    Drop,
}

/// Decides, with a seed, what each message meets.
#[derive(Debug)]
pub struct Behaviour {
    /// Probability of a temporary failure at the final dot.
    pub temporary_failure: f64,
    /// Probability of a lost connection at the final dot.
    pub drop_at_dot: f64,
    /// Pairs of sender and recipient that have been seen; none when greylisting is off.
    greylist: Option<HashSet<Vec<u8>>>,
    chance: Chance,
}

impl Behaviour {
    pub fn new(temporary_failure: f64, drop_at_dot: f64, greylist: bool, seed: u64) -> Self {
        let greylist = greylist.then(HashSet::new);
        Self { temporary_failure, drop_at_dot, greylist, chance: Chance::new(seed) }
    }

    /// Decides about a content.
    pub fn verdict(&mut self) -> Verdict {
        if self.chance.happens(self.drop_at_dot) {
            Verdict::Drop
        } else if self.chance.happens(self.temporary_failure) {
            Verdict::TemporaryFailure
        } else {
            Verdict::Accept
        }
    }

    /// Whether a recipient may pass: with greylisting only when the same sender has tried it
    /// before. When [`GREYLIST_MAX`] pairs are known, all others pass.
    pub fn admits(&mut self, sender: &[u8], recipient: &[u8]) -> bool {
        match &mut self.greylist {
            Some(seen) if seen.len() < GREYLIST_MAX => !seen.insert([sender, recipient].join(&0)),
            Some(_) | None => true,
        }
    }
}

/// Pairs of sender and recipient that greylisting remembers.
pub const GREYLIST_MAX: usize = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greylisting_refuses_the_first_attempt_of_each_pair() {
        let mut behaviour = Behaviour::new(0.0, 0.0, true, 1);
        assert!(!behaviour.admits(b"a", b"b"));
        assert!(behaviour.admits(b"a", b"b"));
        assert!(!behaviour.admits(b"a", b"c"));
        assert!(Behaviour::new(0.0, 0.0, false, 1).admits(b"a", b"b"));
    }

    #[test]
    fn verdicts_follow_their_probabilities() {
        assert_eq!(Behaviour::new(0.0, 0.0, false, 1).verdict(), Verdict::Accept);
        assert_eq!(Behaviour::new(1.0, 0.0, false, 1).verdict(), Verdict::TemporaryFailure);
        assert_eq!(Behaviour::new(1.0, 1.0, false, 1).verdict(), Verdict::Drop);
    }
}
