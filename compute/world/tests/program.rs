//! The program: it writes what it says, and nothing over what is not its own.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

fn world(args: &[&str], out: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_world"));
    command
        .args(args)
        .arg("--out")
        .arg(out)
        .output()
        .expect("the program was built")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn it_writes_datanets_and_writes_them_again() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("new");
    for _ in 0..2 {
        let output = world(&["--seed", "9"], &out);
        assert!(output.status.success(), "{}", said(&output));
    }
    let truth = fs::read_to_string(out.join("truth.json")).unwrap();
    assert!(truth.contains("\"seed\": 9"));
    assert_eq!(fs::read_dir(&out).unwrap().count(), 8 + 6);
}

#[test]
fn it_refuses_a_folder_of_somebody_else() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("thesis.txt"), "years of work").unwrap();
    let output = world(&[], folder.path());
    assert!(!output.status.success());
    assert!(said(&output).contains("is not empty"), "{}", said(&output));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn it_writes_a_corpus_to_a_new_file_only() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("corpus.jsonl");
    let output = world(&["--corpus", "50k"], &out);
    assert!(output.status.success(), "{}", said(&output));
    let text = fs::read_to_string(&out).unwrap();
    assert!((50_000..53_000).contains(&text.len()));
    assert!(text.lines().all(|line| line.starts_with("{\"kind\":\"")));
    let again = world(&["--corpus", "50k"], &out);
    assert!(said(&again).contains("writes a new file"), "{}", said(&again));
}

#[test]
fn a_wrong_number_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for (args, complaint) in [
        (&["--facts", "50"][..], "--facts 50 is outside 12 to 24"),
        (&["--corpus", "much"][..], "much is no number of bytes"),
        (&["--seed", "x"][..], "invalid digit"),
    ] {
        let output = world(args, &folder.path().join("never"));
        assert!(!output.status.success());
        assert!(said(&output).contains(complaint), "{}", said(&output));
    }
}
