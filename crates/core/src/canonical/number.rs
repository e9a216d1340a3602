//! Numbers as they are written, and whether a Kubernetes API server holds them exactly.
//!
//! An API server keeps an integer that fits 64 bits, and every other number as an IEEE 754 double.

use std::cmp::Ordering;

/// A number in JSON's grammar, without its sign: `0.digits × 10^exponent`, no zero at either end of the digits.
#[derive(Debug, PartialEq, Eq)]
struct Decimal {
    digits: Vec<u8>,
    exponent: i64,
}

/// The canonical form (RFC 8785) of a number that a double holds exactly; `None` of any other.
///
/// Some doubles have two shortest decimals, for example `….2` and `….3` of a quarter; programs print either.
pub(super) fn canonical(literal: &str) -> Option<String> {
    let number: f64 = literal.parse().ok().filter(|number: &f64| number.is_finite())?;
    let form = serde_json_canonicalizer::to_string(&number).ok()?;
    let (written, shortest) = (Decimal::of(literal), Decimal::of(&form));
    let is_shortest = written.has_fraction() && written.digits.len() == shortest.digits.len();
    (is_shortest || written == shortest).then_some(form)
}

/// Whether an API server holds the very number.
pub(super) fn is_held_exactly(literal: &str) -> bool {
    literal.parse::<i64>().is_ok() || canonical(literal).is_some()
}

impl Decimal {
    fn has_fraction(&self) -> bool {
        i64::try_from(self.digits.len()).is_ok_and(|digits| digits > self.exponent)
    }

    /// Of a text in JSON's grammar. Exponents beyond 64 bits count as the last one within.
    fn of(literal: &str) -> Self {
        let unsigned = literal.trim_start_matches('-');
        let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let point = i64::try_from(whole.len()).unwrap_or(i64::MAX);
        let digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
        let Some(first) = digits.iter().position(|digit| *digit != b'0') else {
            return Self { digits: Vec::new(), exponent: 0 };
        };
        let last = digits.iter().rposition(|digit| *digit != b'0').unwrap_or(first);
        let moved = point.saturating_sub(i64::try_from(first).unwrap_or(i64::MAX));
        Self {
            digits: digits.get(first..=last).unwrap_or_default().to_vec(),
            exponent: read_exponent(exponent).saturating_add(moved),
        }
    }
}

fn read_exponent(text: &str) -> i64 {
    text.parse().unwrap_or(match text.starts_with('-').cmp(&false) {
        Ordering::Greater => i64::MIN,
        Ordering::Less | Ordering::Equal => i64::MAX,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn number_is_exact_if_its_own_value_comes_back() {
        for exact in [
            "0",
            "-0",
            "0.0",
            "0e99999999999999999999",
            "1",
            "-1",
            "1.0",
            "1.50",
            "0.1",
            "1e3",
            "1E+3",
            "12e-1",
            "9007199254740993",
            "9223372036854775807",
            "-9223372036854775808",
            "100000000000000000000",
            "1e21",
            "1.7976931348623157e308",
            "5e-324",
            "-1770132810005294.2",
            "-1770132810005294.3",
        ] {
            assert!(is_held_exactly(exact), "{exact}");
        }
        for inexact in [
            "9223372036854775808",
            "123456789012345678901",
            "0.12345678901234567890",
            "9007199254740993.0",
            "1e400",
            "1e-400",
            "1e99999999999999999999",
            "1e-99999999999999999999",
            "3.14159265358979323846",
        ] {
            assert!(!is_held_exactly(inexact), "{inexact}");
        }
    }

    #[test]
    fn one_number_has_one_form_however_it_is_written() {
        for (written, form) in
            [("1.0", "1"), ("1e3", "1000"), ("1.50", "1.5"), ("-0.0", "0"), ("1e21", "1e+21")]
        {
            assert_eq!(canonical(written).as_deref(), Some(form), "{written}");
        }
        assert_eq!(canonical("9007199254740993"), None);
    }

    proptest! {
        #[test]
        fn every_double_is_exact_as_it_is_printed(bits in any::<u64>()) {
            let number = f64::from_bits(bits);
            prop_assume!(number.is_finite());
            for text in [format!("{number}"), format!("{number:e}")] {
                prop_assert!(canonical(&text).is_some(), "{}", text);
            }
        }

        #[test]
        fn one_more_digit_is_a_number_of_its_own(digits in "[1-9][0-9]{20,40}", digit in 1..=9u8) {
            let more = format!("{digits}{digit}");
            prop_assert_ne!(Decimal::of(&more), Decimal::of(&format!("{digits}0")));
            prop_assert!(!is_held_exactly(&more));
        }
    }
}
