//! One batch, checked and flattened: a row per token, the sequences they belong to, and the adapters that act on
//! them.

use std::collections::BTreeMap;

use crate::{
    forward::{Shape, Span, StepError, Wanted},
    lora::AdapterHash,
};

/// A flattened batch.
#[derive(Clone, Debug, Default)]
pub struct Step {
    /// Token of each row.
    pub tokens: Vec<u32>,
    /// Position of each row in its sequence.
    pub positions: Vec<u32>,
    /// Page, and position in it, where the key and value of each row are stored.
    pub kv_slots: Vec<(u32, u32)>,
    /// The sequences, in the order of their rows.
    pub spans: Vec<SpanRows>,
    /// The adapters, in the order in which they are added to a row.
    pub groups: Vec<Group>,
    /// Rows whose logits are wanted, ascending.
    pub wanted: Vec<u32>,
}

/// Consecutive rows of one sequence.
#[derive(Clone, Debug)]
pub struct SpanRows {
    /// First row.
    pub row: usize,
    /// Number of rows.
    pub rows: usize,
    /// Position of the first row.
    pub position: usize,
    /// Pages of the sequence, in order.
    pub pages: Vec<u32>,
}

/// The rows that one adapter acts on.
#[derive(Clone, Debug)]
pub struct Group {
    /// Slot of the adapter.
    pub slot: u32,
    /// Rows, ascending.
    pub rows: Vec<u32>,
    /// Weight of the adapter for each of the rows.
    pub weights: Vec<f32>,
}

/// Refuses a malformed batch, which is a bug of the scheduler.
fn misuse<T>(what: String) -> Result<T, StepError> {
    Err(StepError::Device(what))
}

impl Step {
    /// Checks the spans and flattens them. `loaded` returns the adapter in a slot.
    pub fn of(
        spans: &[Span<'_>],
        shape: &Shape,
        loaded: impl Fn(u32) -> Option<AdapterHash>,
    ) -> Result<Self, StepError> {
        let mut step = Self::default();
        // Ordered by content and not by slot: the order in which adapters are added to a row, and with it the row's
        // bits,
        // must not depend on the slots they are in.
        let mut groups: BTreeMap<(AdapterHash, usize), Group> = BTreeMap::new();
        for span in spans {
            let row = step.tokens.len();
            step.add(span, shape)?;
            let mut met = BTreeMap::new();
            for mix in span.adapters {
                let Some(hash) = loaded(mix.slot.0) else {
                    return misuse(format!("slot {} is empty", mix.slot.0));
                };
                // A mix may name an adapter twice; each occurrence is a group of its own.
                let time = met.entry(hash).and_modify(|time| *time += 1).or_insert(0usize);
                let group = groups.entry((hash, *time)).or_insert_with(|| Group {
                    slot: mix.slot.0,
                    rows: Vec::new(),
                    weights: Vec::new(),
                });
                for row in row..step.tokens.len() {
                    group.rows.push(row_number(row));
                    group.weights.push(mix.weight);
                }
            }
        }
        step.groups = groups.into_values().collect();
        // Two rows with one slot would be a data race: threads write keys and values of all rows at once.
        let mut kv_slots = step.kv_slots.clone();
        kv_slots.sort_unstable();
        match kv_slots.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => misuse(format!("two tokens for position {} of page {}", pair[0].1, pair[0].0)),
            None => Ok(step),
        }
    }

    fn add(&mut self, span: &Span<'_>, shape: &Shape) -> Result<(), StepError> {
        let (row, position) = (self.tokens.len(), span.start as usize);
        let end = position.saturating_add(span.tokens.len());
        if span.tokens.is_empty() || end > shape.context_tokens_max {
            return misuse(format!(
                "a span of positions {position}..{end} of {}",
                shape.context_tokens_max
            ));
        }
        if span.pages.len() * shape.page_tokens < end {
            return misuse(format!("{} pages for {end} positions", span.pages.len()));
        }
        let pages: Vec<u32> = span.pages.iter().map(|page| page.0).collect();
        if let Some(page) = pages.iter().find(|page| **page >= shape.pages) {
            return misuse(format!("page {page} of {}", shape.pages));
        }
        for (index, token) in span.tokens.iter().enumerate() {
            if *token as usize >= shape.vocabulary {
                return misuse(format!("token {token} of {}", shape.vocabulary));
            }
            let at = position + index;
            self.tokens.push(*token);
            self.positions.push(row_number(at));
            self.kv_slots
                .push((pages[at / shape.page_tokens], row_number(at % shape.page_tokens)));
        }
        let rows = row_number(row)..row_number(self.tokens.len());
        match span.wanted {
            Wanted::Nothing => (),
            Wanted::Last => self.wanted.extend(rows.last()),
            Wanted::All => self.wanted.extend(rows),
        }
        self.spans.push(SpanRows {
            row,
            rows: span.tokens.len(),
            position,
            pages,
        });
        Ok(())
    }
}

fn row_number(row: usize) -> u32 {
    u32::try_from(row).expect("rows and positions are bounded by the context")
}
