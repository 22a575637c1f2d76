//! `openledger doctor`: what keeps this node from doing well, and what to do about it. Changes nothing.
//!
//! `--json` prints `{"ok", "checks": [{"name", "state": "good" | "warning" | "bad", "what", "fix"}]}`; `fix` is null where all
//! is well. The exit code is 1 if anything is bad; a warning is something that works and could be better.

mod chain;
mod folder;
mod machine;

use clap::Args;
use serde::Serialize;

use super::{Place, exit::Exit};

/// Check the home, the keys, the data and the machine
#[derive(Debug, Args)]
#[command(after_help = "Example: openledger doctor")]
pub(crate) struct Doctor {}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Good,
    Warning,
    Bad,
}

/// One thing that was looked at.
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
    pub(crate) fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let mut checks = folder::checks(place);
        checks.extend(chain::checks(place));
        checks.extend(machine::checks(place));
        let ok = checks.iter().all(|check| check.state != State::Bad);
        let shown = Shown { ok, checks };
        place.show(&shown, || text(&shown));
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
    fn what_is_wrong_is_followed_by_what_to_do() {
        let checks = vec![
            Check::good("home", "there"),
            Check::bad("disk", "full", "free some space"),
        ];
        let shown = Shown { ok: false, checks };
        assert_eq!(text(&shown), "✓ home: there\n✗ disk: full\n    → free some space");
    }
}
