//! The nodes of a document, from the scanner's events.

use super::{Error, MOST_LEVELS};
use libyaml_safer::{EventData, Parser};
use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// Index of a node.
pub(super) type Id = usize;

/// A document; aliases point at nodes.
#[derive(Debug, Default)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    pub(super) root: Id,
}

/// One node.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) line: usize,
    pub(super) kind: Kind,
}

/// What a node is.
#[derive(Debug)]
pub(super) enum Kind {
    Scalar(Scalar),
    Sequence(Vec<Id>),
    Mapping(Vec<(Id, Id)>),
    Alias(Id),
}

/// A scalar as written.
#[derive(Debug)]
pub(super) struct Scalar {
    /// The full tag; `None` where there is none.
    pub(super) tag: Option<String>,
    pub(super) text: String,
    /// A plain one: its text tells its type.
    pub(super) is_plain: bool,
}

impl Tree {
    pub(super) fn node(&self, id: Id) -> &Node {
        // Every id was given out by `push`.
        &self.nodes[id]
    }

    /// The node behind an alias, or the node itself.
    pub(super) fn target(&self, id: Id) -> Id {
        match self.node(id).kind {
            Kind::Alias(target) => target,
            _ => id,
        }
    }

    fn push(&mut self, line: usize, kind: Kind) -> Id {
        self.nodes.push(Node { line, kind });
        self.nodes.len() - 1
    }
}

/// Parses the first document; `None` where there is none.
///
/// The scanner is foreign code: should it panic, that is a text it cannot read.
pub(super) fn parse(text: &str) -> Result<Option<Tree>, Error> {
    let parsed = catch_unwind(AssertUnwindSafe(|| {
        let mut input = text.as_bytes();
        let mut parser = Parser::new();
        parser.set_input_string(&mut input);
        Builder { parser, tree: Tree::default(), anchors: HashMap::new() }.document()
    }));
    parsed.unwrap_or_else(|_| Err(syntax(0, "the scanner cannot read it")))
}

struct Builder<'r> {
    parser: Parser<&'r mut &'r [u8]>,
    tree: Tree,
    anchors: HashMap<String, Id>,
}

/// An event and its line.
struct Event(usize, EventData);

impl Builder<'_> {
    fn document(mut self) -> Result<Option<Tree>, Error> {
        loop {
            match self.next()? {
                Event(_, EventData::StreamStart { .. }) => {}
                Event(_, EventData::StreamEnd) => return Ok(None),
                Event(line, EventData::DocumentStart { version_directive, .. }) => {
                    if version_directive.is_some_and(|version| (version.major, version.minor) != (1, 1)) {
                        return Err(syntax(line, "found incompatible YAML document"));
                    }
                    let first = self.next()?;
                    self.tree.root = self.node(first, 0)?;
                    // Helm looks at nothing behind the end of the document, but at that.
                    self.next()?;
                    return Ok(Some(self.tree));
                }
                Event(line, _) => return Err(syntax(line, "found content outside of a document")),
            }
        }
    }

    fn next(&mut self) -> Result<Event, Error> {
        match self.parser.parse() {
            Ok(event) => Ok(Event(event.start_mark.line as usize, event.data)),
            Err(error) => {
                let mark = error.problem_mark().or_else(|| error.context_mark());
                Err(syntax(mark.map_or(0, |mark| mark.line as usize), error.problem()))
            }
        }
    }

    fn node(&mut self, Event(line, data): Event, level: usize) -> Result<Id, Error> {
        if level > MOST_LEVELS {
            return Err(syntax(line, "values are nested more than 100 levels deep"));
        }
        match data {
            EventData::Scalar { anchor, tag, value, plain_implicit, .. } => {
                let tag = tag.filter(|tag| !tag.is_empty());
                let scalar = Scalar { tag, text: value, is_plain: plain_implicit };
                let id = self.tree.push(line, Kind::Scalar(scalar));
                self.anchor(anchor, id);
                Ok(id)
            }
            EventData::Alias { anchor } => match self.anchors.get(&anchor) {
                Some(&target) => Ok(self.tree.push(line, Kind::Alias(target))),
                None => Err(syntax(line, "an alias names an anchor that is not there")),
            },
            EventData::SequenceStart { anchor, .. } => {
                let id = self.tree.push(line, Kind::Sequence(Vec::new()));
                self.anchor(anchor, id);
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        Event(_, EventData::SequenceEnd) => break,
                        item => items.push(self.node(item, level + 1)?),
                    }
                }
                self.tree.nodes[id].kind = Kind::Sequence(items);
                Ok(id)
            }
            EventData::MappingStart { anchor, .. } => {
                let id = self.tree.push(line, Kind::Mapping(Vec::new()));
                self.anchor(anchor, id);
                let mut members = Vec::new();
                loop {
                    match self.next()? {
                        Event(_, EventData::MappingEnd) => break,
                        key => {
                            let key = self.node(key, level + 1)?;
                            let value = self.next()?;
                            members.push((key, self.node(value, level + 1)?));
                        }
                    }
                }
                self.tree.nodes[id].kind = Kind::Mapping(members);
                Ok(id)
            }
            _ => Err(syntax(line, "the document ends too early")),
        }
    }

    fn anchor(&mut self, anchor: Option<String>, id: Id) {
        if let Some(anchor) = anchor {
            self.anchors.insert(anchor, id);
        }
    }
}

fn syntax(line: usize, problem: &str) -> Error {
    Error::Syntax { line: line + 1, problem: problem.to_owned() }
}
