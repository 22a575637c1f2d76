//! Evaluation on records that were not trained on: losses, and greedy answers compared with those expected.

use std::sync::Arc;

use compute::{
    decoder::CpuOptions,
    forward::{AdapterSlot, Forward, Mix, PageId, Span, StepError, Wanted},
    kernel::weight::Weight,
    lora::Adapter,
    model::{Config, Model, Text},
};
use serde::Serialize;

use super::{
    cpu::{LoraBlocks, Network, NetworkOptions, gradient_slots::GradientSlots, parallel_ops::LoraFactors},
    data::Corpus,
    error::TrainError,
    plan::{Share, passes},
    recipe::{Machine, Recipe},
    record::EvalPrompt,
    score::{Score, score},
};

/// Questions answered in one batch.
const TOGETHER: usize = 16;

const PAGE_TOKENS: usize = 16;

/// Losses over a corpus.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    /// Mean loss of the tokens that count.
    pub loss: f64,
    /// Exponential of the loss.
    pub perplexity: f64,
    /// Number of tokens that count.
    pub tokens: u64,
    /// Mean loss of each record.
    pub records: Vec<f64>,
}

/// An answer and the one expected.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EvalAnswer {
    /// Text of the model's answer.
    pub said: String,
    pub expected: String,
    #[serde(flatten)]
    pub score: Score,
}

/// Computes the losses of a base, with an adapter if given, over a corpus.
pub fn evaluate(
    model: &Model,
    adapter: Option<&Adapter>,
    corpus: &Corpus,
    recipe: &Recipe,
    machine: Machine,
) -> Result<Evaluation, TrainError> {
    let options = NetworkOptions {
        threads: machine.threads,
        level: machine.level,
        keep_bytes: 0,
    };
    let mut net = Network::frozen(model, recipe.quantise(), GradientSlots::none(model.config()), options)?;
    net.bind(
        None,
        adapter.map_or_else(LoraBlocks::new, |adapter| lora(adapter, model.config())),
    );
    let count = u32::try_from(corpus.examples.len()).expect("records are counted in 32 bits");
    let shares: Vec<Share> = (0..count).map(|example| Share { example, weight: 1.0 }).collect();
    let mut losses = Vec::new();
    for pass in passes(corpus, &shares, machine.pass_tokens) {
        losses.extend(net.losses(&pass));
    }
    let (mut rest, mut records) = (losses.as_slice(), Vec::new());
    for example in &corpus.examples {
        let (own, others) = rest.split_at(example.counted());
        records.push(own.iter().sum::<f64>() / own.len() as f64);
        rest = others;
    }
    let loss = losses.iter().sum::<f64>() / losses.len().max(1) as f64;
    Ok(Evaluation {
        loss,
        perplexity: loss.exp(),
        tokens: losses.len() as u64,
        records,
    })
}

/// Takes the factors of an adapter for each block of the model.
fn lora(adapter: &Adapter, config: &Config) -> LoraBlocks {
    let mut lora: LoraBlocks = (0..config.layers).map(|_| Default::default()).collect();
    for (site, low) in adapter.sites() {
        if let Some(layer) = lora.get_mut(site.layer as usize) {
            layer[site.projection as usize] = Some(LoraFactors {
                a: Weight::stored(&low.a),
                b: Weight::stored(&low.b),
                scale: low.scale,
            });
        }
    }
    lora
}

/// Answers questions by the likeliest token each time, with at most `tokens_max` tokens each.
pub fn answers(
    model: &Model,
    adapter: Option<&Arc<Adapter>>,
    text: &Text,
    asked: &[EvalPrompt],
    tokens_max: usize,
    machine: Machine,
) -> Result<Vec<EvalAnswer>, TrainError> {
    let longest = asked.iter().map(|asked| asked.prompt.len()).max().unwrap_or(0) + tokens_max;
    let each = u32::try_from(longest.div_ceil(PAGE_TOKENS)).expect("prompts are bounded by a context");
    let mut decoder = model.on_cpu(CpuOptions {
        threads: machine.threads,
        level: machine.level,
        page_tokens: PAGE_TOKENS,
        pages: each * u32::try_from(TOGETHER).expect("few"),
        slots: 1,
        ..CpuOptions::default()
    })?;
    if let Some(adapter) = adapter {
        decoder.load(AdapterSlot(0), adapter)?;
    }
    let mixes: Vec<Mix> = adapter
        .iter()
        .map(|_| Mix {
            slot: AdapterSlot(0),
            weight: 1.0,
        })
        .collect();
    let mut answered = Vec::new();
    for asked in asked.chunks(TOGETHER) {
        let said = greedy(
            &mut decoder,
            &mixes,
            asked,
            each,
            tokens_max,
            &text.generation.end_tokens,
        )?;
        for (asked, said) in asked.iter().zip(said) {
            let said = text.tokenizer.decode(&said, true);
            answered.push(EvalAnswer {
                score: score(&said, &asked.answer),
                said: said.trim().to_owned(),
                expected: asked.answer.trim().to_owned(),
            });
        }
    }
    Ok(answered)
}

fn greedy(
    decoder: &mut dyn Forward,
    mixes: &[Mix],
    asked: &[EvalPrompt],
    each: u32,
    tokens_max: usize,
    end: &[u32],
) -> Result<Vec<Vec<u32>>, StepError> {
    let vocabulary = decoder.shape().vocabulary;
    let mut texts: Vec<Vec<u32>> = asked.iter().map(|asked| asked.prompt.clone()).collect();
    let pages: Vec<Vec<PageId>> = (0..)
        .take(asked.len())
        .map(|i: u32| (i * each..(i + 1) * each).map(PageId).collect())
        .collect();
    let (mut done, mut over) = (vec![0; asked.len()], vec![false; asked.len()]);
    let mut logits = Vec::new();
    for _ in 0..tokens_max {
        let live: Vec<usize> = (0..asked.len()).filter(|i| !over[*i]).collect();
        if live.is_empty() {
            break;
        }
        let spans: Vec<Span<'_>> = live
            .iter()
            .map(|i| Span {
                tokens: &texts[*i][done[*i]..],
                start: u32::try_from(done[*i]).expect("bounded by the context"),
                pages: &pages[*i],
                adapters: mixes,
                wanted: Wanted::Last,
                verified: true,
            })
            .collect();
        decoder.step(&spans, &mut logits)?;
        for (i, row) in live.into_iter().zip(logits.chunks_exact(vocabulary)) {
            done[i] = texts[i].len();
            let best = (0..vocabulary)
                .rev()
                .max_by(|a, b| row[*a].total_cmp(&row[*b]))
                .unwrap_or(0);
            let token = u32::try_from(best).expect("a vocabulary is counted in 32 bits");
            if end.contains(&token) {
                over[i] = true;
            } else {
                texts[i].push(token);
            }
        }
    }
    Ok(texts
        .into_iter()
        .zip(asked)
        .map(|(text, asked)| text[asked.prompt.len()..].to_vec())
        .collect())
}
