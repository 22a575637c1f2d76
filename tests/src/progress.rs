//! Progress messages of long tests.

use std::{
    fmt::Arguments,
    io::{self, Write},
    sync::OnceLock,
    time::Instant,
};

/// Writes a progress line to standard error at once. The test harness holds back only what the macros print.
pub fn say(what: Arguments<'_>) {
    static BEGUN: OnceLock<Instant> = OnceLock::new();
    let seconds = BEGUN.get_or_init(Instant::now).elapsed().as_secs();
    // A lost progress line harms nobody.
    drop(writeln!(io::stderr(), "[{seconds:4} s] {what}"));
}
