//! What the cluster holds that nobody asked for, in words: `Drifted`. Pure.

use super::build::Desired;
use crate::flux::reading::Drift;
use vworkspace_core::agent::held::Comparison;
use vworkspace_protocol::{limits::clip, outcome::FieldConflict};

/// Longest message: others choose the names in it.
const MAX_WORDS: usize = 4_096;

/// Names each difference with its path and manager; empty if there is none.
pub(super) fn words(compared: &[(&Desired, &Comparison)]) -> String {
    let words =
        compared.iter().filter(|(_, comparison)| !comparison.is_held()).map(|(desired, comparison)| {
            let Comparison { foreign, changed } = comparison;
            let foreign = foreign
                .iter()
                .map(|FieldConflict { manager, field_path }| format!("{field_path} is set by {manager:?}"));
            let changed = changed.iter().map(|path| format!("{path} is not held as asked"));
            let differences: Vec<_> = foreign.chain(changed).collect();
            format!("{} {}: {}", desired.kind.as_str(), desired.name, differences.join(", "))
        });
    let words = words.collect::<Vec<_>>().join("; ");
    clip(&words, MAX_WORDS).to_owned()
}

/// Our own word on drift beside Flux's; `None` if neither of them looks for it.
pub(super) fn merge(own: &str, flux: Option<Drift>) -> Option<Drift> {
    if own.is_empty() {
        return flux;
    }
    let message = match flux {
        Some(Drift { found: true, message }) => format!("{own}; {message}"),
        _ => own.to_owned(),
    };
    Some(Drift { found: true, message })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flux::written::FluxKind;
    use serde_json::Value;

    #[test]
    fn each_difference_is_named_with_path_and_manager() {
        let desired = |kind, name: &str| Desired { kind, name: name.to_owned(), manifest: Value::Null };
        let (source, release) =
            (desired(FluxKind::HelmRepository, "shop-source"), desired(FluxKind::HelmRelease, "shop"));
        let conflict = |manager: &str, field_path: &str| FieldConflict {
            manager: manager.to_owned(),
            field_path: field_path.to_owned(),
        };
        let foreign = Comparison {
            foreign: vec![conflict("kubectl-patch", ".spec.values.color")],
            changed: vec![".spec.values.a".to_owned()],
        };
        assert_eq!(
            words(&[(&source, &Comparison::default()), (&release, &foreign)]),
            r#"HelmRelease shop: .spec.values.color is set by "kubectl-patch", .spec.values.a is not held as asked"#
        );
        assert_eq!(words(&[(&release, &Comparison::default())]), "");
    }

    #[test]
    fn own_word_goes_before_that_of_flux_and_is_enough() {
        let flux = |found| Some(Drift { found, message: "Service changed".to_owned() });
        let rows = [
            ("", None, None),
            ("", flux(true), Some((true, "Service changed"))),
            ("ours", None, Some((true, "ours"))),
            ("ours", flux(false), Some((true, "ours"))),
            ("ours", flux(true), Some((true, "ours; Service changed"))),
        ];
        for (own, flux, expected) in rows {
            let merged = merge(own, flux);
            assert_eq!(merged.as_ref().map(|drift| (drift.found, drift.message.as_str())), expected);
        }
    }
}
