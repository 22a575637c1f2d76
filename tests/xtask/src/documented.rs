//! Public types and functions without a doc comment.
//!
//! rustc's `missing_docs` also asks for a line on every field and variant, and a line that repeats the name is worse than
//! none. This check asks for types, traits, functions, constants and macros alone. Modules have their `//!` header.

use std::path::Path;

use anyhow::Result;
use serde_json::Value;

use crate::sources;

/// Programs that nobody builds on.
const EXEMPT: [&str; 2] = ["tests", "xtask"];

const ITEMS: [&str; 9] = [
    "fn ", "struct ", "enum ", "trait ", "type ", "union ", "static ", "const ", "macro ",
];

/// The public items of every crate that have no doc, as `FILE:LINE`.
pub(crate) fn check(metadata: &Value) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = package["name"].as_str().unwrap_or_default();
        let manifest = Path::new(package["manifest_path"].as_str().unwrap_or_default());
        if EXEMPT.contains(&name) {
            continue;
        }
        for (path, text) in sources::texts(manifest.parent().unwrap_or(manifest))? {
            let is_library =
                path.starts_with("src") && !path.ends_with("tests.rs") && !path.iter().any(|part| part == "tests");
            let lines = if is_library { undocumented(&text) } else { Vec::new() };
            found.extend(lines.into_iter().map(|line| {
                format!(
                    "{name}: {}:{line} is public and has no doc: say what it is",
                    path.display()
                )
            }));
        }
    }
    Ok(found)
}

/// The numbers of the lines on which an item without a doc begins.
fn undocumented(text: &str) -> Vec<usize> {
    let lines: Vec<_> = text.lines().collect();
    let tests = lines
        .iter()
        .position(|line| *line == "#[cfg(test)]")
        .unwrap_or(lines.len());
    let shipped = &lines[..if lines.get(tests + 1).is_some_and(|next| next.ends_with('{')) {
        tests
    } else {
        lines.len()
    }];
    let is_bare = |at: &usize| is_public_item(shipped[*at]) && !has_doc(&shipped[..*at]);
    (0..shipped.len()).filter(is_bare).map(|at| at + 1).collect()
}

fn is_public_item(line: &str) -> bool {
    let Some(mut rest) = line.trim_start().strip_prefix("pub ") else {
        return false;
    };
    for word in ["async ", "unsafe ", "extern \"C\" "] {
        rest = rest.strip_prefix(word).unwrap_or(rest);
    }
    ITEMS.iter().any(|item| rest.starts_with(item))
}

/// Whether a doc comment stands above, with nothing but attributes between.
fn has_doc(above: &[&str]) -> bool {
    let mut lines = above.iter().rev().map(|line| line.trim()).peekable();
    while let Some(line) = lines.next() {
        // In a macro the caller writes the doc.
        if ["///", "#[doc", "$(#["].iter().any(|doc| line.starts_with(doc)) {
            return true;
        }
        let is_attribute = line.starts_with("#[") || line.starts_with("//");
        if line.ends_with(")]") && !is_attribute {
            // The last line of an attribute of several lines: go on from its first.
            let _first = lines.by_ref().find(|line| line.starts_with("#["));
        } else if !is_attribute {
            return false;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_item_needs_a_doc_and_a_field_a_variant_and_a_private_item_need_none() {
        let text = "\
/// A shard.
#[derive(Debug)]
#[serde(
    rename_all = \"lowercase\",
)]
pub struct Shard {
    pub bytes: u64,
}
pub enum Kind { Image }
pub(crate) fn inner() {}
impl Shard {
    pub const fn len(&self) -> u64 { 0 }
    /// Bytes on disk.
    // The file system may round up.
    pub async fn size(&self) -> u64 { 0 }
}
pub use other::Name;
#[cfg(test)]
mod tests {
    pub fn helper() {}
}
";
        assert_eq!(undocumented(text), [9, 12]);
    }
}
