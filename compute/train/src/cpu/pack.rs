//! Sequences laid one behind the other: rows of one pass, without padding.

/// A sequence's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// The first.
    pub(crate) row: usize,
    /// How many.
    pub(crate) rows: usize,
}

/// A row from which a token is to be foretold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Target {
    pub(crate) row: u32,
    pub(crate) token: u32,
    /// What its loss counts in the gradient.
    pub(crate) weight: f32,
}

/// The rows of a pass.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pack {
    pub(crate) tokens: Vec<u32>,
    pub(crate) spans: Vec<Span>,
    /// The span of each row.
    pub(crate) span_of: Vec<u32>,
    /// In the order of rows.
    pub(crate) targets: Vec<Target>,
}

impl Pack {
    /// Puts a sequence behind the others. Of its targets each is a position and the weight of what follows it in `whole`,
    /// of which `tokens` is the beginning: a last token needs no row.
    pub(crate) fn push(&mut self, tokens: &[u32], whole: &[u32], targets: impl IntoIterator<Item = (usize, f32)>) {
        let (row, span) = (self.tokens.len(), number(self.spans.len()));
        self.tokens.extend_from_slice(tokens);
        self.span_of.resize(self.tokens.len(), span);
        self.spans.push(Span {
            row,
            rows: tokens.len(),
        });
        self.targets
            .extend(targets.into_iter().map(|(position, weight)| Target {
                row: number(row + position),
                token: whole[position + 1],
                weight,
            }));
    }

    pub(crate) fn rows(&self) -> usize {
        self.tokens.len()
    }

    /// The position of a row in its sequence.
    pub(crate) fn position(&self, row: usize) -> usize {
        row - self.spans[self.span_of[row] as usize].row
    }

    /// The longest sequence.
    pub(crate) fn longest(&self) -> usize {
        self.spans.iter().map(|span| span.rows).max().unwrap_or(0)
    }
}

fn number(row: usize) -> u32 {
    u32::try_from(row).expect("rows of a pass are bounded by its tokens")
}
