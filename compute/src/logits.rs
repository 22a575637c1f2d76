//! One batch from files to logits, to compare this crate with another implementation position by position.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::{
    decoder::CpuOptions,
    forward::{AdapterSlot, Forward, Mix, PageId, Span, StepError, Wanted},
    lora::{Adapter, LoadError},
    model::{Model, ModelError},
};

/// Tokens to run, and the adapter to run them with.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Tokens; 1 up to the model's context.
    pub tokens: Vec<u32>,
    /// Folder of an adapter; `None` for the base model.
    pub adapter: Option<PathBuf>,
}

/// The logits of one request.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Answer {
    /// One row per token: the logits of the token after it.
    pub logits: Vec<Vec<f32>>,
}

/// Refusal or failure of a batch of requests.
#[derive(Debug, thiserror::Error)]
pub enum LogitsError {
    /// The base model was refused.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// An adapter was refused.
    #[error("request {request}: adapter {}", adapter.display())]
    Adapter {
        /// Index of the request, from 0.
        request: usize,
        adapter: PathBuf,
        #[source]
        source: LoadError,
    },
    /// A request has no tokens, too many, or one outside the vocabulary.
    #[error("request {request}: {why}")]
    Request {
        /// Index of the request, from 0.
        request: usize,
        why: String,
    },
    #[error(transparent)]
    Step(#[from] StepError),
}

/// Reads the model and the adapters, and runs all requests as one mixed batch, in the order given.
pub fn logits(model: &Path, requests: &[Request]) -> Result<Vec<Answer>, LogitsError> {
    let model = Model::read(model)?;
    let (vocabulary, context) = (model.config().vocabulary, model.config().context_tokens_max);
    for (index, request) in requests.iter().enumerate() {
        let refuse = |why| Err(LogitsError::Request { request: index, why });
        if request.tokens.is_empty() || request.tokens.len() > context {
            return refuse(format!(
                "has {} tokens; 1 to {context} are accepted",
                request.tokens.len()
            ));
        }
        if let Some(token) = request.tokens.iter().find(|token| **token as usize >= vocabulary) {
            return refuse(format!("token {token} is not below the vocabulary of {vocabulary}"));
        }
    }
    let adapters = load(requests)?;
    let page_tokens = CpuOptions::default().page_tokens;
    let pages: Vec<Vec<PageId>> = {
        let mut free = (0..).map(PageId);
        let count = |request: &Request| request.tokens.len().div_ceil(page_tokens);
        requests
            .iter()
            .map(|request| free.by_ref().take(count(request)).collect())
            .collect()
    };
    let count = |n: usize| u32::try_from(n).expect("bounded by the requests in memory");
    let mut decoder = model.on_cpu(CpuOptions {
        pages: count(pages.iter().map(Vec::len).sum()),
        slots: count(adapters.len()),
        ..CpuOptions::default()
    })?;
    for (slot, adapter) in adapters.values() {
        decoder.load(*slot, adapter)?;
    }
    let mixes: Vec<Vec<Mix>> = requests
        .iter()
        .map(|request| {
            request
                .adapter
                .iter()
                .map(|dir| Mix {
                    slot: adapters[dir.as_path()].0,
                    weight: 1.0,
                })
                .collect()
        })
        .collect();
    let spans: Vec<Span<'_>> = requests
        .iter()
        .zip(&pages)
        .zip(&mixes)
        .map(|((request, pages), adapters)| Span {
            tokens: &request.tokens,
            start: 0,
            pages,
            adapters,
            wanted: Wanted::All,
            verified: true,
        })
        .collect();
    let mut all = Vec::new();
    decoder.step(&spans, &mut all)?;
    let mut rows = all.chunks_exact(vocabulary).map(<[f32]>::to_vec);
    Ok(requests
        .iter()
        .map(|request| Answer {
            logits: rows.by_ref().take(request.tokens.len()).collect(),
        })
        .collect())
}

type Slots<'a> = BTreeMap<&'a Path, (AdapterSlot, Arc<Adapter>)>;

fn load(requests: &[Request]) -> Result<Slots<'_>, LogitsError> {
    let mut slots = Slots::new();
    for (request, dir) in requests
        .iter()
        .enumerate()
        .filter_map(|(i, request)| Some((i, request.adapter.as_ref()?)))
    {
        if slots.contains_key(dir.as_path()) {
            continue;
        }
        let adapter = Adapter::load(dir).map_err(|source| LogitsError::Adapter {
            request,
            adapter: dir.clone(),
            source,
        })?;
        let slot = AdapterSlot(u32::try_from(slots.len()).expect("bounded by the requests in memory"));
        slots.insert(dir, (slot, Arc::new(adapter)));
    }
    Ok(slots)
}
