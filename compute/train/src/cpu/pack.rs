//! The rows of a pass: sequences one after the other, without padding.

/// The rows of one sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// First row.
    pub(crate) row: usize,
    /// Number of rows.
    pub(crate) rows: usize,
}

/// A row and the token that it should predict.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Target {
    pub(crate) row: u32,
    pub(crate) token: u32,
    /// Factor of its loss in the gradient.
    pub(crate) weight: f32,
}

/// The rows of a pass.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pack {
    pub(crate) tokens: Vec<u32>,
    pub(crate) spans: Vec<Span>,
    /// Index of each row's span.
    pub(crate) span_of: Vec<u32>,
    /// Targets, in the order of their rows.
    pub(crate) targets: Vec<Target>,
}

impl Pack {
    /// Appends a sequence. `targets` are positions and weights; the token to predict is the next one in `whole`, of
    /// which `tokens` is the beginning, since a last token needs no row.
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

    /// Returns the position of a row in its sequence.
    pub(crate) fn position(&self, row: usize) -> usize {
        row - self.spans[self.span_of[row] as usize].row
    }

    /// Returns the length of the longest sequence.
    pub(crate) fn longest(&self) -> usize {
        self.spans.iter().map(|span| span.rows).max().unwrap_or(0)
    }
}

fn number(row: usize) -> u32 {
    u32::try_from(row).expect("rows of a pass are bounded by its tokens")
}
