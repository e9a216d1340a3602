//! The server's `/metrics`, read as numbers by series.

use std::collections::BTreeMap;

/// One reading: each series with its labels as written, and its value.
#[derive(Clone, Debug, Default)]
pub struct Reading(BTreeMap<String, f64>);

impl Reading {
    /// Reads the Prometheus text format; lines that are no sample are skipped.
    pub fn parse(text: &str) -> Self {
        let sample = |line: &str| {
            let (series, value) = line.rsplit_once(' ')?;
            Some((series.to_owned(), value.parse().ok()?))
        };
        Self(text.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect())
    }

    /// The value of exactly this series, or zero: a counter is not written before its first count.
    pub fn value(&self, series: &str) -> f64 {
        self.0.get(series).copied().unwrap_or_default()
    }

    /// How much each counter grew since `earlier`; what did not grow is left out, as are gauges and buckets.
    pub fn growth(&self, earlier: &Self) -> BTreeMap<String, f64> {
        let grown = |(series, now): (&String, &f64)| {
            let by = now - earlier.value(series);
            (is_counter(series) && by > 0.0).then(|| (series.clone(), by))
        };
        self.0.iter().filter_map(grown).collect()
    }
}

fn is_counter(series: &str) -> bool {
    let name = series.split('{').next().unwrap_or_default();
    ["_total", "_sum", "_count"].iter().any(|suffix| name.ends_with(suffix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_of_counters_that_grew() {
        let before = Reading::parse("# HELP a_total x\na_total{r=\"/x y\"} 2\nb_total 5\nopen 1\n");
        let after = Reading::parse(
            "a_total{r=\"/x y\"} 5\nb_total 5\nopen 9\nc_sum 1.5\nc_bucket{le=\"1\"} 3\n# EOF\n",
        );
        let growth = after.growth(&before);
        let expected = [("a_total{r=\"/x y\"}".to_owned(), 3.0), ("c_sum".to_owned(), 1.5)];
        assert_eq!(growth, expected.into_iter().collect());
        assert_eq!((after.value("open"), after.value("nothing")), (9.0, 0.0));
    }
}
