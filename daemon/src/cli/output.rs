//! Output of a command: the result on stdout, notes and progress on stderr.

use std::io::{self, Write as _};

use serde::Serialize;

/// Prints a line to stdout. A reader that closed the pipe (`| head`) is no failure.
pub(crate) fn line(text: &str) {
    let mut out = io::stdout().lock();
    drop(writeln!(out, "{text}").and_then(|()| out.flush()));
}

/// Writes bytes to stdout, unchanged.
pub(crate) fn raw(bytes: &[u8]) {
    let mut out = io::stdout().lock();
    drop(out.write_all(bytes).and_then(|()| out.flush()));
}

/// Prints a note for the person at the terminal to stderr.
pub(crate) fn note(text: &str) {
    drop(writeln!(io::stderr().lock(), "{text}"));
}

/// Prints a value as JSON on one line.
pub(crate) fn object(value: &impl Serialize) {
    line(&serde_json::to_string(value).expect("printed values are plain data"));
}

/// Formats a time in milliseconds since 1970, to the second, as RFC 3339.
pub(crate) fn time(ms: u64) -> String {
    let at = std::time::UNIX_EPOCH + std::time::Duration::from_millis(ms / 1000 * 1000);
    humantime::format_rfc3339_seconds(at).to_string()
}

/// Formats rows of a name and a value in two aligned columns.
pub(crate) fn columns(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let row = |(name, text): &(&str, String)| format!("{name:width$}  {text}");
    rows.iter().map(row).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [("a", "1".to_owned()), ("long", "2".to_owned())];
        assert_eq!(columns(&rows), "a     1\nlong  2");
    }
}
