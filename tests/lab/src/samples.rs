//! Some of many: evenly spread, or chosen by a seeded random number.
//!
//! The same list and seed give the same ones.

/// So many of a list, evenly spread, its ends among them.
pub fn spread<T: Clone>(list: &[T], count: usize) -> Vec<T> {
    if list.len() <= count {
        return list.to_vec();
    }
    let last = list.len() - 1;
    (0..count)
        .map(|index| list[index * last / count.saturating_sub(1).max(1)].clone())
        .collect()
}

/// The finalizer of SplitMix64.
pub fn mix(mut x: u64) -> u64 {
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_spread_has_both_ends_and_keeps_its_order() {
        let list: Vec<u32> = (0..10).collect();
        assert_eq!(spread(&list, 4), [0, 3, 6, 9]);
        assert_eq!(spread(&list, 20), list);
        assert_eq!(spread(&list, 1), [0]);
        assert_ne!(mix(1) & 0xff, mix(2) & 0xff);
    }
}
