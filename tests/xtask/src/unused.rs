//! Dependencies that nobody names: each costs whoever builds the crate, and says an edge that is not there.
//!
//! Names are looked for in the text of the sources. What is needed and never named has a line with the reason.

use std::path::Path;

use anyhow::Result;
use serde_json::Value;

use crate::sources::{self, Source};

/// Crate, dependency, and why it is not named, or is named by tests alone.
const ALLOWED: &[(&str, &str, &str)] = &[];

/// Every dependency that is not needed where it is listed.
pub(crate) fn check(metadata: &Value) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let manifest = Path::new(package["manifest_path"].as_str().unwrap_or_default());
        let dir = manifest.parent().unwrap_or(manifest);
        found.extend(of_package(package, &sources::of_crate(dir)?, ALLOWED));
    }
    Ok(found)
}

fn of_package(package: &Value, sources: &[Source], allowed: &[(&str, &str, &str)]) -> Vec<String> {
    let name = package["name"].as_str().unwrap_or_default();
    let dependencies = || package["dependencies"].as_array().into_iter().flatten();
    let called = |one: &Value| {
        let name = one["rename"].as_str().or(one["name"].as_str());
        name.unwrap_or_default().to_owned()
    };
    let listed =
        |on: &str, kind: Option<&str>| dependencies().any(|one| called(one) == on && one["kind"].as_str() == kind);
    let of_any_kind = |on: &str| dependencies().any(|one| called(one) == on);
    let mut found = Vec::new();
    for dependency in dependencies() {
        let on = &called(dependency)[..];
        let shipped = sources.iter().any(|source| names(&source.shipped, on));
        let in_tests = sources.iter().any(|source| names(&source.tests, on));
        let is_allowed = allowed.iter().any(|(of, what, _)| (*of, *what) == (name, on));
        let complaint = match dependency["kind"].as_str() {
            _ if is_allowed => continue,
            Some("dev") if listed(on, None) => "is in dependencies already: leave it out of dev-dependencies",
            Some("dev") if in_tests => continue,
            Some("dev") => "is named by no test, bench or example",
            Some(_) | None if shipped => continue,
            Some(_) | None if in_tests => "is named by tests, benches or examples alone: move it to dev-dependencies",
            Some(_) | None => "is named nowhere",
        };
        found.push(format!("{name}: {on} {complaint}"));
    }
    for (_, on, _) in allowed.iter().filter(|(of, on, _)| *of == name && !of_any_kind(on)) {
        found.push(format!(
            "{name}: {on} is allowed here and not a dependency: remove its line in ALLOWED"
        ));
    }
    found
}

/// Whether a text names a crate: in a path, an import, a macro or `extern crate`.
fn names(text: &str, dependency: &str) -> bool {
    let name = dependency.replace('-', "_");
    text.match_indices(&name).any(|(at, _)| {
        let before = &text[..at];
        let after = &text[at + name.len()..];
        let is_part = |c: char| c.is_alphanumeric() || c == '_';
        let parent = before.strip_suffix("::");
        let begins = match parent {
            Some(parent) => !parent.ends_with(|c| is_part(c) || c == '>'),
            None => !before.ends_with(is_part) && !before.ends_with('.'),
        };
        let used = || before.ends_with("use ") || before.ends_with("extern crate ");
        begins
            && (after.starts_with("::")
                || after.starts_with('!')
                || (used() && (after.starts_with(';') || after.starts_with(" as "))))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_crate_is_named_by_a_path_an_import_a_macro_or_extern_crate_and_by_nothing_else() {
        for text in [
            "use serde_json::json;",
            "let x: serde_json::Value;",
            "use serde_json;",
            "use serde_json as j;",
            "extern crate serde_json;",
            "serde_json!(1)",
            "#[derive(serde_json::X)]",
            "f(::serde_json::x)",
        ] {
            assert!(names(text, "serde-json"), "{text}");
        }
        for text in [
            "my_serde_json::x",
            "serde_json_x::x",
            "a::serde_json::x",
            "x.serde_json!",
            "\"serde_json\"",
            "serde_json: 1",
        ] {
            assert!(!names(text, "serde-json"), "{text}");
        }
    }

    #[test]
    fn a_dependency_that_is_not_needed_where_it_is_listed_is_named() {
        let package = json!({ "name": "storage", "dependencies": [
            { "name": "sled", "kind": null },
            { "name": "arc-core", "rename": "core-two", "kind": null },
            { "name": "burn", "kind": null, "optional": true },
            { "name": "rand", "kind": null },
            { "name": "regex", "kind": null },
            { "name": "cc", "kind": "build" },
            { "name": "tempfile", "kind": "dev" },
            { "name": "proptest", "kind": "dev" },
            { "name": "serde", "kind": null },
            { "name": "serde", "kind": "dev" },
        ]});
        let source = |path: &str, shipped: &str, tests: &str| Source {
            path: path.into(),
            shipped: shipped.to_owned(),
            tests: tests.to_owned(),
        };
        let sources = [
            source(
                "src/lib.rs",
                "use sled::Db; use core_two::Core; use serde::Serialize;",
                "use rand::Rng;",
            ),
            source("build.rs", "cc::Build::new()", ""),
            source("benches/a.rs", "", "tempfile::tempdir()"),
        ];
        let allowed = [
            ("storage", "burn", "turned on by a feature"),
            ("storage", "gone", "no longer listed"),
        ];
        assert_eq!(
            of_package(&package, &sources, &allowed),
            [
                "storage: rand is named by tests, benches or examples alone: move it to dev-dependencies",
                "storage: regex is named nowhere",
                "storage: proptest is named by no test, bench or example",
                "storage: serde is in dependencies already: leave it out of dev-dependencies",
                "storage: gone is allowed here and not a dependency: remove its line in ALLOWED",
            ]
        );
    }
}
