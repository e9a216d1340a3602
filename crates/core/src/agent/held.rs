//! What was asked is what is held: an object as it was sent beside the API server's answer (contract, section 2).
//!
//! Server-side apply merges maps member by member: members of other field managers stay, and a map that is emptied
//! becomes `null`. So every answer is compared with what was sent. Pure.

mod owners;
mod same;

pub use owners::applied;

use serde_json::Value;
use std::fmt;
use vworkspace_protocol::outcome::FieldConflict;

/// Most differences of either kind that are named.
const MAX_DIFFERENCES: usize = 16;
/// The list that others may add to.
const OWNER_REFERENCES: &str = "ownerReferences";

/// A place of an object whose members are the user's own: nothing more is held there than was sent.
pub type FreeForm = &'static [&'static str];

/// How an object differs from what was sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Members of free-form maps that another field manager has set, with each manager.
    pub foreign: Vec<FieldConflict>,
    /// Paths of all other differences: what the API server made of it, or what nobody else owns.
    pub changed: Vec<String>,
}

impl Comparison {
    /// Returns `true` if what was sent is what is held.
    pub fn is_held(&self) -> bool {
        self.foreign.is_empty() && self.changed.is_empty()
    }
}

/// Compares what `manager` sent with what the API server holds. Members that were not sent count only in free-form
/// maps, as the API server sets defaults elsewhere. Numbers and quantities are equal by value.
pub fn compare(sent: &Value, held: &Value, free_form: &[FreeForm], manager: &str) -> Comparison {
    let mut walk = Walk { free_form, path: Vec::new(), free_from: None, found: Vec::new() };
    walk.compare(sent, Some(held));
    for place in free_form {
        walk.compare_unsent(place, at(sent, place), at(held, place));
    }
    let mut comparison = Comparison::default();
    for Difference { path, may_be_foreign } in walk.found {
        let owners = if may_be_foreign { owners::others(held, &path, manager) } else { Vec::new() };
        let field_path = Path(&path).to_string();
        if owners.is_empty() {
            comparison.changed.push(field_path);
        } else {
            let conflict = |manager| FieldConflict { manager, field_path: field_path.clone() };
            comparison.foreign.extend(owners.into_iter().map(conflict));
        }
    }
    comparison.foreign.truncate(MAX_DIFFERENCES);
    comparison.changed.truncate(MAX_DIFFERENCES);
    comparison
}

/// Members of the spec that other managers than `manager` have set and that were not sent, with each manager: what may make
/// a rule of the kind refuse an object whose own part is right.
pub fn unsent_of_others(sent: &Value, held: &Value, manager: &str) -> Vec<FieldConflict> {
    let unsent = owners::unsent(sent, held, manager, MAX_DIFFERENCES).into_iter();
    unsent.map(|(manager, path)| FieldConflict { manager, field_path: Path(&path).to_string() }).collect()
}

/// The value at a place; `null` is none.
fn at(value: &Value, place: FreeForm) -> Option<&Value> {
    let found = place.iter().try_fold(value, |value, name| value.get(name));
    found.filter(|value| !value.is_null())
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Member(String),
    Item(usize),
}

/// Written as the API server writes it in the causes of a conflict.
struct Path<'a>(&'a [Step]);

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|step| match step {
            Step::Member(name) => write!(f, ".{name}"),
            Step::Item(index) => write!(f, "[{index}]"),
        })
    }
}

struct Walk<'a> {
    free_form: &'a [FreeForm],
    path: Vec<Step>,
    /// Length of the path at which a free-form map began.
    free_from: Option<usize>,
    found: Vec<Difference>,
}

struct Difference {
    path: Vec<Step>,
    /// Something is held there, in a free-form map.
    may_be_foreign: bool,
}

impl Walk<'_> {
    fn compare(&mut self, sent: &Value, held: Option<&Value>) {
        let began = self.free_from.is_none() && self.is_free_form();
        if began {
            self.free_from = Some(self.path.len());
        }
        self.compare_values(sent, held, began);
        if began {
            self.free_from = None;
        }
    }

    fn compare_values(&mut self, sent: &Value, held: Option<&Value>, is_start: bool) {
        let is_free = self.free_from.is_some();
        match (sent, held) {
            // As if it was not sent.
            (Value::Null, _) if is_start => {}
            (Value::Null, None | Some(Value::Null)) if !is_free => {}
            (Value::Object(sent), None | Some(Value::Null)) if !is_free && sent.is_empty() => {}
            (Value::Object(sent), Some(Value::Object(held))) => {
                for (name, value) in sent {
                    self.within(Step::Member(name.clone()), |walk| walk.compare(value, held.get(name)));
                }
                for name in held.keys().filter(|name| is_free && !sent.contains_key(*name)) {
                    self.within(Step::Member(name.clone()), |walk| walk.differs(true));
                }
            }
            (Value::Array(sent), Some(Value::Array(held))) if self.is_list_of_owners() => {
                if !sent.iter().all(|sent| held.iter().any(|held| is_within(sent, held))) {
                    self.differs(true);
                }
            }
            (Value::Array(sent), Some(Value::Array(held))) if sent.len() == held.len() => {
                for (index, (sent, held)) in sent.iter().zip(held).enumerate() {
                    self.within(Step::Item(index), |walk| walk.compare(sent, Some(held)));
                }
            }
            (sent, Some(held)) if same::is_same(sent, held) => {}
            (_, held) => self.differs(held.is_some()),
        }
    }

    /// What others hold in a free-form place for which nothing was sent.
    fn compare_unsent(&mut self, place: FreeForm, sent: Option<&Value>, held: Option<&Value>) {
        let (None, Some(held)) = (sent, held) else { return };
        self.path = place.iter().map(|name| Step::Member((*name).to_owned())).collect();
        self.free_from = Some(self.path.len());
        match held {
            Value::Object(held) => {
                for name in held.keys() {
                    self.within(Step::Member(name.clone()), |walk| walk.differs(true));
                }
            }
            Value::Array(held) if held.is_empty() => {}
            _ => self.differs(true),
        }
        self.path.clear();
        self.free_from = None;
    }

    fn within(&mut self, step: Step, visit: impl FnOnce(&mut Self)) {
        self.path.push(step);
        visit(self);
        self.path.pop();
    }

    fn differs(&mut self, is_held: bool) {
        let may_be_foreign = is_held && self.free_from.is_some();
        self.found.push(Difference { path: self.path.clone(), may_be_foreign });
    }

    fn is_free_form(&self) -> bool {
        let is_here = |place: &&FreeForm| {
            place.len() == self.path.len()
                && place
                    .iter()
                    .zip(&self.path)
                    .all(|(name, step)| matches!(step, Step::Member(member) if member == name))
        };
        self.free_form.iter().any(|place| is_here(&place))
    }

    fn is_list_of_owners(&self) -> bool {
        matches!(self.path.as_slice(), [_, Step::Member(name)] if name == OWNER_REFERENCES)
    }
}

/// Whether everything that was sent is held, with no free-form map in it.
fn is_within(sent: &Value, held: &Value) -> bool {
    let mut walk = Walk { free_form: &[], path: Vec::new(), free_from: None, found: Vec::new() };
    walk.compare(sent, Some(held));
    walk.found.is_empty()
}

#[cfg(test)]
mod tests;
