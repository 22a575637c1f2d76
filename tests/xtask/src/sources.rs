//! The sources of a crate as text, what is shipped and what only tests see told apart.
//!
//! Nothing is parsed: rustfmt has put every item on lines of its own, and the indentation says where it ends.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    /// Below the folder of its crate.
    pub(crate) path: PathBuf,
    /// What is compiled into a library or a program.
    pub(crate) shipped: String,
    /// What is compiled for a test, bench or example.
    pub(crate) tests: String,
}

/// The files of the crate in `dir`, in order. Those of a crate that lies inside it are not its own.
pub(crate) fn of_crate(dir: &Path) -> Result<Vec<Source>> {
    let found = listed(dir)?;
    let texts: Result<Vec<_>> = found.iter().map(|path| read(dir, path.clone())).collect();
    let mut texts = texts?;
    for (file, (_, text)) in found.iter().zip(texts.clone()) {
        for path in borrowed(file, &text).filter(|path| !found.contains(path)) {
            // Crates share nothing but helpers of tests this way.
            let text = read(dir, path)?.1;
            texts.push((Path::new("tests").join("borrowed.rs"), text));
        }
    }
    Ok(split(texts))
}

/// The same files, each with its whole text.
pub(crate) fn texts(dir: &Path) -> Result<Vec<(PathBuf, String)>> {
    listed(dir)?.into_iter().map(|path| read(dir, path)).collect()
}

fn listed(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for part in ["src", "tests", "benches", "examples"] {
        files(&dir.join(part), &mut found)?;
    }
    found.extend(Some(dir.join("build.rs")).filter(|path| path.is_file()));
    found.sort();
    Ok(found)
}

/// Files of other crates that a file names by `#[path]`.
fn borrowed<'a>(file: &'a Path, text: &'a str) -> impl Iterator<Item = PathBuf> + 'a {
    let named = |line: &'a str| line.trim().strip_prefix("#[path = \"")?.strip_suffix("\"]");
    let folder = file.parent().unwrap_or(Path::new(""));
    text.lines()
        .filter_map(named)
        .filter_map(move |path| folder.join(path).canonicalize().ok())
}

fn files(dir: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    if !dir.is_dir() || dir.join("Cargo.toml").exists() {
        return Ok(());
    }
    for entry in fs::read_dir(dir).with_context(|| format!("could not list {}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            files(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(())
}

fn read(dir: &Path, path: PathBuf) -> Result<(PathBuf, String)> {
    let text = fs::read_to_string(&path).with_context(|| format!("could not read {}", path.display()))?;
    Ok((path.strip_prefix(dir).unwrap_or(&path).to_owned(), text))
}

/// Tells what is shipped from what only tests see: other folders than `src`, items under `#[cfg(test)]`, and the files of
/// modules that are declared under it.
pub(crate) fn split(texts: Vec<(PathBuf, String)>) -> Vec<Source> {
    let mut for_tests = Vec::new();
    let mut sources = Vec::new();
    for (path, text) in texts {
        let text = without_comments(&text);
        let (shipped, tests) = if path.starts_with("src") || path == Path::new("build.rs") {
            cut(&text)
        } else {
            (String::new(), text)
        };
        for name in tests.lines().filter_map(declared) {
            let folder = children(&path);
            for_tests.extend([folder.join(format!("{name}.rs")), folder.join(name)]);
        }
        sources.push(Source { path, shipped, tests });
    }
    for source in &mut sources {
        if for_tests.iter().any(|path| source.path.starts_with(path)) {
            source.tests.push_str(&std::mem::take(&mut source.shipped));
        }
    }
    sources
}

/// The folder in which the modules lie that a file declares.
fn children(file: &Path) -> PathBuf {
    let stem = file.file_stem().unwrap_or_default();
    let dir = file.parent().unwrap_or(Path::new(""));
    if ["lib", "main", "mod"].iter().any(|root| stem == *root) {
        dir.to_owned()
    } else {
        dir.join(stem)
    }
}

/// The module that a line declares and that lies in another file.
fn declared(line: &str) -> Option<&str> {
    let line = line.trim().strip_suffix(';')?;
    let (visible, name) = line.rsplit_once("mod ")?;
    let visible = visible.trim();
    (visible.is_empty() || visible.starts_with("pub")).then_some(name)
}

fn without_comments(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// An attribute that leaves an item out of what is shipped.
fn is_for_tests(attribute: &str) -> bool {
    attribute == "#[cfg(test)]" || attribute.starts_with("#[cfg(all(test,")
}

/// The text without its items under `#[cfg(test)]`, and those items.
fn cut(text: &str) -> (String, String) {
    let (mut shipped, mut tests) = (String::new(), String::new());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if !is_for_tests(line.trim()) {
            shipped += line;
            shipped.push('\n');
            continue;
        }
        let indent = &line[..line.len() - line.trim_start().len()];
        let ends = |line: &str| {
            let rest = line.strip_prefix(indent).unwrap_or("");
            !rest.starts_with([' ', '#']) && rest.ends_with([';', ',', '}'])
        };
        for line in lines.by_ref() {
            tests += line;
            tests.push('\n');
            if ends(line) {
                break;
            }
        }
    }
    (shipped, tests)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(texts: &[(&str, &str)]) -> Vec<Source> {
        split(
            texts
                .iter()
                .map(|(path, text)| (path.into(), (*text).to_owned()))
                .collect(),
        )
    }

    #[test]
    fn an_item_under_cfg_test_is_not_shipped_and_what_follows_it_is() {
        let text = "\
use a::A;
#[cfg(test)]
use b::B;
impl C {
    #[cfg(test)]
    #[expect(dead_code)]
    fn test_only(&self) {
        d::d();
    }
    fn shipped() { e::e() }
}
#[cfg(test)]
mod tests {
    use f::F;
}
fn last() { g::g() }
";
        let found = sources(&[("src/lib.rs", text)]);
        for name in ["a::", "e::", "g::"] {
            assert!(
                found[0].shipped.contains(name) && !found[0].tests.contains(name),
                "{name}: {found:?}"
            );
        }
        for name in ["b::", "d::", "f::"] {
            assert!(
                found[0].tests.contains(name) && !found[0].shipped.contains(name),
                "{name}: {found:?}"
            );
        }
    }

    #[test]
    fn a_module_that_is_declared_for_tests_is_for_tests_wherever_it_lies() {
        let found = sources(&[
            ("src/lib.rs", "mod log;\n#[cfg(test)]\nmod lone;\n"),
            ("src/log.rs", "#[cfg(all(test, feature = \"host\"))]\nmod tests;\n"),
            ("src/log/shipped.rs", "a::a();\n"),
            ("src/log/tests.rs", "b::b();\n"),
            ("src/log/tests/deep.rs", "c::c();\n"),
            ("src/lone/mod.rs", "d::d();\n"),
        ]);
        let shipped: Vec<_> = found
            .iter()
            .filter(|source| source.shipped.contains("::"))
            .map(|source| &source.path)
            .collect();
        assert_eq!(shipped, [Path::new("src/log/shipped.rs")]);
    }

    #[test]
    fn comments_are_no_sources_and_other_folders_are_for_tests() {
        let found = sources(&[
            ("src/lib.rs", "/// See [`a::A`].\nfn f() {}\n"),
            ("benches/b.rs", "use b;\n"),
        ]);
        assert!(!found[0].shipped.contains("a::A"));
        assert_eq!((found[1].shipped.as_str(), found[1].tests.as_str()), ("", "use b;\n"));
    }
}
