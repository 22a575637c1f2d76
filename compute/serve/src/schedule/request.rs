//! The types of a request as the scheduler sees it, its limits, and the ways it can end.

use std::{fmt, sync::Arc};

use bincode::{Decode, Encode};

use compute::{forward::Shape, lora::AdapterHash};

/// Number of a request in one engine; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct RequestId(pub u64);

/// An account or API token; the tenants of an engine share it fairly.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tenant(pub Arc<str>);

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One generation of a registered adapter. Two keys may turn out to have the same content once both are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AdapterKey(pub u64);

/// AdapterInfo about an adapter that is in host memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdapterInfo {
    pub hash: AdapterHash,
    /// The largest rank of its layers.
    pub rank: u32,
    /// Bytes it takes on the device.
    pub bytes: u64,
}

/// A request with names resolved and text tokenised, as [`crate::engine::Engine::submit`] makes it.
#[derive(Clone, Debug, PartialEq)]
pub struct ScheduleRequest {
    pub id: RequestId,
    pub tenant: Tenant,
    /// Adapters with their weights; empty for the base model.
    pub adapters: Vec<(AdapterKey, f32)>,
    pub prompt: Vec<u32>,
    /// Most tokens of the completion. 0 computes the prompt alone.
    pub tokens_max: u32,
    /// The completion does not end by itself before it has this many tokens.
    pub tokens_min: u32,
    /// Tokens that end the completion, besides those of the model.
    pub stop_tokens: Vec<u32>,
    /// True if the model's end tokens do not end the completion.
    pub ignore_eos: bool,
    /// True if logits of every prompt position are needed; the prefix cache is not used then.
    pub score_prompt: bool,
    /// True if the bits of the result must not depend on what else is in the batch.
    pub verified: bool,
    /// Tokens forbidden until the completion has `tokens_min` tokens. The scheduler fills it in.
    pub barred: Vec<u32>,
}

impl ScheduleRequest {
    /// A request to the base model without stop tokens or a length limit.
    pub fn new(id: RequestId, tenant: Tenant, prompt: Vec<u32>) -> Self {
        Self {
            id,
            tenant,
            adapters: Vec::new(),
            prompt,
            tokens_max: u32::MAX,
            tokens_min: 0,
            stop_tokens: Vec::new(),
            ignore_eos: false,
            score_prompt: false,
            verified: false,
            barred: Vec::new(),
        }
    }
}

/// Reason why the scheduler does not serve a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Encode, Decode)]
pub enum Refusal {
    #[error("the prompt has no tokens")]
    EmptyPrompt,
    #[error("the prompt has {tokens} tokens, at most {most} fit beside an answer")]
    PromptTooLong { tokens: usize, most: usize },
    #[error("a request mixes at most {most} adapters")]
    TooManyAdapters { most: usize },
    /// The waiting queue, or the tenant's part of it, is full.
    #[error("{waiting} requests wait already; ask again in {retry_after_ms} ms")]
    Full { waiting: usize, retry_after_ms: u64 },
    /// The request waited for its first step until [`Limits::waiting_ms_max`].
    #[error("no room within {waited_ms} ms; ask again later")]
    Waited { waited_ms: u64 },
    #[error("the adapter cannot be used: {0}")]
    Adapter(String),
    #[error("the engine is shutting down")]
    Draining,
}

/// The way a completion ended.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Finish {
    /// At an end token or a stop string.
    Stop,
    /// At its length limit, or the end of the context.
    Length,
    /// The client went away.
    Cancelled,
    /// It could not go on, and why.
    Failed(String),
}

/// Token counts of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Usage {
    pub prompt: usize,
    /// Prompt tokens found in the prefix cache.
    pub cached: usize,
    /// Tokens of the completion, an end token included.
    pub completion: usize,
}

/// Bounds on what runs and waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Limits {
    /// Most tokens in a step.
    pub step_tokens: usize,
    /// Most prompt tokens in a step that also decodes: more of them delay everyone's next token.
    pub step_prompt_tokens: usize,
    /// By how many percent of its time prompts, and the adapters they bring, may lengthen a step that also decodes. If that
    /// is too little for three seconds, it is sustained load and not a burst, and the allowance grows. A tenant with a
    /// backlog gets no more than its part of it beside tenants without one. Extra rows of such a tenant are bounded likewise.
    pub step_stretch_percent: u32,
    /// Most sequences that run at once.
    pub rows_max: usize,
    /// Rows that a tenant may have beyond its equal part while others are active. On a processor each row lengthens a step for
    /// everyone; where rows are cheap, set it to the number of rows.
    pub rows_spare: usize,
    /// Most distinct adapters in a step.
    pub step_adapters: usize,
    /// Most of the sum over a step of tokens times rank.
    pub step_rank_tokens: u64,
    /// Most adapters loaded into slots before a step: each delays everyone's next token.
    pub step_loads: usize,
    /// Most adapters in the mix of a request.
    pub mix_max: usize,
    /// Most bytes of adapters in slots.
    pub slot_bytes: u64,
    /// Most adapters held in host memory, or being loaded, for waiting requests.
    pub fetched_max: usize,
    /// Most waiting requests; a further one is refused.
    pub waiting_max: usize,
    /// Most waiting requests of one tenant; a further one is refused.
    pub waiting_per_tenant_max: usize,
    /// Longest wait for the first step, in milliseconds; then the request is refused.
    pub waiting_ms_max: u64,
}

impl Default for Limits {
    /// Values for a processor. A larger device takes longer steps with more rows.
    fn default() -> Self {
        Self {
            step_tokens: 96,
            step_prompt_tokens: 64,
            step_stretch_percent: 15,
            rows_max: 32,
            rows_spare: 0,
            step_adapters: 32,
            step_rank_tokens: 256 * 64,
            step_loads: 4,
            mix_max: 8,
            slot_bytes: 512 << 20,
            fetched_max: 32,
            waiting_max: 4096,
            waiting_per_tenant_max: 1024,
            waiting_ms_max: 120_000,
        }
    }
}

impl Limits {
    /// [`Self::step_stretch_percent`] as a fraction.
    #[allow(clippy::float_arithmetic, reason = "it is multiplied with times that were learnt")]
    pub(super) fn stretch(&self) -> f64 {
        f64::from(self.step_stretch_percent) / 100.0
    }

    /// # Panics
    ///
    /// Panics if no request could ever run within these limits.
    pub(super) fn check(&self, shape: &Shape) {
        assert!(self.step_tokens > 0 && self.step_prompt_tokens > 0 && self.rows_max > 0);
        assert!(self.step_adapters > 0 && self.step_loads > 0 && self.fetched_max > 0);
        assert!(
            self.mix_max
                <= self
                    .step_adapters
                    .min(self.fetched_max)
                    .min(self.step_loads.max(shape.slots as usize)),
            "a request's adapters fit together"
        );
    }
}
