//! The interface between scheduling and computing: a scheduler fills a step with [`Span`]s, a model runs it.
//!
//! A step has no state but the pages of keys and values and the adapters in their slots. The scheduler owns both by
//! number: it decides which page holds what and when a slot is free. So the scheduler is tested without a model, and
//! a model without a scheduler.

use std::sync::Arc;

use crate::lora::Adapter;

/// One page of keys and values: [`Shape::page_tokens`] positions, in every layer at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageId(pub u32);

/// A place on the device for one loaded adapter, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AdapterSlot(pub u32);

/// One adapter in a request's mix, and how strongly it acts beside its own scale. A request may mix several.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mix {
    pub slot: AdapterSlot,
    /// Factor of the adapter's contribution; 1.0 is the adapter as it was trained.
    pub weight: f32,
}

/// The positions of a span whose logits are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// No position: a chunk of a prompt that continues in a later step.
    Nothing,
    /// The last position, from which the next token is sampled.
    Last,
    All,
}

/// Consecutive tokens of one sequence: a prompt, a chunk of one, or the token that was sampled last.
#[derive(Clone, Copy, Debug)]
pub struct Span<'a> {
    /// Tokens to run; at least one.
    pub tokens: &'a [u32],
    /// Position of the first token in its sequence.
    pub start: u32,
    /// Pages of positions `0 .. start + tokens.len()`, in order. Those before `start` must be filled already.
    pub pages: &'a [PageId],
    /// Adapters that act on these tokens; empty for the base model.
    pub adapters: &'a [Mix],
    pub wanted: Wanted,
    /// True if the bits must not depend on threads, on the rest of the batch, or on the processor.
    pub verified: bool,
}

/// The fixed sizes of a model on its device, as a scheduler needs them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Number of tokens in the vocabulary; each row of logits has this length.
    pub vocabulary: usize,
    /// Most positions in a sequence.
    pub context_tokens_max: usize,
    /// Number of positions in a page.
    pub page_tokens: usize,
    pub pages: u32,
    /// Number of slots for adapters.
    pub slots: u32,
}

/// A model on one device, with its pages and its adapter slots.
///
/// The engine's scheduler is the caller in production. Implementations check every span and return an error rather
/// than a wrong row; they never decide which page or slot to use.
///
/// ```
/// use compute::{
///     decoder::CpuOptions,
///     forward::{Forward, PageId, Span, Wanted},
///     model::{Config, Dimensions, Model},
/// };
///
/// let dimensions = Dimensions {
///     vocabulary: 64, hidden: 16, intermediate: 32, layers: 2, heads: 2, kv_heads: 1, context_tokens_max: 32, tied: true,
/// };
/// let model = Model::untrained(&Config::llama(dimensions, 0).unwrap(), 7);
/// let mut decoder = model.on_cpu(CpuOptions { pages: 2, ..CpuOptions::default() }).unwrap();
/// let prompt = Span {
///     tokens: &[1, 2, 3], start: 0, pages: &[PageId(0)], adapters: &[], wanted: Wanted::Last, verified: true,
/// };
/// let mut logits = Vec::new();
/// decoder.step(&[prompt], &mut logits).unwrap();
/// assert_eq!(logits.len(), decoder.shape().vocabulary);
/// ```
pub trait Forward: Send {
    /// Returns the sizes that spans are checked against.
    fn shape(&self) -> Shape;

    /// True if the device computes [`Span::verified`] work; a step with such a span fails on one that does not.
    fn verifies(&self) -> bool {
        true
    }

    /// Puts an adapter into a slot and replaces what was there. Fails if it was trained for another shape.
    fn load(&mut self, slot: AdapterSlot, adapter: &Arc<Adapter>) -> Result<(), StepError>;

    /// Empties a slot. An empty slot may be emptied again.
    fn unload(&mut self, slot: AdapterSlot);

    /// Copies the first `tokens` positions of a page, for a sequence that leaves a shared prefix inside a page.
    fn copy_page(&mut self, from: PageId, to: PageId, tokens: usize) -> Result<(), StepError>;

    /// Runs the spans as one batch.
    ///
    /// `logits` is cleared and filled with one row for each wanted position, in the order of the spans.
    fn step(&mut self, spans: &[Span<'_>], logits: &mut Vec<f32>) -> Result<(), StepError>;
}

/// Failure of a step. The pages that it wrote hold nothing that may be relied on.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The device failed and must be set up again, or the batch was malformed.
    #[error("the device failed: {0}")]
    Device(String),
    /// The model's files changed while they were mapped, so the results are not the model's.
    #[error("{0}")]
    Changed(String),
    /// The adapter was trained for a base model of another shape.
    #[error("adapter {adapter} does not fit the base model: {why}")]
    Misfit { adapter: String, why: String },
}
