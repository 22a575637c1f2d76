//! What a bench measured, written into `tests/figures`: each number takes the row of its name, or a new one.
//!
//! ```text
//! | what | figure | unit | command | commit | date |
//! ```
//!
//! Nothing is written unless `OPENLEDGER_FIGURES=1` says so: most runs are no figures to quote.

use std::{
    env,
    fmt::Display,
    fs, io,
    path::Path,
    process::Command,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

const COLUMNS: &str = "| what | figure | unit | command | commit | date |";

/// The numbers of one run.
pub struct Figures {
    area: &'static str,
    command: String,
    rows: Vec<Row>,
}

struct Row {
    what: String,
    figure: String,
    unit: &'static str,
}

/// Commit and date of a run.
struct Run {
    commit: String,
    date: String,
}

impl Figures {
    /// Figures of `area`, the name of a file in `tests/figures`, that `command` makes.
    pub fn new(area: &'static str, command: &str) -> Self {
        Self {
            area,
            command: command.to_owned(),
            rows: Vec::new(),
        }
    }

    /// Adds a number. A name that was added before is measured again.
    pub fn add(&mut self, what: impl Into<String>, figure: impl Display, unit: &'static str) {
        let (what, figure) = (what.into(), figure.to_string());
        self.rows.retain(|row| row.what != what);
        self.rows.push(Row { what, figure, unit });
    }

    /// The lowest and the highest of several measurements of one thing, with so many digits behind the point.
    pub fn add_range(&mut self, what: &str, figures: &[f64], digits: usize, unit: &'static str) {
        let least = figures.iter().copied().reduce(f64::min);
        let most = figures.iter().copied().reduce(f64::max);
        for (which, figure) in [("lowest", least), ("highest", most)] {
            if let Some(figure) = figure {
                self.add(format!("{what}, {which}"), format_args!("{figure:.digits$}"), unit);
            }
        }
    }

    /// Writes the numbers if `OPENLEDGER_FIGURES=1`.
    pub fn write(&self) -> io::Result<()> {
        if env::var("OPENLEDGER_FIGURES").as_deref() != Ok("1") {
            return Ok(());
        }
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("figures");
        let file = folder.join(format!("{}.md", self.area));
        let run = Run {
            commit: commit(&folder).unwrap_or_else(|| "unknown".to_owned()),
            date: date(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()),
        };
        fs::write(&file, self.updated(&fs::read_to_string(&file)?, &run))
    }

    /// The text of a file with these rows in it. What else it says stays as it is.
    fn updated(&self, text: &str, run: &Run) -> String {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        for row in &self.rows {
            let line = format!(
                "| {} | {} | {} | `{}` | {} | {} |",
                row.what, row.figure, row.unit, self.command, run.commit, run.date
            );
            let same = |line: &String| cell(line, 0) == Some(&row.what);
            if let Some(at) = lines.iter().position(same) {
                lines[at] = line;
                continue;
            }
            // A new one stands behind the last of its command, or ends the table.
            let command = format!("`{}`", self.command);
            let beside = lines.iter().rposition(|line| cell(line, 3) == Some(&command));
            let end = || lines.iter().rposition(|line| cell(line, 5).is_some());
            match beside.or_else(end) {
                Some(at) => lines.insert(at + 1, line),
                None => lines.extend([COLUMNS.to_owned(), "|---|---:|---|---|---|---|".to_owned(), line]),
            }
        }
        lines.join("\n") + "\n"
    }
}

/// A cell of a line of a table.
fn cell(line: &str, at: usize) -> Option<&str> {
    let cells = line.strip_prefix('|')?.strip_suffix('|')?;
    cells.split('|').nth(at).map(str::trim)
}

/// The commit of the working tree, with a `+` if something beside the figures is not in it.
fn commit(folder: &Path) -> Option<String> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .arg("-C")
            .arg(folder)
            .args(arguments)
            .output()
            .ok()?;
        let text = String::from_utf8(output.stdout).ok();
        text.filter(|_| output.status.success())
    };
    let commit = git(&["rev-parse", "--short", "HEAD"])?;
    let changed = git(&["status", "--porcelain", "--", ":/", ":(exclude)."])?;
    let mark = if changed.trim().is_empty() { "" } else { "+" };
    Some(format!("{}{mark}", commit.trim()))
}

/// The day, in the calendar. Howard Hinnant, "chrono-compatible low-level date algorithms", `civil_from_days`.
fn date(since_1970: Duration) -> String {
    let days = since_1970.as_secs() / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
# The chain

| what | figure | unit | command | commit | date |
|---|---:|---|---|---|---|
| finality, p50 | 6.5 | ms | `bench network` | c93013b | 2026-11-20 |
| `eth_call` | 100 | per s | `bench rpc` | c93013b | 2026-11-20 |

A word about them.
";

    fn updated(figures: &Figures) -> Vec<String> {
        let run = Run {
            commit: "abc1234".to_owned(),
            date: "2026-12-01".to_owned(),
        };
        figures.updated(FILE, &run).lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_figure_takes_the_row_of_its_name_and_a_new_one_stands_behind_those_of_its_command() {
        let mut figures = Figures::new("chain", "bench network");
        figures.add("finality, p50", 9, "ms");
        figures.add("finality, p50", 7, "ms");
        figures.add("finality, p99", "20", "ms");
        let (lines, before) = (updated(&figures), FILE.lines().collect::<Vec<_>>());
        assert_eq!(
            lines[4],
            "| finality, p50 | 7 | ms | `bench network` | abc1234 | 2026-12-01 |"
        );
        assert_eq!(
            lines[5],
            "| finality, p99 | 20 | ms | `bench network` | abc1234 | 2026-12-01 |"
        );
        assert_eq!(lines[..4], before[..4]);
        assert_eq!(lines[6..], before[5..]);
    }

    #[test]
    fn a_figure_of_a_command_that_has_none_ends_the_table() {
        let mut figures = Figures::new("chain", "bench blocks");
        figures.add_range("commit", &[2.04, 1.0, 1.5], 1, "ms");
        let lines = updated(&figures);
        assert_eq!(
            lines[6],
            "| commit, lowest | 1.0 | ms | `bench blocks` | abc1234 | 2026-12-01 |"
        );
        assert_eq!(
            lines[7],
            "| commit, highest | 2.0 | ms | `bench blocks` | abc1234 | 2026-12-01 |"
        );
        assert_eq!(lines.last().unwrap(), "A word about them.");
    }

    #[test]
    fn every_row_of_the_folder_has_one_number_and_a_name_of_its_own() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("figures");
        for file in fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            let text = fs::read_to_string(&path).unwrap();
            let mut names = std::collections::BTreeSet::new();
            let rows = text.lines().filter(|line| cell(line, 5).is_some());
            for row in rows.filter(|row| *row != COLUMNS && !row.starts_with("|--")) {
                let why = format!("{}: {row}", path.display());
                assert!(cell(row, 1).unwrap().parse::<f64>().is_ok(), "{why}");
                assert!(names.insert(cell(row, 0).unwrap().to_owned()), "{why}");
            }
        }
    }

    #[test]
    fn a_day_is_formatted_as_a_calendar_date() {
        let day = |days: u64| date(Duration::from_secs(days * 86_400 + 5));
        assert_eq!(
            (day(0), day(11_016), day(11_017)),
            ("1970-01-01".into(), "2000-02-29".into(), "2000-03-01".into())
        );
        assert_eq!(day(20_788), "2026-12-01");
    }
}
