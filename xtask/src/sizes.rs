//! Size budgets (style, habit 6): files p90 ≤ 350 code lines and at most 700, functions p90 ≤ 35 and at most 80.
//!
//! A mirror, not a parser: a function is counted from its `fn` line to the brace that closes it at the same
//! indentation, which is what rustfmt guarantees. An exception carries a line `// size: <reason>` inside.

use crate::step;
use anyhow::bail;
use std::{fs, process::Command};

const FILE_CAP: usize = 700;
const FUNCTION_CAP: usize = 80;
const REASON: &str = "// size: ";

struct Function {
    place: String,
    lines: usize,
    excused: bool,
}

/// Prints both distributions and fails on an unexplained breach of a cap.
pub fn run() -> anyhow::Result<()> {
    let listed = step::output(Command::new("git").args(["ls-files", "*.rs"]).current_dir(step::root()))?;
    let (mut files, mut functions, mut breaches) = (Vec::new(), Vec::new(), Vec::new());
    for path in listed.lines() {
        let Ok(text) = fs::read_to_string(step::root().join(path)) else {
            continue;
        };
        let code = shipped_part(&text);
        let lines = code.lines().filter(|l| is_code(l)).count();
        if lines > FILE_CAP && !code.contains(REASON) {
            breaches.push(format!("{path}: {lines} code lines"));
        }
        files.push(lines);
        functions.extend(functions_of(path, code));
    }
    breaches.extend(
        functions
            .iter()
            .filter(|f| f.lines > FUNCTION_CAP && !f.excused)
            .map(|f| format!("{}: {} lines", f.place, f.lines)),
    );
    print_row("files, code lines", files);
    print_row("functions, lines", functions.iter().map(|f| f.lines).collect());
    if breaches.is_empty() {
        Ok(())
    } else {
        bail!("over the cap without a reason:\n  {}", breaches.join("\n  "))
    }
}

/// Everything before the test module, which by habit comes last.
fn shipped_part(text: &str) -> &str {
    text.split("\n#[cfg(test)]\nmod ").next().unwrap_or(text)
}

fn is_code(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && !line.starts_with("//")
}

fn functions_of(path: &str, code: &str) -> Vec<Function> {
    let lines: Vec<&str> = code.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let Some(name) = function_name(line) else { continue };
        let closing = format!("{}}}", " ".repeat(indent));
        let body = lines.iter().skip(start).take_while(|l| **l != closing).collect::<Vec<_>>();
        if body.first().is_some_and(|l| l.trim_end().ends_with([';', '}'])) {
            continue;
        }
        found.push(Function {
            place: format!("{path}:{} {name}", start + 1),
            lines: body.iter().filter(|l| is_code(l)).count() + 1,
            excused: body.iter().any(|l| l.contains(REASON)),
        });
    }
    found
}

fn function_name(line: &str) -> Option<&str> {
    let words = line.trim_start();
    let rest = ["pub ", "pub(crate) ", "pub(super) ", "const ", "async ", "unsafe "]
        .iter()
        .fold(words, |rest, word| rest.strip_prefix(word).unwrap_or(rest));
    rest.strip_prefix("fn ")?.split(['(', '<']).next()
}

fn print_row(name: &str, mut values: Vec<usize>) {
    values.sort_unstable();
    let at = |percent: usize| {
        values.get(values.len().saturating_sub(1) * percent / 100).copied().unwrap_or_default()
    };
    println!("{name}: {} counted, median {}, p90 {}, max {}", values.len(), at(50), at(90), at(100));
}
