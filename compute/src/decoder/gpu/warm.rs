//! Warm-up: compiles every kernel that serving runs before the first request, so that no step waits for a compiler.
//! Batches of any size use the kernels of a few sizes; nothing is tuned by measuring.

use std::sync::Arc;

use cube::Machine;

use super::Gpu;
use crate::{
    decoder::Decoder,
    forward::{AdapterSlot, Forward, Mix, PageId, Span, StepError, Wanted},
    lora::Adapter,
    tensors::Dtype,
};

/// Batch sizes that together launch every kernel for single tokens.
const BATCHES: [u32; 7] = [1, 2, 4, 8, 16, 32, 64];
/// Tokens of a prompt that launches the kernels for many rows.
const PROMPT: [u32; 24] = [0; 24];

impl<M: Machine> Decoder<Gpu<M>> {
    /// Runs steps of every kind, on slot 0 and the first pages, which must not be in use yet.
    pub fn warm(&mut self) -> Result<(), StepError> {
        let shape = self.shape;
        let slot = AdapterSlot(0);
        let mix = [Mix { slot, weight: 1.0 }];
        let adapters: &[Mix] = if shape.slots == 0 { &[] } else { &mix };
        if shape.slots > 0 {
            let adapter = Adapter::random(&self.ops.config, 1, Dtype::F32, 0);
            self.load(slot, &Arc::new(adapter))?;
        }
        let (context, page) = (shape.context_tokens_max, shape.page_tokens);
        // Long enough that attention is split into parts, if the context allows it.
        let start = context.saturating_sub(1).min(1024);
        for rows in BATCHES.into_iter().filter(|rows| *rows <= shape.pages) {
            let pages: Vec<Vec<PageId>> = (0..rows)
                .map(|row| vec![PageId(row); (start + 1).div_ceil(page)])
                .collect();
            let span = |row: u32, start: usize, adapters| Span {
                tokens: &PROMPT[..1],
                start: u32::try_from(start).expect("a context is counted in 32 bits"),
                pages: &pages[row as usize],
                adapters,
                wanted: Wanted::Last,
                verified: false,
            };
            for (start, adapters) in [(start, adapters), (0, &[])] {
                let spans: Vec<Span<'_>> = (0..rows).map(|row| span(row, start, adapters)).collect();
                self.step(&spans, &mut Vec::new())?;
            }
        }
        let tokens = &PROMPT[..PROMPT.len().min(context)];
        let needed = u32::try_from(tokens.len().div_ceil(page)).expect("a prompt is short");
        if needed <= shape.pages {
            let pages: Vec<PageId> = (0..needed).map(PageId).collect();
            for adapters in [adapters, &[]] {
                let span = Span {
                    tokens,
                    start: 0,
                    pages: &pages,
                    adapters,
                    wanted: Wanted::Last,
                    verified: false,
                };
                self.step(&[span], &mut Vec::new())?;
            }
        }
        if shape.slots > 0 {
            self.unload(slot);
        }
        Ok(())
    }
}
