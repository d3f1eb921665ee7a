//! Chance that can be repeated: what a seed and a count say.

/// A number from 0 up to 1, the same for the same seed, stream and count. The mixer of SplitMix64.
pub(super) fn roll(seed: u64, stream: u64, count: u64) -> f64 {
    let step = |state: u64| {
        let mixed = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    };
    let mixed = step(step(step(seed) ^ stream) ^ count);
    // The upper 32 bits: an f64 holds them exactly.
    f64::from(u32::try_from(mixed >> 32).unwrap_or(0)) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_always_says_the_same_and_seeds_differ() {
        let said = |seed| (0..50).map(|n| roll(seed, 1, n)).collect::<Vec<_>>();

        assert_eq!(said(7), said(7));
        assert_ne!(said(7), said(8));
    }

    #[test]
    fn the_numbers_are_spread_evenly() {
        let low = (0..10_000).filter(|n| roll(3, 0, *n) < 0.3).count();

        assert!((2_800..3_200).contains(&low), "{low}");
        assert!((0..10_000).all(|n| (0.0..1.0).contains(&roll(9, 9, n))));
    }
}
