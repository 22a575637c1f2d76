//! What a long test is doing, said while it does it.

use std::{
    fmt::Arguments,
    io::{self, Write},
    sync::OnceLock,
    time::Instant,
};

/// Says it at once, although tests run: the harness shows what a test prints only when it has failed.
pub fn say(what: Arguments<'_>) {
    static BEGUN: OnceLock<Instant> = OnceLock::new();
    let seconds = BEGUN.get_or_init(Instant::now).elapsed().as_secs();
    // Nobody waits for it.
    drop(writeln!(io::stderr(), "[{seconds:4} s] {what}"));
}
