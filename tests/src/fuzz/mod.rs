//! Every decoder of bytes from outside, fed with anything: `tests/fuzz` drives these with a coverage-guided fuzzer,
//! `tests/decoders.rs` with mutations of valid input from a seed.
//!
//! A target returns, or it has found a bug. Where it decodes something that others name or sign, it also demands that the
//! bytes are the only encoding of what they mean: two encodings of one value are two names for it.
//! Left out: a whole JSON-RPC request, which takes a node; `chain::rpc` sends those to one.

mod bodies;
mod data;
mod model;
pub mod mutate;
pub mod samples;

/// A decoder to be fuzzed.
pub struct Target {
    /// Also the name of its cargo-fuzz target.
    pub name: &'static str,
    /// Decodes; panics if it finds a bug.
    pub run: fn(&[u8]),
    /// Valid inputs to start from.
    pub samples: fn() -> Vec<Vec<u8>>,
}

/// All decoders of bytes from outside.
pub const TARGETS: [Target; 30] = [
    target("gossip", bodies::gossip, samples::gossip),
    target("direct", bodies::direct, samples::direct),
    target("ask", bodies::ask, samples::ask),
    target("answer", bodies::answer, samples::answer),
    target("entry", bodies::entry, samples::entry),
    target("block", bodies::block, samples::block),
    target("foreign_chain", bodies::foreign_chain, samples::block),
    target("transaction", bodies::transaction, samples::transaction),
    target("trie_node", bodies::trie_node, samples::trie_node),
    target("call", bodies::call, samples::call),
    target("config", bodies::config, samples::config),
    target("genesis", bodies::genesis, samples::genesis),
    target("light_proof", bodies::light_proof, samples::light_proof),
    target("wal", bodies::wal, samples::wal),
    target("block_log", bodies::block_log, samples::block_log),
    target("record_log", bodies::record_log, samples::record_log),
    target("announcement", data::announcement, data::announcements),
    target("datanet_talk", data::datanet_talk, data::datanet_samples),
    target("pin_talk", data::pin_talk, data::pin_samples),
    target("sealed", data::sealed, data::sealed_samples),
    target("manifest", data::manifest, data::manifest_samples),
    target("import_file", data::import_file, data::import_samples),
    target("tensor_header", model::tensor_header, model::tensor_headers),
    target("adapter", model::adapter, model::adapters),
    target("adapter_config", model::adapter_config, model::adapter_configs),
    target("model_config", model::model_config, model::model_configs),
    target("generation_config", model::generation_config, model::generation_configs),
    target("tokenizer", model::tokenizer, model::tokenizers),
    target("chat_template", model::chat_template, model::chat_templates),
    target("engine_frames", model::engine_frames, model::engine_samples),
];

const fn target(name: &'static str, run: fn(&[u8]), samples: fn() -> Vec<Vec<u8>>) -> Target {
    Target { name, run, samples }
}

/// Runs the target of that name, which is one of [`TARGETS`].
pub fn run(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.expect("a fuzz target is named as its file").run)(bytes);
}
