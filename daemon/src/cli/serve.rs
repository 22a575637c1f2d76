//! `openledger serve`: serves a base model and its adapters over the OpenAI API, until SIGINT or SIGTERM. It needs no chain.
//!
//! Its addresses are printed once it accepts requests. With `--in-node` the running node of the home serves the model
//! instead, and the command returns.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use base::{
    events::Events,
    operator::job::{ServeRequest, ServeResponse},
};
use clap::Args;
use config::Size;
use gateway::serving::{self, StartError};
use serde_json::{Value, json};

use super::{
    Globals,
    exit::{Exit, ended},
    globals::wait,
    output,
};
use crate::{node, telemetry};

/// Default of `--adapter-memory`.
const ADAPTER_MEMORY: &str = "1 GiB";

/// Serve a base model and its adapters over the OpenAI API
#[derive(Debug, Args)]
#[command(
    after_help = "Example: openledger serve --model SmolLM2-135M-Instruct --adapters adapters\n\n\
                  Each folder inside --adapters is one adapter in PEFT's format; its name is the model name that clients \
                  request. Clients authenticate with the token in the token file.\n\n\
                  JSON: {url, model, hash, context_tokens, adapters, refused: [{name, why}], token_file, warnings}; token_file \
                  is null with --no-auth. With --stop: {stopped}"
)]
pub(crate) struct Serve {
    /// Folder of the base model, or the name of a stored one
    #[arg(long, value_name = "DIR", required_unless_present = "stop")]
    model: Option<String>,
    /// Let the running node of this home serve the model, and return
    #[arg(long)]
    in_node: bool,
    /// Stop serving in the running node
    #[arg(long, conflicts_with_all = ["in_node", "model"])]
    stop: bool,
    /// Folder that contains the adapters' folders
    #[arg(long, value_name = "DIR")]
    adapters: Option<PathBuf>,
    /// Address to listen on; port 0 picks a free port
    #[arg(long, default_value = "127.0.0.1:8000", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// File with the token that clients must send; created if it does not exist [default: keys/serve.token in the home]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Accept requests without a token
    #[arg(long, conflicts_with = "token_file")]
    no_auth: bool,
    /// Model name for clients [default: the name of its folder]
    #[arg(long)]
    name: Option<String>,
    /// Origin of web pages that may send requests, such as `https://chat.example`; may be repeated
    #[arg(long, value_name = "ORIGIN")]
    allow_origin: Vec<String>,
    /// Device: cpu, cuda, cuda:N, or auto for a GPU if there is one
    #[arg(long, default_value = "auto")]
    device: String,
    /// Compute threads; 0 uses all cores
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Quantise the weights in memory
    #[arg(long, alias = "quantise", default_value = "none", value_parser = ["none", "int8", "int4"])]
    quantize: String,
    /// Memory limit of the engine beside the model file; an engine that exceeds it is restarted
    #[arg(long, value_name = "SIZE")]
    memory: Option<Size>,
    /// Memory for adapters; beyond it the least recently used are unloaded
    #[arg(long, default_value = ADAPTER_MEMORY, value_name = "SIZE")]
    adapter_memory: Size,
    /// Most completions to generate at once
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1024))]
    rows: Option<u32>,
}

impl Serve {
    pub(crate) fn run(self, globals: &Globals) -> anyhow::Result<Exit> {
        if self.stop {
            return stop(globals);
        }
        let in_node = self.in_node;
        let ask = self.ask()?;
        if in_node {
            let answer: ServeResponse = wait(async {
                globals
                    .running()?
                    .operator_client()
                    .request("/v1/serve/start", &ask)
                    .await
            })?;
            globals.show(&answer, || describe(&answer));
            return Ok(Exit::Done);
        }
        let log = match globals.home().config().exists() {
            true => globals.config()?.config.log,
            false => config::Log::default(),
        };
        telemetry::start(&log).map_err(|why| ended(Exit::Usage, why.to_string()))?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime =
            runtime.context("could not start threads for requests; raise the limit on threads (ulimit -u)")?;
        runtime.block_on(async {
            let started = serving::start(&globals.home(), ask, Events::default()).await;
            let (served, answer) = started.map_err(failed_to_start)?;
            globals.show(&answer, || describe(&answer));
            node::interrupted().await;
            served.stop().await;
            anyhow::Ok(())
        })?;
        Ok(Exit::Done)
    }

    /// Builds the request, with absolute paths: the node resolves relative ones in its own working directory.
    fn ask(self) -> anyhow::Result<ServeRequest> {
        let whole = |path: PathBuf| match path.is_dir() {
            true => path.canonicalize().unwrap_or(path),
            false => path,
        };
        let model = self.model.expect("clap requires it without --stop");
        Ok(ServeRequest {
            model: match Path::new(&model).is_dir() {
                true => whole(PathBuf::from(&model)).display().to_string(),
                false => model,
            },
            adapters: self.adapters.map(whole),
            listen: self.listen,
            token_file: self.token_file.map(std::path::absolute).transpose()?,
            no_auth: self.no_auth,
            name: self.name,
            origins: self.allow_origin,
            device: self.device,
            threads: self.threads,
            quantize: self.quantize,
            memory_bytes_max: self.memory.map(|size| size.0),
            adapter_bytes_max: self.adapter_memory.0,
            rows_max: self.rows.map(|rows| rows as usize),
        })
    }
}

fn stop(globals: &Globals) -> anyhow::Result<Exit> {
    let answer: Value = wait(async {
        globals
            .running()?
            .operator_client()
            .request("/v1/serve/stop", &json!({}))
            .await
    })?;
    globals.show(&answer, || match answer["stopped"]["model"].as_str() {
        Some(model) => format!("stopped serving {model}"),
        None => "the node serves no model".to_owned(),
    });
    Ok(Exit::Done)
}

/// Keeps the error's own type, which decides the exit code.
fn failed_to_start(error: StartError) -> anyhow::Error {
    match error {
        StartError::Job(error) => error.into(),
        StartError::Serve(error) => error.into(),
    }
}

fn describe(answer: &ServeResponse) -> String {
    let mut rows = vec![
        ("URL", answer.url.clone()),
        ("Model", answer.model.clone()),
        ("Hash", answer.hash.clone()),
        ("Context", format!("{} tokens", answer.context_tokens)),
        ("Adapters", answer.adapters.to_string()),
    ];
    let token = answer.token_file.as_ref();
    rows.push((
        "Token",
        token.map_or_else(|| "not required".to_owned(), |file| format!("in {}", file.display())),
    ));
    let refused = answer.refused.iter();
    rows.extend(refused.map(|one| ("Refused", format!("{}: {}", one.name, one.why))));
    rows.extend(answer.warnings.iter().map(|why| ("Warning", why.clone())));
    output::columns(&rows)
}
