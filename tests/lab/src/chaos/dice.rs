//! Random numbers from a seed.
//!
//! The same seed gives the same numbers, on every computer. They are not secret.

use crate::samples::mix;

/// A sequence of random numbers (SplitMix64).
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// The sequence of a seed; `what` keeps the sequences of one seed apart.
    pub fn new(seed: u64, what: u64) -> Dice {
        Dice(mix(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ mix(what)))
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `end`; 0 when `end` is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.number() % end.max(1)
    }

    /// True so many times of a hundred.
    pub fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    /// The index of one of these, by weight; 0 when all weights are 0.
    pub fn weighted(&mut self, weights: impl Iterator<Item = u64> + Clone) -> usize {
        let mut at = self.below(weights.clone().sum());
        for (index, weight) in weights.enumerate() {
            if at < weight {
                return index;
            }
            at -= weight;
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::Dice;

    #[test]
    fn a_seed_gives_the_same_numbers_and_another_gives_others() {
        let draw = |seed, what| -> Vec<u64> {
            let mut dice = Dice::new(seed, what);
            (0..8).map(|_| dice.number()).collect()
        };
        assert_eq!(draw(17, 0), draw(17, 0));
        assert_ne!(draw(17, 0), draw(18, 0));
        assert_ne!(draw(17, 0), draw(17, 1));
    }

    #[test]
    fn weights_are_kept() {
        let mut dice = Dice::new(1, 0);
        let mut counts = [0; 3];
        for _ in 0..4_000 {
            counts[dice.weighted([1_u64, 0, 3].into_iter())] += 1;
        }
        assert_eq!(counts[1], 0);
        assert!(counts[2] > 2 * counts[0] && counts[0] > 700, "{counts:?}");
        assert_eq!(dice.weighted([0_u64, 0].into_iter()), 0);
    }
}
