//! Wall time and CPU time of each step of a run, printed as a table.

use std::{
    fmt::Write,
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::Result;

/// Clock ticks per second in /proc, constant on Linux.
const TICKS: u64 = 100;
/// Paths of the program below the target folder, whose sizes are printed.
const PROGRAMS: [&str; 2] = ["release/openledger", "debug/openledger"];

/// The steps so far. The table is printed on drop, so also after a failure.
#[derive(Default)]
pub(crate) struct Budget {
    steps: Vec<Step>,
}

struct Step {
    name: String,
    took: Duration,
    /// CPU time of the step's child processes; `None` without /proc.
    processors: Option<Duration>,
    failed: bool,
}

impl Budget {
    /// Runs a step and records its time.
    pub(crate) fn step(&mut self, name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
        let (begun, before) = (Instant::now(), children_time());
        let done = work();
        self.steps.push(Step {
            name: name.to_owned(),
            took: begun.elapsed(),
            processors: children_time()
                .zip(before)
                .map(|(now, before)| now.saturating_sub(before)),
            failed: done.is_err(),
        });
        done
    }

    fn table(&self) -> String {
        let mut table = format!("{:36} {:>9} {:>13}\n", "step", "seconds", "CPU seconds");
        let mut line = |name: &str, took: Duration, processors: Option<Duration>, failed: bool| {
            let processors = processors.map_or("unknown".to_owned(), |time| time.as_secs().to_string());
            let failed = if failed { "  failed" } else { "" };
            writeln!(table, "{name:36} {:>9} {processors:>13}{failed}", took.as_secs()).expect("a string takes text");
        };
        for step in &self.steps {
            line(&step.name, step.took, step.processors, step.failed);
        }
        let all = self.steps.iter().map(|step| step.processors).sum();
        line("together", self.steps.iter().map(|step| step.took).sum(), all, false);
        table
    }
}

impl Drop for Budget {
    fn drop(&mut self) {
        eprint!("\n{}", self.table());
        for (program, bytes) in sizes() {
            eprintln!("{program}: {} MB", bytes / 1_000_000);
        }
    }
}

/// Sizes in bytes of the programs in the target folder.
fn sizes() -> Vec<(&'static str, u64)> {
    let here = std::env::current_exe().unwrap_or_default();
    let target = here.ancestors().nth(2).map(PathBuf::from).unwrap_or_default();
    let size = |program| fs::metadata(target.join(program)).map(|about| (program, about.len()));
    PROGRAMS.into_iter().filter_map(|program| size(program).ok()).collect()
}

/// CPU time of all child processes that have ended, with their children.
fn children_time() -> Option<Duration> {
    of_children(&fs::read_to_string("/proc/self/stat").ok()?)
}

fn of_children(stat: &str) -> Option<Duration> {
    // The second field is a name in brackets, which may contain spaces; fields 16 and 17 are cutime and cstime.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(13);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(Duration::from_millis((user + system) * 1000 / TICKS))
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[test]
    fn the_time_of_children_is_read_whatever_the_name_of_the_program() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 11 12 250 50 20 0";
        assert_eq!(of_children(stat), Some(Duration::from_secs(3)));
        assert_eq!(of_children("nothing"), None);
    }

    #[test]
    fn each_step_and_their_sum_are_lines_and_one_that_failed_says_so() {
        let mut budget = Budget::default();
        budget.step("fmt", || Ok(())).unwrap();
        budget.step("test", || bail!("no")).unwrap_err();
        let table = budget.table();
        let lines: Vec<_> = table
            .lines()
            .map(|line| line.split_whitespace().next().unwrap())
            .collect();
        assert_eq!(lines, ["step", "fmt", "test", "together"]);
        assert!(table.lines().nth(2).unwrap().ends_with("failed"), "{table}");
    }
}
