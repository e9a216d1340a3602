//! The server's `/metrics`, read as numbers by series.

use std::collections::BTreeMap;

/// One reading, or the difference of two: each series with its labels as written, and its value.
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

    /// How much each series grew since `earlier`; one that did not is left out.
    pub fn growth(&self, earlier: &Self) -> Self {
        let grown = |(series, now): (&String, &f64)| {
            let by = now - earlier.value(series);
            (by > 0.0).then(|| (series.clone(), by))
        };
        Self(self.0.iter().filter_map(grown).collect())
    }

    /// The values of a metric added up by one of its labels.
    pub fn by_label(&self, metric: &str, label: &str) -> BTreeMap<String, f64> {
        let mut sums = BTreeMap::<String, f64>::new();
        for (series, value) in &self.0 {
            let labels = series.strip_prefix(metric).and_then(|rest| rest.strip_prefix('{'));
            if let Some(found) = labels.and_then(|labels| label_value(labels, label)) {
                *sums.entry(found.to_owned()).or_default() += value;
            }
        }
        sums
    }
}

/// Good for the labels of our server, whose values hold no quotation mark.
fn label_value<'a>(labels: &'a str, name: &str) -> Option<&'a str> {
    labels.split_once(&format!("{name}=\""))?.1.split('"').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_of_what_grew() {
        let before = Reading::parse("# HELP a_total x\na_total{r=\"/x y\"} 2\nb_total 5\nopen 1\n");
        let after = Reading::parse("a_total{r=\"/x y\"} 5\nb_total 5\nopen 9\nc_sum 1.5\n# EOF\n");
        let growth = after.growth(&before);
        let expected = [("a_total{r=\"/x y\"}", 3.0), ("c_sum", 1.5), ("open", 8.0)];
        assert_eq!(growth.0.len(), expected.len());
        for (series, by) in expected {
            assert_eq!(growth.value(series), by, "{series}");
        }
        assert_eq!(after.value("nothing"), 0.0);
    }

    #[test]
    fn values_add_up_by_label() {
        let reading = Reading::parse(
            "n{route=\"/a\",status=\"200\"} 1\nn{route=\"/a\",status=\"404\"} 2\nnn{route=\"/a\"} 9\n",
        );
        assert_eq!(reading.by_label("n", "route"), [("/a".to_owned(), 3.0)].into_iter().collect());
        assert_eq!(reading.by_label("n", "status").len(), 2);
        assert!(reading.by_label("n", "other").is_empty());
    }
}
