//! Where a command says things: what was asked for on stdout, everything else on stderr.

use std::io::{self, Write as _};

use serde::Serialize;

/// One line of the answer. Whoever reads may have had enough (`| head`): that is no failure.
pub(crate) fn line(text: &str) {
    let mut out = io::stdout().lock();
    drop(writeln!(out, "{text}").and_then(|()| out.flush()));
}

/// Bytes of the answer, as they are.
pub(crate) fn raw(bytes: &[u8]) {
    let mut out = io::stdout().lock();
    drop(out.write_all(bytes).and_then(|()| out.flush()));
}

/// A remark for the person at the terminal.
pub(crate) fn note(text: &str) {
    drop(writeln!(io::stderr().lock(), "{text}"));
}

/// An object on one line.
pub(crate) fn object(value: &impl Serialize) {
    line(&serde_json::to_string(value).expect("what is shown is plain data"));
}

/// Rows of a name and what is to be said about it, in two columns.
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
