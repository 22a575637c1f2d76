//! `openledger serve`: one base model and any number of adapters over it, for programs that speak the OpenAI API. It needs
//! no chain, and runs until SIGINT or SIGTERM. `--json` prints one object when it takes requests: `{"url", "model",
//! "hash", "context_tokens", "adapters", "refused": [{"name", "why"}], "token_file", "warnings"}`;
//! `token_file` is null with `--no-auth`.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use base::{
    events::Events,
    operator::job::{ServeResponse, ServeRequest},
};
use clap::Args;
use config::Size;
use gateway::serving::{self, StartError};
use serde_json::{Value, json};

use super::{
    Place,
    exit::{Exit, ended},
    output,
    place::wait,
};
use crate::{node, telemetry};

/// Adapters are kept in memory up to this many bytes if nobody says otherwise.
const ADAPTER_MEMORY: &str = "1 GiB";

/// Serve a model and its adapters to programs that speak the OpenAI API
#[derive(Debug, Args)]
#[command(
    after_help = "Example: openledger serve --model SmolLM2-135M-Instruct --adapters adapters\n\n\
                  Each folder in the folder of adapters is one, as PEFT writes it, and is asked for by the name of its \
                  folder. Clients send the token that is in the token file."
)]
pub(crate) struct Serve {
    /// A model's folder, or one that `model ls` lists
    #[arg(long, value_name = "DIR", required_unless_present = "stop")]
    model: Option<String>,
    /// Have the running node of this home serve it, and return
    #[arg(long)]
    in_node: bool,
    /// End what the running node serves
    #[arg(long, conflicts_with_all = ["in_node", "model"])]
    stop: bool,
    /// The folder of adapters
    #[arg(long, value_name = "DIR")]
    adapters: Option<PathBuf>,
    /// Where to listen; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8000", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// The file with the token that clients send; it is made if it is not there
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Answer everyone on this machine
    #[arg(long, conflicts_with = "token_file")]
    no_auth: bool,
    /// What clients call the model; the name of its folder if not given
    #[arg(long)]
    name: Option<String>,
    /// Web pages that may ask, such as `https://chat.example`; may be repeated
    #[arg(long, value_name = "ORIGIN")]
    allow_origin: Vec<String>,
    /// What computes: cpu, cuda or cuda:N, or auto for the best there is
    #[arg(long, default_value = "auto")]
    device: String,
    /// Threads that compute; 0 takes all there are
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// How the weights are kept in memory
    #[arg(long, alias = "quantise", default_value = "none", value_parser = ["none", "int8", "int4"])]
    quantize: String,
    /// What the engine may take beside the model's file; what is over it ends it, and it starts again
    #[arg(long, value_name = "SIZE")]
    memory: Option<Size>,
    /// What adapters may take in memory
    #[arg(long, default_value = ADAPTER_MEMORY, value_name = "SIZE")]
    adapter_memory: Size,
    /// Answers that are worked on at once
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1024))]
    rows: Option<u32>,
}

impl Serve {
    pub(crate) fn run(self, place: &Place) -> anyhow::Result<Exit> {
        if self.stop {
            return stop(place);
        }
        let in_node = self.in_node;
        let ask = self.ask()?;
        if in_node {
            let answer: ServeResponse = wait(async { place.running()?.local().ask("/v1/serve/start", &ask).await })?;
            place.show(&answer, || told(&answer));
            return Ok(Exit::Done);
        }
        let log = match place.home().config().exists() {
            true => place.config()?.config.log,
            false => config::Log::default(),
        };
        telemetry::start(&log).map_err(|why| ended(Exit::Usage, why.to_string()))?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime =
            runtime.context("could not start threads for requests; raise the limit on threads (ulimit -u)")?;
        runtime.block_on(async {
            let started = serving::start(&place.home(), ask, Events::default()).await;
            let (served, answer) = started.map_err(failed_to_start)?;
            place.show(&answer, || told(&answer));
            node::interrupted().await;
            served.stop().await;
            anyhow::Ok(())
        })?;
        Ok(Exit::Done)
    }

    /// A node has a working folder of its own, so it is told whole paths.
    fn ask(self) -> anyhow::Result<ServeRequest> {
        let whole = |path: PathBuf| match path.is_dir() {
            true => path.canonicalize().unwrap_or(path),
            false => path,
        };
        let model = self.model.expect("clap asks for it where nothing is stopped");
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

fn stop(place: &Place) -> anyhow::Result<Exit> {
    let answer: Value = wait(async { place.running()?.local().ask("/v1/serve/stop", &json!({})).await })?;
    place.show(&answer, || match answer["stopped"]["model"].as_str() {
        Some(model) => format!("{model} is served no longer"),
        None => "the node serves nothing".to_owned(),
    });
    Ok(Exit::Done)
}

/// Keeps the exit code of a job that cannot be done.
fn failed_to_start(error: StartError) -> anyhow::Error {
    match error {
        StartError::Job(error) => error.into(),
        StartError::Serve(error) => error.into(),
    }
}

fn told(answer: &ServeResponse) -> String {
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
        token.map_or_else(
            || "none is asked for".to_owned(),
            |file| format!("in {}", file.display()),
        ),
    ));
    let refused = answer.refused.iter();
    rows.extend(refused.map(|one| ("Refused", format!("{}: {}", one.name, one.why))));
    rows.extend(answer.warnings.iter().map(|why| ("Warning", why.clone())));
    output::columns(&rows)
}
