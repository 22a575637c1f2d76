//! What is asked for, within which limits, and how it can end.

use std::{fmt, sync::Arc};

use bincode::{Decode, Encode};

use compute::{forward::Shape, lora::AdapterHash};

/// A request of this engine; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct RequestId(pub u64);

/// Whoever shares the engine fairly with others: an account, an API token.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tenant(pub Arc<str>);

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One generation of a registered adapter. Its content is known once it was fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AdapterKey(pub u64);

/// What is known of an adapter that was fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Its content.
    pub hash: AdapterHash,
    /// Its largest rank.
    pub rank: u32,
    /// What it takes on the device.
    pub bytes: u64,
}

/// A request.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    /// Its number.
    pub request: RequestId,
    /// For whom.
    pub tenant: Tenant,
    /// Adapters and their weights; none for the base model.
    pub adapters: Vec<(AdapterKey, f32)>,
    /// What to go on from.
    pub prompt: Vec<u32>,
    /// Longest answer. 0 computes the prompt alone.
    pub tokens_max: u32,
    /// The answer does not end by itself before it is so long.
    pub tokens_min: u32,
    /// Tokens that end the answer, beside those of the model.
    pub stop_tokens: Vec<u32>,
    /// The tokens of the model that end an answer do not.
    pub ignore_eos: bool,
    /// Logits of every prompt position are wanted; nothing is reused.
    pub score_prompt: bool,
    /// Bits must not depend on batch mates.
    pub verified: bool,
    /// Filled in by the scheduler: what may not come before the answer is long enough.
    pub barred: Vec<u32>,
}

/// Why a request is not served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Encode, Decode)]
pub enum Refusal {
    /// Nothing to go on from.
    #[error("the prompt has no tokens")]
    EmptyPrompt,
    /// Prompt and answer do not fit.
    #[error("the prompt has {tokens} tokens, at most {most} fit beside an answer")]
    PromptTooLong {
        /// What came.
        tokens: usize,
        /// What may come.
        most: usize,
    },
    /// Too many adapters at once.
    #[error("a request mixes at most {most} adapters")]
    TooManyAdapters {
        /// How many may be.
        most: usize,
    },
    /// Others wait already.
    #[error("{waiting} requests wait already; ask again in {retry_after_ms} ms")]
    Full {
        /// How many.
        waiting: usize,
        /// When it is worth asking again.
        retry_after_ms: u64,
    },
    /// It waited, and there was no room.
    #[error("no room within {waited_ms} ms; ask again later")]
    Waited {
        /// How long.
        waited_ms: u64,
    },
    /// An adapter cannot be used.
    #[error("the adapter cannot be used: {0}")]
    Adapter(String),
    /// The engine ends and takes nothing new.
    #[error("the engine is shutting down")]
    Draining,
}

/// How an answer ended.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Finish {
    /// By itself, or at a stop token or string.
    Stop,
    /// It is as long as it may be.
    Length,
    /// Nobody wants it any more.
    Cancelled,
    /// It cannot go on; why.
    Failed(String),
}

/// What a request took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt: usize,
    /// Those of them that were known already.
    pub cached: usize,
    /// Tokens of the answer, the one that ended it included.
    pub answer: usize,
}

/// Bounds on what runs and waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Limits {
    /// Tokens of a step.
    pub step_tokens: usize,
    /// Tokens of prompts in a step that also goes on with answers: more of them make everyone's next token later.
    pub step_prompt_tokens: usize,
    /// By how much of its time, in percent, prompts and the adapters they bring may lengthen a step that goes on with
    /// answers. When that is too little for three seconds, it is load and no storm, and they may do more and more; those of
    /// a tenant that has more waiting, beside others that have not, no more than its part. By as much may rows that such a
    /// tenant has beyond as many as others.
    pub step_stretch_percent: u32,
    /// Sequences that run at once.
    pub rows_max: usize,
    /// Rows that a tenant may have beyond its part of them, while others are there too. On a processor each makes a step
    /// longer for everyone; where they cost little, as many as there are.
    pub rows_spare: usize,
    /// Distinct adapters of a step.
    pub step_adapters: usize,
    /// Sum over a step of tokens times rank.
    pub step_rank_tokens: u64,
    /// Adapters put into slots before a step: each makes everyone's next token later.
    pub step_loads: usize,
    /// Adapters that a request mixes.
    pub mix_max: usize,
    /// Bytes of adapters in slots.
    pub slot_bytes: u64,
    /// Adapters in memory, or on their way there, for requests that wait.
    pub fetched_max: usize,
    /// Requests that wait.
    pub waiting_max: usize,
    /// Requests of one tenant that wait.
    pub waiting_per_tenant_max: usize,
    /// How long a request waits before it first runs.
    pub waiting_ms_max: u64,
}

impl Default for Limits {
    /// For a processor; a larger device takes longer steps with more rows.
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
    /// [`Self::step_stretch_percent`] as a share.
    #[allow(clippy::float_arithmetic, reason = "it is multiplied with times that were learnt")]
    pub(super) fn stretch(&self) -> f64 {
        f64::from(self.step_stretch_percent) / 100.0
    }

    /// # Panics
    ///
    /// Where nothing could ever run.
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
