//! Logging: lines on stderr, as text or JSON, at the levels that `[log]` in the configuration sets.
//!
//! A panic is logged like any other event, so that log collectors see it. Metrics are served at `/metrics` and are not
//! part of this module.

use std::{any::Any, backtrace::Backtrace, io::IsTerminal as _, panic};

use config::{Log, LogFormat};
use tracing::error;
use tracing_subscriber::EnvFilter;

/// Levels for libraries that are too chatty at `info`. A directive in `log.level` overrides them:
/// `info,arc_malachitebft=debug`.
///
/// iroh-blobs logs an error for its own cancelled collection at each shutdown; ours logs its failures itself.
const QUIET: &str = "arc_malachitebft=warn,libp2p=warn,sled=warn,iroh_blobs::store::gc=off";

/// Reason that logging did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TelemetryError {
    #[error(
        "log.level = \"{level}\" is not a filter; write a level such as info, or levels per part such as info,net=debug"
    )]
    Level {
        level: String,
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    #[error("the log was started twice in one process")]
    Twice,
}

/// Starts logging and installs the hook that logs panics. Call it once per process.
pub(crate) fn start(log: &Log) -> Result<(), TelemetryError> {
    let filter = filter(&log.level)?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let started = match log.format {
        LogFormat::Text => lines.with_ansi(use_colours()).with_target(false).try_init(),
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

/// Builds the filter. For one target the last directive wins, so the operator's level overrides [`QUIET`].
fn filter(level: &str) -> Result<EnvFilter, TelemetryError> {
    EnvFilter::try_new(format!("{QUIET},{level}")).map_err(|source| TelemetryError::Level {
        level: level.to_owned(),
        source,
    })
}

/// True if stderr is a terminal and `NO_COLOR` is not set.
fn use_colours() -> bool {
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
    fn an_invalid_level_is_refused_with_the_key_and_an_example() {
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
    fn chatty_libraries_log_warnings_only_unless_the_level_names_them() {
        assert!(filter("info").unwrap().to_string().contains("arc_malachitebft=warn"));
        let named = filter("info,arc_malachitebft=debug").unwrap().to_string();
        assert!(
            named.contains("arc_malachitebft=debug") && !named.contains("arc_malachitebft=warn"),
            "{named}"
        );
    }

    #[test]
    fn the_message_of_a_panic_is_logged_as_it_is() {
        assert_eq!(text(&"a constant"), "a constant");
        assert_eq!(text(&String::from("made up")), "made up");
        assert_eq!(text(&7), "no message");
    }
}
