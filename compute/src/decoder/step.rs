//! One batch, flattened: rows of tokens, whose they are, and which adapters act on which.

use std::collections::BTreeMap;

use crate::{
    forward::{Shape, Span, StepError, Wanted},
    lora::AdapterHash,
};

/// The rows of a step.
#[derive(Clone, Debug, Default)]
pub struct Step {
    /// A token for each row.
    pub tokens: Vec<u32>,
    /// Its position.
    pub positions: Vec<u32>,
    /// Its place among all keys and values: page and position inside.
    pub kv_slots: Vec<(u32, u32)>,
    /// The sequences.
    pub spans: Vec<SpanRows>,
    /// The adapters.
    pub groups: Vec<Group>,
    /// Rows whose logits are wanted, in order.
    pub wanted: Vec<u32>,
}

/// Consecutive rows of one sequence.
#[derive(Clone, Debug)]
pub struct SpanRows {
    /// The first.
    pub row: usize,
    /// How many.
    pub rows: usize,
    /// The position of the first.
    pub position: usize,
    /// The sequence's pages.
    pub pages: Vec<u32>,
}

/// The rows that one adapter acts on.
#[derive(Clone, Debug)]
pub struct Group {
    /// Where it sits.
    pub slot: u32,
    /// Its rows, ascending.
    pub rows: Vec<u32>,
    /// How much of it each row wants.
    pub weights: Vec<f32>,
}

/// What is wrong with a batch: a fault of the scheduler, told rather than computed.
fn misuse<T>(what: String) -> Result<T, StepError> {
    Err(StepError::Device(what))
}

impl Step {
    /// Checks the spans and flattens them. `loaded` tells who sits in a slot.
    pub fn of(
        spans: &[Span<'_>],
        shape: &Shape,
        loaded: impl Fn(u32) -> Option<AdapterHash>,
    ) -> Result<Self, StepError> {
        let mut step = Self::default();
        // By content and not by slot: the order in which a row meets its adapters must not depend on where they sit.
        let mut groups: BTreeMap<(AdapterHash, usize), Group> = BTreeMap::new();
        for span in spans {
            let row = step.tokens.len();
            step.add(span, shape)?;
            let mut met = BTreeMap::new();
            for mix in span.adapters {
                let Some(hash) = loaded(mix.slot.0) else {
                    return misuse(format!("slot {} is empty", mix.slot.0));
                };
                // An adapter may be in a mix twice; each time is a group of its own.
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
        // Threads write keys and values side by side.
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
