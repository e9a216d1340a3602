//! Numbers as Go reads and writes them.

/// A whole number that fits into 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Integer {
    /// Fits into an `i64`.
    Signed(i64),
    /// Fits only into a `u64`.
    Unsigned(u64),
}

impl Integer {
    /// The nearest double.
    pub(crate) fn as_f64(self) -> f64 {
        match self {
            Self::Signed(number) => number as f64,
            Self::Unsigned(number) => number as f64,
        }
    }
}

/// Reads an integer whose base its prefix tells: `0x`, `0o`, `0b`, or `0` for octal.
pub(crate) fn integer(text: &str) -> Option<Integer> {
    let (is_negative, digits) = signed(text);
    let (base, digits) = base(digits);
    in_base(is_negative, digits, base, digits.len() == text.len() || text.starts_with('0'))
}

/// Reads binary digits with an optional sign.
pub(crate) fn binary(text: &str) -> Option<Integer> {
    let (is_negative, digits) = signed(text);
    in_base(is_negative, digits, 2, digits.len() == text.len())
}

/// A number with a sign never is an [`Integer::Unsigned`].
fn in_base(is_negative: bool, digits: &str, base: u32, is_unsigned_allowed: bool) -> Option<Integer> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    let magnitude = u64::from_str_radix(digits, base).ok()?;
    match i64::try_from(magnitude) {
        Ok(number) if is_negative => Some(Integer::Signed(-number)),
        Ok(number) => Some(Integer::Signed(number)),
        Err(_) if is_negative && magnitude == i64::MIN.unsigned_abs() => Some(Integer::Signed(i64::MIN)),
        Err(_) => is_unsigned_allowed.then_some(Integer::Unsigned(magnitude)),
    }
}

fn signed(text: &str) -> (bool, &str) {
    match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    }
}

fn base(digits: &str) -> (u32, &str) {
    let Some(rest) = digits.strip_prefix('0') else { return (10, digits) };
    let base = match rest.as_bytes() {
        [b'x' | b'X', _, ..] => 16,
        [b'o' | b'O', _, ..] => 8,
        [b'b' | b'B', _, ..] => 2,
        // A single nought is its own digit.
        [] => return (10, digits),
        _ => return (8, rest),
    };
    (base, &rest[1..])
}

/// Reads a decimal number; one that is out of range is none.
pub(crate) fn float(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|number| number.is_finite())
}

/// Returns `true` for a decimal number as YAML writes it, with digits before or after the point.
pub(crate) fn is_decimal(text: &str) -> bool {
    let (_, rest) = signed(text);
    let (mantissa, exponent) = match rest.find(['e', 'E']) {
        Some(at) => (&rest[..at], Some(signed(&rest[at + 1..]).1)),
        None => (rest, None),
    };
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let is_mantissa = match mantissa.split_once('.') {
        Some((before, after)) => {
            is_digits(before) && is_digits(after) && !(before.is_empty() && after.is_empty())
        }
        None => is_digits(mantissa) && !mantissa.is_empty(),
    };
    is_mantissa && exponent.is_none_or(|exponent| is_digits(exponent) && !exponent.is_empty())
}

/// Writes a float as the key that Helm makes of it: shortest for 32 bits, `%g`.
pub(crate) fn key_of_float(number: f64) -> String {
    let number = number as f32;
    if number.is_nan() {
        return ".nan".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { ".inf" } else { "-.inf" }.to_owned();
    }
    let scientific = format!("{number:e}");
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    match exponent.parse::<i32>() {
        Ok(power) if !(-4..=5).contains(&power) => {
            let sign = if power < 0 { '-' } else { '+' };
            format!("{mantissa}e{sign}{:02}", power.unsigned_abs())
        }
        _ => format!("{number}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_tell_the_base() {
        for (text, number) in [
            ("0", 0),
            ("-0", 0),
            ("00", 0),
            ("0440", 288),
            ("-010", -8),
            ("+7", 7),
            ("0x1F", 31),
            ("-0X1f", -31),
            ("0o17", 15),
            ("0b101", 5),
            ("-9223372036854775808", i64::MIN),
        ] {
            assert_eq!(integer(text), Some(Integer::Signed(number)), "{text}");
        }
        assert_eq!(integer("18446744073709551615"), Some(Integer::Unsigned(u64::MAX)));
        for wrong in ["", "+", "08", "0x", "0b", "0b2", "1.0", "+18446744073709551615", "--1", "0x-1"] {
            assert_eq!(integer(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn decimals_have_a_digit() {
        for text in ["1", "1.", ".5", "-1.5e3", "+1E-5", "08"] {
            assert!(is_decimal(text), "{text}");
        }
        for text in ["", ".", "e5", "1e", "1.2.3", "1e5.0", "0x1p4", "inf", "1_0"] {
            assert!(!is_decimal(text), "{text}");
        }
    }

    #[test]
    fn float_keys_are_short() {
        for (number, key) in
            [(1.5, "1.5"), (1000.0, "1000"), (0.1, "0.1"), (1e6, "1e+06"), (0.00001, "1e-05"), (1e39, ".inf")]
        {
            assert_eq!(key_of_float(number), key, "{number}");
        }
    }
}
