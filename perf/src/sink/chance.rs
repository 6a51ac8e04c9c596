//! Chance that a seed decides, so that a run which found something can be run again.

/// A sequence of random numbers (SplitMix64).
#[derive(Clone, Debug)]
pub struct Chance {
    state: u64,
}

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// Whether something of this probability (0 to 1) happens this time.
    pub fn happens(&mut self, probability: f64) -> bool {
        // 53 bits are what a double holds exactly, so 1.0 always happens and 0.0 never.
        let unit = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        unit < probability
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(seed: u64, probability: f64) -> usize {
        let mut chance = Chance::new(seed);
        (0..10_000).filter(|_| chance.happens(probability)).count()
    }

    #[test]
    fn happens_about_as_often_as_it_should() {
        assert_eq!((count(1, 0.0), count(1, 1.0)), (0, 10_000));
        assert!((900..1100).contains(&count(7, 0.1)));
    }

    #[test]
    fn a_seed_decides() {
        let draws = |seed| {
            let mut chance = Chance::new(seed);
            (0..64).map(|_| chance.happens(0.5)).collect::<Vec<bool>>()
        };
        assert_eq!(draws(5), draws(5));
        assert_ne!(draws(5), draws(6));
    }
}
