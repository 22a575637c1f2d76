//! Circles of imports: between crates they are refused, between the modules of one crate they are listed.
//!
//! A module and one that lies inside it may import each other: they are one thing in two files. What is listed is wider:
//! files that import each other in a circle and would have to be read together. A name that a module only passes on is
//! counted where it is defined.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Component, Path},
};

use anyhow::Result;
use serde_json::Value;

use crate::sources;

/// Crate, one file of the circle, and why it may stay.
const ALLOWED: &[(&str, &str, &str)] = &[
    (
        "protocol",
        "src/datanet/version.rs",
        "a statement publishes a version, which names the statement",
    ),
    (
        "protocol",
        "src/proof/bundle.rs",
        "a sample is part of a bundle, which says what is drawn",
    ),
    (
        "net",
        "src/data/endpoint.rs",
        "the endpoint hands itself to what it serves and fetches",
    ),
    (
        "storage",
        "src/blob/store.rs",
        "the store's verbs lie in files of their own and its state in one",
    ),
    (
        "storage",
        "src/dataset/walk.rs",
        "what is left out is found while walking and told by the ingest",
    ),
    (
        "consensus",
        "src/validator.rs",
        "the core's context names validators, which have its addresses",
    ),
    (
        "evm",
        "src/trie/node.rs",
        "a node has links, and a link leads to a node",
    ),
    (
        "world",
        "src/datanet.rs",
        "contributors of all kinds are drawn here and each kind writes its own text",
    ),
];

/// A module: the names on the way to it from the root of its crate.
type Module = Vec<String>;
type Edges<T> = BTreeMap<T, BTreeSet<T>>;

/// Circles between our crates. Cargo refuses them for libraries and allows them through tests.
pub(crate) fn of_crates(metadata: &Value) -> Vec<String> {
    let packages = || metadata["packages"].as_array().into_iter().flatten();
    let name = |package: &Value| package["name"].as_str().unwrap_or_default().to_owned();
    let ours: BTreeSet<_> = packages().map(name).collect();
    let edges: Edges<String> = packages()
        .map(|package| {
            let on = package["dependencies"].as_array().into_iter().flatten().map(name);
            (name(package), on.filter(|on| ours.contains(on)).collect())
        })
        .collect();
    let circles = circles(&edges);
    let line = |circle: Vec<String>| format!("{} import each other in a circle", circle.join(", "));
    circles.into_iter().map(line).collect()
}

/// Prints what is left inside each crate.
#[expect(clippy::print_stdout, reason = "it is asked for to be read")]
pub(crate) fn print(metadata: &Value) -> Result<()> {
    let (mut count, mut files) = (0, 0);
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = package["name"].as_str().unwrap_or_default();
        let manifest = Path::new(package["manifest_path"].as_str().unwrap_or_default());
        let sources = sources::of_crate(manifest.parent().unwrap_or(manifest))?;
        let texts = sources
            .iter()
            .filter(|source| source.path.starts_with("src") && !source.shipped.is_empty());
        let texts: Vec<_> = texts.map(|source| (&*source.path, &*source.shipped)).collect();
        for circle in of_modules(&texts) {
            let allowed = ALLOWED
                .iter()
                .find(|(of, file, _)| *of == name && circle.iter().any(|one| one == file));
            let reason = allowed.map_or("no reason is written down", |(.., reason)| reason);
            println!("{name}: {} files ({reason})\n  {}", circle.len(), circle.join("\n  "));
            count += 1;
            files += circle.len();
        }
    }
    println!("{count} circles, {files} files in them");
    Ok(())
}

/// The circles among these files, by name of the file.
fn of_modules(texts: &[(&Path, &str)]) -> Vec<Vec<String>> {
    let files: BTreeMap<Module, &Path> = texts.iter().map(|(path, _)| (module(path), *path)).collect();
    let imports: BTreeMap<Module, Vec<Import>> = texts
        .iter()
        .map(|(path, text)| (module(path), imports(&module(path), text, &files)))
        .collect();
    let mut edges: Edges<Module> = BTreeMap::new();
    for (from, imported) in &imports {
        let on = imported
            .iter()
            .filter_map(|import| defined_in(&import.path, &files, &imports));
        // A module and what lies inside it are one thing.
        let on = on.filter(|on| !on.starts_with(from) && !from.starts_with(on));
        edges.insert(from.clone(), on.collect());
    }
    let names = |circle: Vec<Module>| circle.iter().map(|one| files[one].display().to_string()).collect();
    circles(&edges).into_iter().map(names).collect()
}

fn module(path: &Path) -> Module {
    let mut names: Module = path
        .with_extension("")
        .components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
            _ => None,
        })
        .skip(1)
        .collect();
    if names
        .last()
        .is_some_and(|last| ["lib", "main", "mod"].contains(&&**last))
    {
        names.pop();
    }
    names
}

/// A name that a file imports, from the root of the crate on.
struct Import {
    path: Vec<String>,
    /// Other modules may import it from here.
    passed_on: bool,
}

/// Everything that a text names through `crate`, `self` or `super`, or re-exports from a module inside it.
fn imports(here: &Module, text: &str, files: &BTreeMap<Module, &Path>) -> Vec<Import> {
    let mut found = Vec::new();
    let words = ["crate::", "super::", "self::"];
    let starts = words.iter().flat_map(|word| text.match_indices(word));
    for (at, _) in starts.filter(|(at, _)| !text[..*at].ends_with(|c: char| c.is_alphanumeric() || "_:".contains(c))) {
        let tail = text[..at].rsplit([';', '}']).next().unwrap_or_default();
        let passed_on = is_public_use(tail);
        expand(here, &text[at..], passed_on, &mut found);
    }
    // `pub use inner::Name;`: the first word is a module that lies inside this one.
    for (at, _) in text.match_indices("use ") {
        let first = text[at + 4..].split("::").next().unwrap_or_default();
        let inner: Module = here.iter().cloned().chain([first.to_owned()]).collect();
        let line = text[..at].rsplit('\n').next().unwrap_or_default();
        if files.contains_key(&inner) && (line.trim().is_empty() || line.trim().starts_with("pub")) {
            expand(here, &text[at + 4..], line.trim().starts_with("pub"), &mut found);
        }
    }
    found
}

fn is_public_use(before: &str) -> bool {
    let before = before.trim();
    before.starts_with("pub") && before.ends_with("use")
}

/// The paths of a tree such as `super::{a::A, b::{B, C}}`.
fn expand(here: &Module, tree: &str, passed_on: bool, found: &mut Vec<Import>) {
    let mut open: Vec<Vec<String>> = vec![Vec::new()];
    let mut path: Vec<String> = Vec::new();
    let mut rest = tree;
    loop {
        let end = rest
            .find(|c: char| !(c.is_alphanumeric() || c == '_'))
            .unwrap_or(rest.len());
        if end > 0 {
            path.push(rest[..end].to_owned());
        }
        rest = &rest[end..];
        let is_list = open.len() > 1;
        if let Some(after) = rest.strip_prefix("::") {
            rest = after;
            if let Some(after) = rest.strip_prefix('{') {
                open.push(path.clone());
                rest = after.trim_start();
            } else if rest.starts_with('<') {
                // A turbofish: the path ends here.
                break;
            }
            continue;
        }
        if is_list && rest.starts_with(" as ") {
            rest = rest.trim_start_matches(|c: char| c != ',' && c != '}');
        }
        let Some(sign) = rest
            .chars()
            .next()
            .filter(|sign| is_list && [',', '}', '*'].contains(sign))
        else {
            break;
        };
        if sign != '*' {
            push(here, &path, passed_on, found);
            path.clear();
        }
        if sign == '}' {
            open.pop();
        }
        rest = rest[1..].trim_start();
        let base = if sign == ',' { open.last() } else { None };
        if let Some(base) = base {
            path.clone_from(base);
        }
        if open.len() == 1 {
            return;
        }
    }
    push(here, &path, passed_on, found);
}

fn push(here: &Module, path: &[String], passed_on: bool, found: &mut Vec<Import>) {
    let mut absolute = here.clone();
    let mut names = path.iter().peekable();
    while let Some(name) = names.next_if(|name| ["crate", "super", "self"].contains(&&***name)) {
        match &**name {
            "crate" => absolute.clear(),
            "super" => drop(absolute.pop()),
            _ => (),
        }
    }
    absolute.extend(names.filter(|name| *name != "self").cloned());
    if !path.is_empty() {
        found.push(Import {
            path: absolute,
            passed_on,
        });
    }
}

/// The module in which a path ends, whoever passes the name on.
fn defined_in(
    path: &[String],
    files: &BTreeMap<Module, &Path>,
    imports: &BTreeMap<Module, Vec<Import>>,
) -> Option<Module> {
    let mut path = path.to_vec();
    // Each round follows one re-export; a chain is never longer than this.
    for _ in 0..8 {
        let known = (0..=path.len()).rev().find(|len| files.contains_key(&path[..*len]))?;
        let module = path[..known].to_vec();
        let Some(name) = path.get(known) else {
            return Some(module);
        };
        let passed_on = imports.get(&module).into_iter().flatten();
        let next = passed_on
            .filter(|import| import.passed_on && import.path != path)
            .find(|import| import.path.last() == Some(name));
        let Some(next) = next else { return Some(module) };
        let rest = path.split_off(known + 1);
        path.clone_from(&next.path);
        path.extend(rest);
    }
    None
}

/// The strongly connected parts with more than one member: all that reach each other. Crates are small enough to ask each.
fn circles<T: Ord + Clone>(edges: &Edges<T>) -> Vec<Vec<T>> {
    let reach = |from: &T| {
        let mut seen = BTreeSet::new();
        let mut todo = vec![from];
        while let Some(one) = todo.pop() {
            for on in edges.get(one).into_iter().flatten() {
                if seen.insert(on) {
                    todo.push(on);
                }
            }
        }
        seen
    };
    let reached: BTreeMap<&T, BTreeSet<&T>> = edges.keys().map(|one| (one, reach(one))).collect();
    let mut placed = BTreeSet::new();
    let mut found = Vec::new();
    for (one, ahead) in &reached {
        let back = |other: &&&T| reached.get(**other).is_some_and(|ahead| ahead.contains(one));
        let circle: Vec<T> = ahead.iter().filter(back).map(|other| (*other).clone()).collect();
        if circle.len() > 1 && !placed.contains(&circle) {
            placed.insert(circle.clone());
            found.push(circle);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(texts: &[(&str, &str)], expect: &[&[&str]]) {
        let texts: Vec<_> = texts.iter().map(|(path, text)| (Path::new(*path), *text)).collect();
        assert_eq!(of_modules(&texts), expect);
    }

    #[test]
    fn two_files_that_import_each_other_are_a_circle() {
        check(
            &[
                ("src/lib.rs", "mod a;\nmod b;\nmod c;\n"),
                ("src/a.rs", "use crate::{\n    b::{B, C as D},\n    c,\n};\n"),
                ("src/b.rs", "fn f() -> super::a::A {}\n"),
                ("src/c.rs", "use std::path::Path;\n"),
            ],
            &[&["src/a.rs", "src/b.rs"]],
        );
    }

    #[test]
    fn a_module_and_what_lies_inside_it_are_one_thing() {
        check(
            &[
                ("src/lib.rs", "mod a;\n"),
                ("src/a/mod.rs", "mod b;\npub use b::B;\nuse self::b::C;\n"),
                ("src/a/b.rs", "use super::A;\nuse crate::a::D;\n"),
            ],
            &[],
        );
    }

    #[test]
    fn a_name_that_is_passed_on_counts_where_it_is_defined() {
        check(
            &[
                ("src/lib.rs", "mod a;\nmod c;\n"),
                ("src/a/mod.rs", "mod b;\nmod d;\npub(crate) use b::{B, E};\n"),
                ("src/a/b.rs", "use crate::c::C;\n"),
                ("src/a/d.rs", "use super::B;\n"),
                ("src/c.rs", "use crate::a::B;\n"),
            ],
            &[&["src/a/b.rs", "src/c.rs"]],
        );
    }

    #[test]
    fn a_chain_is_no_circle() {
        check(
            &[
                ("src/a.rs", "use crate::b::B;\n"),
                ("src/b.rs", "use super::c::{self, C};\n"),
                ("src/c.rs", "use crate::a_longer::X; fn f() { my_crate::a::f() }\n"),
            ],
            &[],
        );
    }

    #[test]
    fn crates_that_import_each_other_through_tests_are_named() {
        let packages = json!({ "packages": [
            { "name": "a", "dependencies": [{ "name": "b", "kind": "dev" }] },
            { "name": "b", "dependencies": [{ "name": "a", "kind": null }, { "name": "serde", "kind": null }] },
            { "name": "c", "dependencies": [{ "name": "b", "kind": null }] },
        ]});
        assert_eq!(of_crates(&packages), ["a, b import each other in a circle"]);
    }
}
