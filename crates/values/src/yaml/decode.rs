//! From nodes to values.

use super::{
    Error, Numbers, WHOLE,
    key::Key,
    scalar::{self, Plain},
    tree::{Id, Kind, Tree},
};
use crate::{Map, go::Integer};
use serde_json::{Number, Value};
use std::{collections::BTreeMap, fmt::Write as _};

/// Nodes read up to which nearly all may come from aliases.
const FEW: f64 = 400_000.0;
/// Nodes read from which on only a tenth may come from aliases.
const MANY: f64 = 4_000_000.0;

/// Reads the whole document.
pub(super) fn decode(tree: &Tree, numbers: Numbers) -> Result<Value, Error> {
    Decoder { tree, numbers, path: Vec::new(), open: Vec::new(), read: 0, read_by_alias: 0 }.value(tree.root)
}

struct Decoder<'t> {
    tree: &'t Tree,
    numbers: Numbers,
    path: Vec<Step>,
    /// Aliases that are being followed.
    open: Vec<Id>,
    read: u64,
    read_by_alias: u64,
}

enum Step {
    Member(String),
    Item(usize),
}

type Members = BTreeMap<Key, Value>;

impl Decoder<'_> {
    fn value(&mut self, id: Id) -> Result<Value, Error> {
        self.count(id)?;
        let tree = self.tree;
        match &tree.node(id).kind {
            Kind::Alias(target) => self.through(id, |decoder| decoder.value(*target)),
            Kind::Scalar(scalar) => {
                let value = scalar::read(scalar).and_then(|value| json(value, self.numbers));
                value.map_err(|problem| self.wrong(id, problem))
            }
            Kind::Sequence(items) => {
                let mut values = Vec::with_capacity(items.len());
                for (index, item) in items.iter().enumerate() {
                    values.push(self.below(Step::Item(index), *item)?);
                }
                Ok(Value::Array(values))
            }
            Kind::Mapping(_) => {
                let mut members = Members::new();
                self.members(id, &mut members)?;
                let mut map = Map::new();
                for (key, value) in members {
                    if map.insert(key.text(), value).is_some() {
                        return Err(self.wrong(id, "has two keys that Helm writes alike and takes either of"));
                    }
                }
                Ok(Value::Object(map))
            }
        }
    }

    /// Reads a mapping into what is there already: a later member replaces an earlier one.
    fn members(&mut self, id: Id, into: &mut Members) -> Result<(), Error> {
        let tree = self.tree;
        let Kind::Mapping(members) = &tree.node(id).kind else {
            return Err(self.wrong(id, "merges something else than maps"));
        };
        for (key, value) in members {
            if let Kind::Scalar(scalar) = &tree.node(*key).kind
                && scalar::is_merge(scalar)
            {
                self.merge(*value, into)?;
                continue;
            }
            let key = self.key(*key)?;
            let step = Step::Member(key.text());
            into.insert(key, self.below(step, *value)?);
        }
        Ok(())
    }

    /// Of several maps the first counts most.
    fn merge(&mut self, id: Id, into: &mut Members) -> Result<(), Error> {
        let tree = self.tree;
        match &tree.node(id).kind {
            Kind::Sequence(maps) => maps.iter().rev().try_for_each(|map| self.merge_one(*map, into)),
            _ => self.merge_one(id, into),
        }
    }

    fn merge_one(&mut self, id: Id, into: &mut Members) -> Result<(), Error> {
        self.count(id)?;
        match self.tree.node(id).kind {
            Kind::Alias(target) => self.through(id, |decoder| decoder.members(target, into)),
            _ => self.members(id, into),
        }
    }

    fn key(&mut self, id: Id) -> Result<Key, Error> {
        self.count(id)?;
        let tree = self.tree;
        let key = match &tree.node(tree.target(id)).kind {
            Kind::Scalar(scalar) => scalar::read(scalar).and_then(Key::try_new),
            _ => Err("has a key that is no text"),
        };
        key.map_err(|problem| self.wrong(id, problem))
    }

    fn below(&mut self, step: Step, id: Id) -> Result<Value, Error> {
        self.path.push(step);
        let value = self.value(id)?;
        self.path.pop();
        Ok(value)
    }

    fn through<T>(
        &mut self,
        alias: Id,
        read: impl FnOnce(&mut Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        if self.open.contains(&alias) {
            return Err(self.wrong(alias, "contains itself"));
        }
        self.open.push(alias);
        let value = read(self)?;
        self.open.pop();
        Ok(value)
    }

    /// Keeps a small text from becoming a huge value.
    fn count(&mut self, id: Id) -> Result<(), Error> {
        self.read += 1;
        self.read_by_alias += u64::from(!self.open.is_empty());
        let (read, by_alias) = (self.read as f64, self.read_by_alias as f64);
        let share = 0.99 - 0.89 * ((read - FEW) / (MANY - FEW)).clamp(0.0, 1.0);
        if self.read_by_alias > 100 && self.read > 1_000 && by_alias / read > share {
            return Err(self.wrong(id, "grows too large by its aliases"));
        }
        Ok(())
    }

    fn wrong(&self, id: Id, problem: &'static str) -> Error {
        let mut path = String::new();
        for step in &self.path {
            match step {
                Step::Member(key) if path.is_empty() => path.push_str(key),
                Step::Member(key) => {
                    path.push('.');
                    path.push_str(key);
                }
                // Writing to a text cannot fail.
                Step::Item(index) => drop(write!(path, "[{index}]")),
            }
        }
        if path.is_empty() {
            path.push_str(WHOLE);
        }
        Error::Value { line: self.tree.node(id).line + 1, path, problem }
    }
}

/// The value in JSON.
fn json(value: Plain, numbers: Numbers) -> Result<Value, &'static str> {
    Ok(match value {
        Plain::Integer(Integer::Signed(number)) if numbers == Numbers::Exact => number.into(),
        Plain::Integer(Integer::Unsigned(number)) if numbers == Numbers::Exact => number.into(),
        Plain::Null => Value::Null,
        Plain::Bool(value) => Value::Bool(value),
        Plain::Integer(number) => Value::Number(double(number.as_f64()).ok_or(NO_JSON)?),
        Plain::Float(number) => Value::Number(double(number).ok_or(NO_JSON)?),
        Plain::Text(text) => Value::String(text),
    })
}

const NO_JSON: &str = "is no finite number, which JSON cannot hold";

/// A double, as an integer where it is one.
fn double(number: f64) -> Option<Number> {
    let bound = 2_f64.powi(63);
    if number.fract() == 0.0
        && (-bound..bound).contains(&number)
        && (number != 0.0 || number.is_sign_positive())
    {
        return Some(Number::from(number as i64));
    }
    Number::from_f64(number)
}
