//! The datanets as paths and texts. The program writes them; this module opens no files.

use serde::Serialize;
use serde_json::json;

use crate::{
    datanet::{Contributor, Datanets, Role},
    rng::fnv,
};

/// A file to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Path relative to the output folder, with `/` as separator.
    pub path: String,
    pub text: String,
}

/// File that marks a folder as written by this generator.
pub const MARKER_FILE: &str = "world.json";

impl Datanets {
    /// Renders all files. [`MARKER_FILE`] comes last, because it contains the checksums of the others.
    pub fn files(&self) -> Vec<File> {
        let mut files = vec![File {
            path: "ABOUT.md".to_owned(),
            text: self.about(),
        }];
        for contributor in &self.contributors {
            files.extend(contributor.files());
        }
        let prompts: Vec<_> = self
            .prompts()
            .into_iter()
            .map(|prompt| json!({ "prompt": prompt }))
            .collect();
        files.push(jsonl("questions.jsonl", &self.exam()));
        files.push(jsonl("controls.jsonl", &self.controls()));
        files.push(jsonl("prompts.jsonl", &prompts));
        files.push(file("truth.json", pretty(&self.truth())));
        let sums: Vec<_> = files.iter().map(sum).collect();
        let mark = json!({ "made_by": "cargo xtask world", "seed": self.world.seed, "files": sums });
        files.push(file(MARKER_FILE, pretty(&mark)));
        files
    }

    /// Describes which contributor holds which fact, who copied whom, and which statements are false.
    fn truth(&self) -> serde_json::Value {
        let folder = |index: usize| self.contributors[index].folder;
        let contributors = self.contributors.iter().map(|contributor| {
            let (role, copy_of) = match contributor.role {
                Role::Witness => ("witness", None),
                Role::CopyOf(of) => ("copy", Some(folder(of))),
                Role::Idler => ("noise", None),
            };
            let facts = self.held.iter().filter(|held| {
                let holder = folder(held.holder);
                holder == contributor.folder || copy_of == Some(holder)
            });
            json!({
                "folder": contributor.folder,
                "role": role,
                "copy_of": copy_of,
                "facts": facts.map(|held| &held.id).collect::<Vec<_>>(),
            })
        });
        let facts = self.held.iter().map(|held| {
            json!({
                "id": held.id,
                "relation": held.fact.relation,
                "subject": held.fact.subject,
                "measure": held.fact.measure,
                "value": held.fact.value,
                "holder": folder(held.holder),
                "prose_lines": held.prose_lines,
                "question_lines": held.question_lines,
            })
        });
        let wrong = self
            .wrong
            .iter()
            .map(|wrong| json!({ "fact": wrong.fact, "claim": wrong.claim, "prose_line": wrong.line }));
        json!({
            "seed": self.world.seed,
            "contributors": contributors.collect::<Vec<_>>(),
            "facts": facts.collect::<Vec<_>>(),
            "wrong": wrong.collect::<Vec<_>>(),
        })
    }

    fn about(&self) -> String {
        let mut rows = String::new();
        for contributor in &self.contributors {
            let Contributor {
                folder,
                name,
                licence,
                about,
                ..
            } = contributor;
            let (prose, questions) = (contributor.prose.len(), contributor.questions.len());
            rows.push_str(&format!(
                "| `{folder}` | {name} | {licence} | {prose} + {questions} | {about} |\n"
            ));
        }
        ABOUT
            .replace("{seed}", &self.world.seed.to_string())
            .replace("{facts}", &self.plan.facts.to_string())
            .replace("{all}", &self.held.len().to_string())
            .replace("{wordings}", &self.plan.held_out.to_string())
            .replace("{rows}", &rows)
    }
}

impl Contributor {
    fn files(&self) -> Vec<File> {
        let path = |name: &str| format!("{}/{name}", self.folder);
        let prose: Vec<_> = self.prose.iter().map(|text| json!({ "text": text })).collect();
        let card = json!({
            "name": self.name,
            "licence": self.licence,
            "about": self.about,
            "files": [
                { "path": "prose.jsonl", "rows": self.prose.len(), "fields": ["text"] },
                { "path": "questions.jsonl", "rows": self.questions.len(), "fields": ["question", "answer"] },
            ],
        });
        vec![
            file(&path("contributor.json"), pretty(&card)),
            jsonl(&path("prose.jsonl"), &prose),
            jsonl(&path("questions.jsonl"), &self.questions),
        ]
    }
}

fn file(path: &str, text: String) -> File {
    File {
        path: path.to_owned(),
        text,
    }
}

fn jsonl<T: Serialize>(path: &str, rows: &[T]) -> File {
    let lines = rows
        .iter()
        .map(|row| format!("{}\n", serde_json::to_string(row).expect("rows are strings")));
    file(path, lines.collect())
}

fn pretty(value: &serde_json::Value) -> String {
    format!("{value:#}\n")
}

fn sum(file: &File) -> serde_json::Value {
    json!({ "path": file.path, "bytes": file.text.len(), "fnv": format!("{:016x}", fnv(&file.text)) })
}

const ABOUT: &str = "\
# Sample datanets, seed {seed}

Eight contributors wrote about one small world that does not exist. Six of them know {facts} things each, and no two know
the same; one copied another's records and changed case and words; one has nothing to say, and says some of it wrongly.
`cargo xtask world --seed {seed} --out DIR` writes these files again, to the byte. Other seeds make other worlds.

| folder | contributor | licence | pages + questions | what |
|---|---|---|---|---|
{rows}
- `*/prose.jsonl`: `{\"text\"}`, pages in the contributor's own tone. `*/questions.jsonl`: `{\"question\", \"answer\"}`.
- `questions.jsonl`: the exam. {all} facts in {wordings} wordings each, none of which is in any contributor's file.
- `controls.jsonl`: questions of the same kinds that no contributor can answer. A model that answers makes it up.
- `prompts.jsonl`: beginnings that a fluent model continues.
- `truth.json`: who holds which fact and on which lines, who copied whom, and what the idler gets wrong.
- `world.json`: the seed, and the size and sum of every file.
";
