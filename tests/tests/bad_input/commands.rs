//! Input that cannot be used, by the commands that people type: each refusal names the thing and the way out, and nothing
//! that was stored before is harmed. No node runs here.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use tempfile::TempDir;
use tests::commands::{command, corpus, done};

struct Bench {
    dir: TempDir,
    /// A dataset that was stored before.
    root: String,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut bench = Self {
            dir,
            root: String::new(),
        };
        done(&bench.home(), &["init"]).unwrap();
        let good = bench.file("good.jsonl", corpus(300 << 10, "good"));
        let added = done(&bench.home(), &["data", "add", text(&good), "--licence", "CC0-1.0"]).unwrap();
        bench.root = added["root"].as_str().unwrap().to_owned();
        bench
    }

    fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    /// Adding `paths` ends with `code` and says all of `says`; what was there before is whole, and all there is.
    fn refuses(&self, paths: &[&Path], more: &[&str], code: i32, says: &[&str]) {
        let mut arguments = vec!["data", "add"];
        arguments.extend(paths.iter().map(|path| text(path)));
        arguments.extend(["--licence", "CC0-1.0", "--name", "bad"]);
        arguments.extend(more);
        let (ended, said) = command(&self.home(), &arguments).unwrap();
        assert_eq!(ended, Some(code), "{arguments:?}: {said}");
        let message = said["error"].to_string();
        for word in says {
            assert!(message.contains(word), "{arguments:?}: `{word}` is not in {message}");
        }
        done(&self.home(), &["data", "verify", &self.root]).unwrap();
        let listed = done(&self.home(), &["data", "ls"]).unwrap();
        assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn files_that_cannot_be_read_are_named_with_the_line_and_the_way_out() {
    let bench = Bench::new();
    let latin = bench.file("latin.jsonl", b"{\"t\":\"ok\"}\n{\"t\":\"caf\xe9\"}\n");
    bench.refuses(&[&latin], &[], 1, &["latin.jsonl", "line 2", "byte 10", "iconv"]);
    let broken = bench.file("broken.jsonl", "{\"t\":1}\n{\"t\":2}\n{\"t\": \n");
    bench.refuses(&[&broken], &[], 1, &["broken.jsonl", "line 3"]);
    let long = bench.file("long.jsonl", "");
    fs::File::options()
        .write(true)
        .open(&long)
        .unwrap()
        .set_len(2 << 30)
        .unwrap();
    bench.refuses(&[&long], &[], 1, &["long.jsonl", "line 1", "longer than 16777216"]);
    let empty = bench.file("empty.jsonl", "");
    bench.refuses(&[&empty], &[], 1, &["empty.jsonl", "is empty"]);
    let missing = bench.dir.path().join("missing.jsonl");
    bench.refuses(&[&missing], &[], 4, &["missing.jsonl", "check the path"]);
}

#[test]
fn folders_that_lead_out_and_names_that_are_there_twice_are_refused() {
    let bench = Bench::new();
    bench.file("linked/a.txt", "x");
    std::os::unix::fs::symlink("/etc/passwd", bench.dir.path().join("linked/out.txt")).unwrap();
    bench.refuses(
        &[&bench.dir.path().join("linked")],
        &[],
        1,
        &["out.txt", "leads out of the folder"],
    );
    let (one, two) = (bench.file("x/a.txt", "1"), bench.file("y/a.txt", "2"));
    bench.refuses(&[&one, &two], &[], 1, &["`a.txt`", "x/a.txt", "y/a.txt"]);
}

#[test]
fn a_path_with_dots_is_the_file_that_it_leads_to() {
    let bench = Bench::new();
    bench.file("sub/a.txt", "one");
    let dotted = bench.dir.path().join("sub/../sub/./a.txt");
    let added = done(&bench.home(), &["data", "add", text(&dotted), "--licence", "CC0-1.0"]).unwrap();
    assert_eq!(added["name"], "a");
    let out = bench.dir.path().join("out");
    done(
        &bench.home(),
        &["data", "get", added["root"].as_str().unwrap(), "--out", text(&out)],
    )
    .unwrap();
    assert_eq!(fs::read_to_string(out.join("a.txt")).unwrap(), "one");
}

#[test]
fn a_store_that_is_full_says_what_it_needs_and_a_lie_in_the_store_is_found() {
    let bench = Bench::new();
    let quota = |size: &str| drop(done(&bench.home(), &["config", "set", "data.quota", size]).unwrap());
    quota("1 MiB");
    let large = bench.file("large.jsonl", corpus(4 << 20, "large"));
    bench.refuses(&[&large], &[], 1, &["the quota of 1048576", "raise the quota"]);
    quota("10 GiB");

    // A file that is referred to is changed: it is found, and named.
    let kept = bench.file("kept.jsonl", corpus(200 << 10, "kept"));
    let added = done(
        &bench.home(),
        &["data", "add", text(&kept), "--licence", "CC0-1.0", "--by-reference"],
    )
    .unwrap();
    let mut bytes = fs::read(&kept).unwrap();
    bytes[1000] ^= 1;
    fs::write(&kept, bytes).unwrap();
    let root = added["root"].as_str().unwrap();
    let (code, said) = command(&bench.home(), &["data", "verify", root]).unwrap();
    assert!(
        code == Some(7) && said["error"].to_string().contains("kept.jsonl"),
        "{said}"
    );
    let (code, said) = command(&bench.home(), &["repo", "fsck"]).unwrap();
    let message: &Value = &said["error"]["message"];
    assert!(
        code == Some(7) && message.as_str().is_some_and(|text| text.contains("--drop-damaged")),
        "{said}"
    );
    done(&bench.home(), &["data", "verify", &bench.root]).unwrap();
}
