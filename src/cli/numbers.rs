//! Numbers on the command line: each has a range, and a refusal names it.

/// A whole number from `MIN` to `MAX`.
///
/// # Errors
/// It is not one; what is allowed.
pub(super) fn within<T: TryFrom<u64>, const MIN: u64, const MAX: u64>(text: &str) -> Result<T, String> {
    text.parse::<u64>()
        .ok()
        .filter(|number| (MIN..=MAX).contains(number))
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| format!("give a whole number from {MIN} to {MAX}"))
}

/// The size of a disk's sectors.
///
/// # Errors
/// It is not one that landfall supports.
pub(super) fn sector_bytes(text: &str) -> Result<u32, String> {
    match text {
        "512" => Ok(512),
        "4096" => Ok(4_096),
        _ => Err("give 512 or 4096".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::command;

    #[test]
    fn a_number_that_is_not_allowed_is_refused_in_words() {
        for (line, allowed) in [
            ("image write i d --threads 9", "give a whole number from 1 to 8"),
            ("image write i d --threads x", "give a whole number from 1 to 8"),
            (
                "image build --system /nix/store/00000000000000000000000000000000-x --out o --level 20",
                "from 1 to 19",
            ),
            ("simulate --depth 4", "from 1 to 3"),
            ("simulate --seed 1 --scenarios 0", "from 1 to 1000000000"),
            ("simulate --seed 1 --minutes 0", "from 1 to 527040"),
            ("simulate --seed much", "from 0 to 18446744073709551615"),
            ("simulate --slot-states 0", "from 1 to 1000000000"),
            ("plan --disk-size 64G --sector-bytes 513", "give 512 or 4096"),
        ] {
            let words = std::iter::once("landfall").chain(line.split(' '));
            let said = match command().try_get_matches_from(words) {
                Ok(_) => panic!("{line}: it is accepted"),
                Err(error) => error.to_string(),
            };
            assert!(said.contains(allowed), "{line}: {said}");
            for form in ["..", "digit found", "u8", "u64", "i32"] {
                assert!(!said.contains(form), "{line}: {said}");
            }
        }
        // The control: both ends of a range are in it.
        for line in [
            "simulate --depth 1",
            "simulate --depth 3",
            "simulate --seed 0 --minutes 527040",
        ] {
            let words = std::iter::once("landfall").chain(line.split(' '));
            assert!(command().try_get_matches_from(words).is_ok(), "{line}");
        }
    }
}
