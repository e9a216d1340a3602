//! Values that are equal though they are written differently.

use serde_json::{Number, Value};

/// Beyond this an integer is compared as the double that it came as.
const EXACT: f64 = 1e36;
/// Longest amount that is read as a quantity: it fits 64 bits.
const MAX_DIGITS: usize = 18;
/// Quantities are counted in billionths, the smallest unit.
const NANO: i128 = 1_000_000_000;

/// Whether both are the same value.
pub(super) fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => is_same_number(one, other),
        (Value::String(one), Value::String(other)) => one == other || is_same_quantity(one, other),
        _ => one == other,
    }
}

/// `1.0` and `1` are the same; two integers beyond a double's digits are not.
fn is_same_number(one: &Number, other: &Number) -> bool {
    match (integer(one), integer(other)) {
        (Some(one), Some(other)) => one == other,
        (None, None) => one.as_f64() == other.as_f64(),
        _ => false,
    }
}

#[allow(clippy::cast_possible_truncation, reason = "a whole number within the bound")]
fn integer(number: &Number) -> Option<i128> {
    let whole = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
    whole.or_else(|| {
        let double = number.as_f64().filter(|double| double.fract() == 0.0 && double.abs() < EXACT);
        double.map(|double| double as i128)
    })
}

/// `1Gi` and `1024Mi` are the same. A text without a unit is no quantity: version `1.10` is not `1.1`.
fn is_same_quantity(one: &str, other: &str) -> bool {
    let is_quantity = |text: &str| text.ends_with(|last: char| last.is_ascii_alphabetic());
    if !is_quantity(one) && !is_quantity(other) {
        return false;
    }
    matches!((nanos(one), nanos(other)), (Some(one), Some(other)) if one == other)
}

/// A Kubernetes quantity in billionths; `None` if it is none, or not a whole number of them.
fn nanos(text: &str) -> Option<i128> {
    let (sign, unsigned) = text.strip_prefix('-').map_or((1, text), |unsigned| (-1, unsigned));
    let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
    let (amount, unit) = unsigned.split_at(end);
    let (whole, fraction) = amount.split_once('.').unwrap_or((amount, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || digits.len() > MAX_DIGITS {
        return None;
    }
    let (multiplier, divisor) = unit_of(unit)?;
    let scale = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?.checked_mul(divisor)?;
    let scaled = digits.parse::<i128>().ok()?.checked_mul(NANO)?.checked_mul(multiplier)?;
    (scaled % scale == 0).then(|| sign * (scaled / scale))
}

/// Multiplier and divisor.
fn unit_of(unit: &str) -> Option<(i128, i128)> {
    let thousand = |power| Some((1_000_i128.pow(power), 1));
    let binary = |power| Some((1_024_i128.pow(power), 1));
    match unit {
        "n" => Some((1, NANO)),
        "u" => Some((1, 1_000_000)),
        "m" => Some((1, 1_000)),
        "" => Some((1, 1)),
        "k" => thousand(1),
        "M" => thousand(2),
        "G" => thousand(3),
        "T" => thousand(4),
        "P" => thousand(5),
        "E" => thousand(6),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        _ => None,
    }
}
