//! Texts of values, from a seed. Every text holds the constructs in which Helm differs from YAML 1.2.

use std::{collections::BTreeMap, fmt::Write as _};

/// What a text may hold. Each occurs at least five times in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Construct {
    Number,
    Word,
    OddKey,
    DuplicateKey,
    Merge,
    BlockText,
    FlowNesting,
    Quoted,
    Tagged,
    Time,
    Nested,
    Broken,
}

pub const CONSTRUCTS: [Construct; 12] = [
    Construct::Number,
    Construct::Word,
    Construct::OddKey,
    Construct::DuplicateKey,
    Construct::Merge,
    Construct::BlockText,
    Construct::FlowNesting,
    Construct::Quoted,
    Construct::Tagged,
    Construct::Time,
    Construct::Nested,
    Construct::Broken,
];

const NUMBERS: [&str; 40] = [
    "0440",
    "0644",
    "01234",
    "-010",
    "1_000.5",
    "0b_1",
    "5_",
    "1.10",
    "1e3",
    "0x1F",
    "0o17",
    "08",
    "-0",
    "+7",
    ".5",
    "5.",
    "1e999",
    "9007199254740993",
    "18446744073709551616",
    "-9223372036854775809",
    "0b101",
    "-0b11",
    "0x",
    "1__0",
    "_1",
    "+.5",
    "1.5e-7",
    "0.1",
    "-0.0",
    "1e20",
    "123456789012",
    "1:30",
    "190:20:30",
    "0777_",
    "0X1f",
    "0B1",
    "1e5_0",
    "00",
    "-",
    "+",
];
const WORDS: [&str; 28] = [
    "y", "Y", "yes", "Yes", "YES", "yEs", "n", "N", "no", "NO", "nO", "on", "On", "off", "OFF", "oN", "true",
    "TRUE", "tRue", "False", "~", "null", "Null", "NULL", "nUll", "", "<<", "=",
];
const KEYS: [&str; 18] = [
    "on",
    "y",
    "no",
    "TRUE",
    "0x10",
    "010",
    "yEs",
    "1.5",
    "1e3",
    "'on'",
    "off",
    "-010",
    "a b",
    "1_0",
    "2024-01-02",
    "!!str 1",
    "\"y\"",
    "0.00001",
];
const TAGGED: [&str; 12] = [
    "!!str 010",
    "!!int '010'",
    "!!float 3",
    "!!bool yes",
    "!!null ''",
    "!!binary aGk=",
    "!custom x",
    "! 12",
    "!!int x",
    "!!str yes",
    "!<tag:yaml.org,2002:str> 7",
    "!!set {a: b}",
];
const TIMES: [&str; 8] = [
    "2024-01-02",
    "12:30:45",
    "2024-01-02T03:04:05Z",
    "2024-1-2",
    "2024-01-02 03:04:05",
    "2024-13-45",
    "20240102",
    "1:1",
];
const BROKEN: [&str; 10] =
    ["[", "{a: ", "\"open", "%x", "@x", "`x`", "*nowhere", "\ta", "a: b: c", "!!int ["];
const QUOTED: [&str; 9] = [
    "'it''s'",
    "\"a\\tb\\u00e9\\x41\"",
    "\"0440\"",
    "'yes'",
    "\"a\\\n  b\"",
    "\"\"",
    "'~'",
    "\"\\0\"",
    "\"\u{1F600}\"",
];
const BLOCKS: [&str; 8] = [
    "|\n  a\n  b\n",
    "|-\n  a\n\n  b\n",
    "|+\n  a\n\n",
    ">\n  a\n  b\n\n  c\n",
    ">-\n  a\n    b\n  c\n",
    "|2\n   a\n",
    "|\n  # a\n  ---x\n",
    ">\n\n  a\n",
];

/// A run's source of texts.
pub struct Generator {
    state: u64,
    counts: BTreeMap<Construct, usize>,
}

impl Generator {
    pub fn new(seed: u64) -> Self {
        Self { state: seed, counts: BTreeMap::new() }
    }

    pub fn count(&self, construct: Construct) -> usize {
        self.counts.get(&construct).copied().unwrap_or_default()
    }

    /// One document; its number makes sure that every construct has its turn.
    pub fn text(&mut self, number: usize) -> String {
        let mut text = String::new();
        if self.below(8) == 0 {
            text.push_str("# a comment\n");
        }
        let lines = 2 + self.below(6);
        self.member(&mut text, 0, CONSTRUCTS[number % CONSTRUCTS.len()]);
        for line in 1..lines {
            let construct = CONSTRUCTS[self.below(CONSTRUCTS.len() - 1)];
            self.member(&mut text, line, construct);
        }
        text
    }

    /// Several documents, as a file holds them.
    pub fn file(&mut self, number: usize) -> String {
        let separators = ["---\n", "--- # next\n", "---\n---\n", "---   \n"];
        let mut file = String::new();
        if self.below(2) == 0 {
            file.push_str("---\n");
        }
        for part in 0..1 + self.below(3) {
            if part > 0 {
                file.push_str(separators[self.below(separators.len())]);
            }
            // The last construct is the broken one, which would end most files alike.
            file.push_str(&self.text((number + part) % (CONSTRUCTS.len() - 1)));
        }
        if self.below(2) == 0 {
            file.push_str("---\n");
        }
        file
    }

    fn member(&mut self, text: &mut String, line: usize, construct: Construct) {
        *self.counts.entry(construct).or_default() += 1;
        let key = format!("k{line}");
        // Writing to a text cannot fail.
        let _ = match construct {
            Construct::Number => writeln!(text, "{key}: {}", self.one(&NUMBERS)),
            Construct::Word => writeln!(text, "{key}: {}", self.one(&WORDS)),
            Construct::OddKey => writeln!(text, "{key}:\n  {}: {}", self.one(&KEYS), self.one(&NUMBERS)),
            Construct::DuplicateKey => {
                writeln!(text, "{key}: {}\n{key}: {}", self.one(&NUMBERS), self.one(&WORDS))
            }
            Construct::Merge => {
                let (one, two) = (self.one(&NUMBERS), self.one(&WORDS));
                let order = self.below(3);
                let merged = match order {
                    0 => format!("{{<<: *a{line}, p: 1}}"),
                    1 => format!("{{p: 1, <<: *a{line}}}"),
                    _ => format!("{{<<: [*a{line}, {{p: 5, r: 6}}], s: *a{line}}}"),
                };
                writeln!(text, "{key}: &a{line} {{p: {one}, q: {two}}}\n{key}m: {merged}")
            }
            Construct::BlockText => write!(text, "{key}: {}", self.one(&BLOCKS)),
            Construct::FlowNesting => {
                let (a, b, c) = (self.one(&NUMBERS), self.one(&WORDS), self.one(&KEYS));
                writeln!(text, "{key}: {{a: [{a}, {{b: {b}}}], {c}: [], d: {{}}}}")
            }
            Construct::Quoted => writeln!(text, "{key}: {}", self.one(&QUOTED)),
            Construct::Tagged => writeln!(text, "{key}: {}", self.one(&TAGGED)),
            Construct::Time => writeln!(text, "{key}: {}", self.one(&TIMES)),
            Construct::Nested => {
                let (a, b) = (self.one(&WORDS), self.one(&NUMBERS));
                writeln!(text, "{key}:\n- a: {a}\n  b: {b}\n-\n  - {b}\n  - - {a}\n- x # {a}\n")
            }
            Construct::Broken => writeln!(text, "{key}: {}", self.one(&BROKEN)),
        };
    }

    fn one(&mut self, of: &[&'static str]) -> &'static str {
        of[self.below(of.len())]
    }

    /// SplitMix64.
    fn below(&mut self, bound: usize) -> usize {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }
}
