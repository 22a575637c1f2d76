//! CSV parsing (RFC 4180) in one pass: record ends and cells come from the same state machine, so they cannot
//! disagree.
//!
//! A quote opens a quoted cell only at the start of the cell; elsewhere it is an ordinary character. A quoted cell may
//! contain line ends.

use std::collections::BTreeMap;

use protocol::manifest::{FIELDS_MAX, FieldKind, Schema};

use super::error::RecordFault;

/// A parser for one row, fed line by line.
pub(super) struct Row {
    delimiter: u8,
    state: State,
    cells: Vec<Vec<u8>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// At the start of a cell.
    Start,
    /// In an unquoted cell.
    Plain,
    /// Between quotes.
    Quoted,
    /// After a quote within quotes: the end of the cell, or half of a doubled quote.
    Quote,
}

impl Row {
    pub(super) fn new(delimiter: u8) -> Self {
        Self {
            delimiter,
            state: State::Start,
            cells: vec![Vec::new()],
        }
    }

    /// Adds one line with its end. Returns true if the row is complete.
    pub(super) fn feed(&mut self, line: &[u8]) -> Result<bool, RecordFault> {
        let body = super::lines::trimmed(line);
        for &byte in body {
            self.byte(byte)?;
        }
        if self.state != State::Quoted {
            return Ok(true);
        }
        self.cell().extend_from_slice(&line[body.len()..]);
        Ok(false)
    }

    fn byte(&mut self, byte: u8) -> Result<(), RecordFault> {
        let ends = byte == self.delimiter;
        self.state = match self.state {
            State::Start | State::Plain | State::Quote if ends => {
                if self.cells.len() == FIELDS_MAX {
                    return Err(RecordFault::Cells);
                }
                self.cells.push(Vec::new());
                State::Start
            }
            State::Start if byte == b'"' => State::Quoted,
            State::Start | State::Plain => {
                self.cell().push(byte);
                State::Plain
            }
            State::Quoted if byte == b'"' => State::Quote,
            State::Quoted => {
                self.cell().push(byte);
                State::Quoted
            }
            State::Quote if byte == b'"' => {
                self.cell().push(byte);
                State::Quoted
            }
            State::Quote => return Err(RecordFault::AfterQuote { cell: self.cells.len() }),
        };
        Ok(())
    }

    fn cell(&mut self) -> &mut Vec<u8> {
        self.cells.last_mut().expect("a row has one cell at least")
    }

    /// Returns the cells as text. The row was checked to be UTF-8, and cells end at ASCII characters.
    pub(super) fn finish(self) -> Result<Vec<String>, RecordFault> {
        if self.state == State::Quoted {
            return Err(RecordFault::OpenQuote { cell: self.cells.len() });
        }
        let text = |cell| String::from_utf8(cell).map_err(|_| RecordFault::NotUtf8 { byte: 1 });
        self.cells.into_iter().map(text).collect()
    }
}

/// Returns the kinds of a row's cells by column name. A cell that the schema wants as text is text.
pub(super) fn kinds(columns: &[String], cells: &[String], schema: Option<&Schema>) -> BTreeMap<String, FieldKind> {
    let wanted = |name: &String| {
        let fields = &schema?.fields;
        let at = fields.binary_search_by(|field| field.name.cmp(name)).ok()?;
        Some((fields[at].kind, fields[at].optional))
    };
    let kind = |(name, cell): (&String, &String)| {
        let found = match (cell_kind(cell), wanted(name)) {
            (FieldKind::Null, Some((FieldKind::Text, false))) => FieldKind::Text,
            (FieldKind::Null, _) => FieldKind::Null,
            (_, Some((FieldKind::Text, _))) => FieldKind::Text,
            (found, _) => found,
        };
        (name.clone(), found)
    };
    columns.iter().zip(cells).map(kind).collect()
}

/// Returns the kind that a cell looks like. `007` and `+1` are text: as numbers they would not be restored as written.
fn cell_kind(cell: &str) -> FieldKind {
    let digits = cell.strip_prefix('-').unwrap_or(cell);
    let plain = digits.starts_with(|c: char| c.is_ascii_digit())
        && (digits.len() == 1 || !digits.starts_with('0') || digits.starts_with("0."));
    match cell {
        "" => FieldKind::Null,
        "true" | "false" => FieldKind::Boolean,
        _ if plain && cell.parse::<i64>().is_ok() => FieldKind::Integer,
        _ if plain && cell.parse::<f64>().is_ok_and(f64::is_finite) => FieldKind::Number,
        _ => FieldKind::Text,
    }
}

/// Returns the column names from the first row, or what is wrong with them.
pub(super) fn columns(cells: Vec<String>) -> Result<Vec<String>, String> {
    let mut seen = std::collections::BTreeSet::new();
    for (at, name) in cells.iter().enumerate() {
        if name.is_empty() {
            return Err(format!("leaves column {} without a name", at + 1));
        }
        if !seen.insert(name) {
            return Err(format!("names `{name}` twice"));
        }
    }
    Ok(cells)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(text: &str) -> Result<Vec<String>, RecordFault> {
        let mut row = Row::new(b',');
        for line in text.split_inclusive('\n') {
            if row.feed(line.as_bytes())? {
                break;
            }
        }
        row.finish()
    }

    #[test]
    fn rows_are_split_as_rfc_4180_requires() {
        for (text, wanted) in [
            ("a,b,c\n", vec!["a", "b", "c"]),
            ("a,,\r\n", vec!["a", "", ""]),
            ("\"a,b\",\"c\"\"d\"\n", vec!["a,b", "c\"d"]),
            ("\"two\nlines\",x\n", vec!["two\nlines", "x"]),
            ("\"two\r\nlines\"", vec!["two\r\nlines"]),
            ("it's 5\" wide,x", vec!["it's 5\" wide", "x"]),
            ("\"\"", vec![""]),
        ] {
            assert_eq!(cells(text).expect(text), wanted, "{text}");
        }
        assert_eq!(cells("a,\"b"), Err(RecordFault::OpenQuote { cell: 2 }));
        assert_eq!(cells("\"a\"b,c"), Err(RecordFault::AfterQuote { cell: 1 }));
        assert_eq!(cells(&",".repeat(FIELDS_MAX)), Err(RecordFault::Cells));
    }

    #[test]
    fn a_number_that_would_not_be_restored_as_written_is_text() {
        for (cell, kind) in [
            ("12", FieldKind::Integer),
            ("-1", FieldKind::Integer),
            ("0", FieldKind::Integer),
            ("0.5", FieldKind::Number),
            ("1e9", FieldKind::Number),
            ("007", FieldKind::Text),
            ("+1", FieldKind::Text),
            ("inf", FieldKind::Text),
            ("NaN", FieldKind::Text),
            ("true", FieldKind::Boolean),
            ("", FieldKind::Null),
            ("99999999999999999999", FieldKind::Number),
        ] {
            assert_eq!(cell_kind(cell), kind, "{cell}");
        }
    }
}
