//! `openledger doctor`: checks the home, the chain's data and the machine, and says how to fix what is wrong. It changes
//! nothing.
//!
//! The exit code is 1 if a check is bad. A warning is something that works and could work better.

mod chain;
mod folder;
mod machine;

use clap::Args;
use serde::Serialize;

use super::{Globals, exit::Exit};

/// Check the home, the keys, the data and the machine, and say how to fix what is wrong
#[derive(Debug, Args)]
#[command(
    after_help = "Example: openledger doctor\n\nJSON: {ok, checks: [{name, state: good|warning|bad, what, fix}]}; fix is null for a good check"
)]
pub(crate) struct Doctor {}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Good,
    Warning,
    Bad,
}

/// The result of one check.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Check {
    name: &'static str,
    state: State,
    what: String,
    fix: Option<String>,
}

#[derive(Serialize)]
struct Shown {
    ok: bool,
    checks: Vec<Check>,
}

impl Check {
    fn good(name: &'static str, what: impl Into<String>) -> Self {
        Self {
            name,
            state: State::Good,
            what: what.into(),
            fix: None,
        }
    }

    fn warning(name: &'static str, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            name,
            state: State::Warning,
            what: what.into(),
            fix: Some(fix.into()),
        }
    }

    fn bad(name: &'static str, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            state: State::Bad,
            ..Self::warning(name, what, fix)
        }
    }
}

impl Doctor {
    pub(crate) fn run(self, globals: &Globals) -> anyhow::Result<Exit> {
        let mut checks = folder::checks(globals);
        checks.extend(chain::checks(globals));
        checks.extend(machine::checks(globals));
        let ok = checks.iter().all(|check| check.state != State::Bad);
        let shown = Shown { ok, checks };
        globals.show(&shown, || text(&shown));
        Ok(if ok { Exit::Done } else { Exit::Failed })
    }
}

fn text(shown: &Shown) -> String {
    let line = |check: &Check| {
        let mark = match check.state {
            State::Good => "✓",
            State::Warning => "!",
            State::Bad => "✗",
        };
        let fix = check
            .fix
            .as_ref()
            .map(|fix| format!("\n    → {fix}"))
            .unwrap_or_default();
        format!("{mark} {}: {}{fix}", check.name, check.what)
    };
    shown.checks.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_problem_is_followed_by_its_fix() {
        let checks = vec![
            Check::good("home", "there"),
            Check::bad("disk", "full", "free some space"),
        ];
        let shown = Shown { ok: false, checks };
        assert_eq!(text(&shown), "✓ home: there\n✗ disk: full\n    → free some space");
    }
}
