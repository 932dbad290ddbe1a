//! Compares versions (UAPI Group, Version Format Specification).
//!
//! Pure. The order is the one in which systemd-boot sorts its menu, which is neither alphabetical nor purely numerical. Every
//! text is a version, so there is no type for them.

use std::cmp::Ordering;

/// Whether a character is part of a version; all others separate its parts and count for nothing.
fn counts(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'~' | b'-' | b'^' | b'.')
}

/// The leading part whose bytes are of one kind, and the rest.
fn leading(text: &[u8], kind: fn(&u8) -> bool) -> (&[u8], &[u8]) {
    text.split_at(text.iter().take_while(|byte| kind(byte)).count())
}

/// Takes a leading separator from both. One that begins with it is older than one that does not.
fn separator(a: &mut &[u8], b: &mut &[u8], mark: u8) -> Ordering {
    let (in_a, in_b) = (a.first() == Some(&mark), b.first() == Some(&mark));
    if in_a && in_b {
        (*a, *b) = (&a[1..], &b[1..]);
    }
    in_b.cmp(&in_a)
}

/// Compares two versions; `Greater` is newer.
pub fn compare(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    loop {
        (a, b) = (leading(a, |c| !counts(*c)).1, leading(b, |c| !counts(*c)).1);
        // A pre-release is older than what it leads to, also where that is at its end.
        let order = separator(&mut a, &mut b, b'~');
        if order.is_ne() {
            return order;
        }
        if a.is_empty() || b.is_empty() {
            return a.len().cmp(&b.len());
        }
        for mark in [b'-', b'^', b'.'] {
            let order = separator(&mut a, &mut b, mark);
            if order.is_ne() {
                return order;
            }
        }
        let digits = |text: &[u8]| text.first().is_some_and(u8::is_ascii_digit);
        let order;
        if digits(a) || digits(b) {
            let ((of_a, rest_a), (of_b, rest_b)) =
                (leading(a, u8::is_ascii_digit), leading(b, u8::is_ascii_digit));
            // A number is newer than none.
            let there = of_a.is_empty().cmp(&of_b.is_empty()).reverse();
            let (of_a, of_b) = (leading(of_a, |c| *c == b'0').1, leading(of_b, |c| *c == b'0').1);
            order = there.then(of_a.len().cmp(&of_b.len())).then(of_a.cmp(of_b));
            (a, b) = (rest_a, rest_b);
        } else {
            let ((of_a, rest_a), (of_b, rest_b)) = (
                leading(a, u8::is_ascii_alphabetic),
                leading(b, u8::is_ascii_alphabetic),
            );
            // By the alphabet, capital letters first; of two that begin alike the longer is newer.
            order = of_a.cmp(of_b);
            (a, b) = (rest_a, rest_b);
        }
        if order.is_ne() {
            return order;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The examples that the specification gives, and its table of order.
    #[test]
    fn the_published_examples() {
        for (older, newer) in [
            ("11", "12"),
            ("systemd-122", "systemd-123"),
            ("bar-123", "foo-123"),
            ("123a", "124"),
            ("123-a", "123-1"),
            ("123.a", "123.1"),
            ("11α", "12α"),
            ("a123", "123a"),
            ("122.1", "123~rc1-1"),
            ("123~rc1-1", "123"),
            ("123", "123-a"),
            ("123-a", "123-a.1"),
            ("123-a.1", "123-1"),
            ("123-1", "123-1.1"),
            ("123-1.1", "123^post1"),
            ("123^post1", "123.a-1"),
            ("123.a-1", "123.1-1"),
            ("123.1-1", "123a-1"),
            ("123a-1", "124-1"),
            ("~1", ""),
            ("", "1"),
            ("1.2.3", "1.2.3.4"),
            ("1~rc1", "1~rc1.1"),
            ("A", "a"),
            ("abc", "abcd"),
            // A part that begins with a letter is older than one that begins with a digit.
            ("nixos-generation-abc", "nixos-generation-1"),
            ("nixos-a0", "nixos-0a"),
        ] {
            assert_eq!(compare(older, newer), Ordering::Less, "{older} < {newer}");
            assert_eq!(compare(newer, older), Ordering::Greater, "{newer} > {older}");
        }
        for (a, b) in [
            ("11", "11"),
            ("123", "0123"),
            ("0001", "1"),
            ("1_2", "1 2"),
            ("1_", "1"),
            ("_1", "1"),
            ("α", "β"),
            ("", ""),
            ("Generation 2, Linux", "Generation2(Linux"),
        ] {
            assert_eq!(compare(a, b), Ordering::Equal, "{a} = {b}");
        }
    }

    proptest! {
        #[test]
        fn it_is_an_order(a in "[a-cA0-2~^._-]{0,8}", b in "[a-cA0-2~^._-]{0,8}", c in "[a-cA0-2~^._-]{0,8}", any in "(?s).*") {
            prop_assert_eq!(compare(&any, &any), Ordering::Equal);
            prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
            if compare(&a, &b).is_le() && compare(&b, &c).is_le() {
                prop_assert!(compare(&a, &c).is_le(), "{a} {b} {c}");
            }
        }
    }
}
