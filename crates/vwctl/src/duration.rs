//! Durations as Kubernetes writes them: `90s`, `5m`, `1h30m`, `1.5h`.

use std::{fmt, str::FromStr, time::Duration};

/// A positive duration with the text it was given as, which is handed on unchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    text: String,
    length: Duration,
}

impl Span {
    /// Whole seconds, rounded up.
    pub fn seconds(&self) -> u32 {
        let up = self.length.as_secs() + u64::from(self.length.subsec_nanos() > 0);
        u32::try_from(up).unwrap_or(u32::MAX)
    }
}

impl FromStr for Span {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match length(text) {
            Some(length) if !length.is_zero() => Ok(Self { text: text.to_owned(), length }),
            _ => Err("write a positive duration such as 90s, 5m or 1h30m"),
        }
    }
}

/// A duration that may be 0; `0` needs no unit.
pub(crate) fn or_zero(text: &str) -> Result<Span, &'static str> {
    match length(text) {
        _ if text == "0" => Ok(Span { text: text.to_owned(), length: Duration::ZERO }),
        Some(length) if !text.is_empty() => Ok(Span { text: text.to_owned(), length }),
        _ => Err("write a duration such as 90s, 5m or 1h30m, or 0"),
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The grammar of the CRD's pattern: one or more of number and unit.
fn length(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(number_end);
        let unit_end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let seconds = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        let is_number = !number.starts_with('.') && !number.ends_with('.');
        let number: f64 = number.parse().ok().filter(|_| is_number)?;
        sum = sum.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
        rest = after;
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_kubernetes() {
        for (text, seconds) in [("90s", 90), ("5m", 300), ("1h30m", 5400), ("1.5h", 5400), ("1ms", 1)] {
            let span: Span = text.parse().unwrap();
            assert_eq!((span.seconds(), span.to_string().as_str()), (seconds, text));
        }
        assert_eq!([or_zero("0"), or_zero("0s")].map(|span| span.unwrap().seconds()), [0, 0]);
        assert!(or_zero("").is_err() && or_zero("5").is_err());
        for wrong in
            ["", "5", "m", "-5m", "5 m", "5d", "0s", ".5h", "1.h", "5mm", "99999999999999999999h", "1..2s"]
        {
            assert!(wrong.parse::<Span>().is_err(), "{wrong}");
        }
    }
}
