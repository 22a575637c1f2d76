//! What a node says while it runs: lines on stderr, for a person or for a program, as `[log]` in the configuration says.
//!
//! A panic is said in the same way as everything else, so that a collector of logs sees it. Figures are not here: they
//! are at `/metrics`.

use std::{any::Any, backtrace::Backtrace, io::IsTerminal as _, panic};

use config::{Log, LogFormat};
use tracing::error;
use tracing_subscriber::EnvFilter;

/// Libraries whose "info" is about every vote and every packet. Naming one in the level makes it speak:
/// `info,arc_malachitebft=debug`.
const QUIET: &str = "arc_malachitebft=warn,libp2p=warn,sled=warn";

/// Why the log did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TelemetryError {
    /// The level cannot be read.
    #[error(
        "log.level = \"{level}\" is not a filter; write a level such as info, or levels per part such as info,net=debug"
    )]
    Level {
        /// What was written.
        level: String,
        /// What is wrong with it.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// It was started before.
    #[error("the log was started twice in one process")]
    Twice,
}

/// Starts the log, and the hook that says panics in it. Once per process.
pub(crate) fn start(log: &Log) -> Result<(), TelemetryError> {
    let filter = filter(&log.level)?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let started = match log.format {
        LogFormat::Text => lines.with_ansi(colourful()).with_target(false).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    started.map_err(|_| TelemetryError::Twice)?;
    panic::set_hook(Box::new(|what| {
        let place = what.location().map(ToString::to_string).unwrap_or_default();
        let trace = Backtrace::capture();
        error!(place, %trace, "panicked: {}", text(what.payload()));
    }));
    Ok(())
}

/// Of two directives for one part the later holds: what the operator wrote.
fn filter(level: &str) -> Result<EnvFilter, TelemetryError> {
    EnvFilter::try_new(format!("{QUIET},{level}")).map_err(|source| TelemetryError::Level {
        level: level.to_owned(),
        source,
    })
}

/// Colours only where a person looks and has not asked for none.
fn colourful() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

fn text(payload: &dyn Any) -> &str {
    let fixed = payload.downcast_ref::<&str>().copied();
    fixed
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_that_cannot_be_read_names_the_key_and_the_fix() {
        let log = Log {
            level: "net=loud".to_owned(),
            ..Log::default()
        };
        let why = start(&log).unwrap_err().to_string();
        assert!(
            why.contains("log.level = \"net=loud\"") && why.contains("info,net=debug"),
            "{why}"
        );
    }

    #[test]
    fn libraries_are_quiet_unless_named() {
        assert!(filter("info").unwrap().to_string().contains("arc_malachitebft=warn"));
        let named = filter("info,arc_malachitebft=debug").unwrap().to_string();
        assert!(
            named.contains("arc_malachitebft=debug") && !named.contains("arc_malachitebft=warn"),
            "{named}"
        );
    }

    #[test]
    fn a_panic_is_told_in_the_words_it_came_with() {
        assert_eq!(text(&"a constant"), "a constant");
        assert_eq!(text(&String::from("made up")), "made up");
        assert_eq!(text(&7), "no message");
    }
}
