//! `openledger serve`: one base model and any number of adapters over it, for programs that speak the OpenAI API. It needs
//! no chain, and runs until SIGINT or SIGTERM. `--json` prints one object when it takes requests: `{"url", "model",
//! "hash", "context_tokens", "adapters", "refused": [{"name", "why"}], "token_file", "warnings"}`;
//! `token_file` is null with `--no-auth`.

use std::{net::SocketAddr, path::PathBuf};

use anyhow::Context as _;
use base::{busy::Busy, events::Events};
use clap::Args;
use config::Size;
use gateway::openai::{Served, Settings};
use jobs::serving::{self, Serving};
use serde_json::{Value, json};

use super::{
    Place,
    exit::{Exit, ended},
    output,
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
    #[arg(long, value_name = "DIR")]
    model: String,
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
        if self.no_auth && !self.listen.ip().is_loopback() {
            let text = "--no-auth answers everyone, and --listen is not for this machine alone; leave one of them out";
            return Err(ended(Exit::Usage, text).into());
        }
        let log = match place.home().config().exists() {
            true => place.config()?.config.log,
            false => config::Log::default(),
        };
        telemetry::start(&log).map_err(|why| ended(Exit::Usage, why.to_string()))?;
        let token = match self.no_auth {
            true => None,
            false => {
                let file = self.token_file.clone().unwrap_or_else(|| place.home().serve_token());
                Some((serving::token(&file)?, file))
            }
        };
        let settings = self.settings(place, token.as_ref().map(|(token, _)| token.clone()))?;
        let (name, base) = (settings.engine.name.clone(), settings.engine.base.hash);
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime =
            runtime.context("could not start threads for requests; raise the limit on threads (ulimit -u)")?;
        runtime.block_on(async {
            let served = Served::start(settings).await?;
            let ready = &served.ready;
            let answer = json!({
                "url": format!("http://{}/v1", served.address),
                "model": name,
                "hash": base,
                "context_tokens": ready.context_tokens_max,
                "adapters": ready.adapters,
                "refused": ready.refused.iter().map(|(name, why)| json!({ "name": name, "why": why })).collect::<Value>(),
                "token_file": token.as_ref().map(|(_, file)| file),
                "warnings": serving::warnings(ready),
            });
            place.show(&answer, || told(&answer));
            node::interrupted().await;
            served.stop().await;
            anyhow::Ok(())
        })?;
        Ok(Exit::Done)
    }

    fn settings(self, place: &Place, token: Option<String>) -> anyhow::Result<Settings> {
        let serving = Serving {
            model: self.model,
            adapters: self.adapters,
            name: self.name,
            device: self.device,
            threads: self.threads,
            quantise: self.quantize,
            memory_bytes_max: self.memory.map(|size| size.0),
            adapter_bytes_max: self.adapter_memory.0,
            rows_max: self.rows.map(|rows| rows as usize),
        };
        Ok(Settings {
            listen: self.listen,
            origins: self.allow_origin,
            token,
            events: Events::default(),
            engine: serving.prepare(&place.home())?,
            // Whoever trains in this home does without knowing, if the file cannot be made.
            busy: Busy::open(&place.home().busy()).ok(),
        })
    }
}

fn told(answer: &Value) -> String {
    let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
    let mut rows = vec![
        ("URL", text("url")),
        ("Model", text("model")),
        ("Hash", text("hash")),
        ("Context", format!("{} tokens", answer["context_tokens"])),
        ("Adapters", answer["adapters"].to_string()),
    ];
    let token = answer["token_file"].as_str();
    rows.push((
        "Token",
        token.map_or_else(|| "none is asked for".to_owned(), |file| format!("in {file}")),
    ));
    let refused = answer["refused"].as_array().into_iter().flatten();
    rows.extend(refused.map(|one| {
        let (name, why) = (one["name"].as_str(), one["why"].as_str());
        (
            "Refused",
            format!("{}: {}", name.unwrap_or_default(), why.unwrap_or_default()),
        )
    }));
    let warnings = answer["warnings"].as_array().into_iter().flatten();
    rows.extend(warnings.filter_map(|why| Some(("Warning", why.as_str()?.to_owned()))));
    output::columns(&rows)
}
