//! `openledger train`: fine-tunes a LoRA adapter in this process. Anybody can repeat the run and gets the same bits.
//!
//! With `--json`, progress goes to stderr as one object with an `event` per line. With `--rerun`, a step root that differs
//! from that of the run is exit code 7. Ctrl-C stops a run between two passes; the same command then resumes it from its
//! last checkpoint, as it does after a crash.

use std::path::PathBuf;

use anyhow::Context as _;
use base::events::Events;
use base::operator::dataset::{RecordPart, RecordsResponse, RootRequest};
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jobs::{
    JobError,
    training::{self, Datasets, Described, Replayed, Run, Source, Training},
};
use protocol::BlobHash;
use serde_json::Value;
use tokio::sync::OnceCell;
use train::{Event, Machine, RunControl};

use super::{Globals, exit::Exit, globals::wait, operator_client::OperatorClient, output};

/// Fine-tune a LoRA adapter on records, reproducibly
#[derive(Debug, Args)]
#[command(
    after_help = "Example: openledger train --base SmolLM2-135M --data facts.jsonl --seed 7 --out tone\n\n\
                        Each line of the data is an object with `prompt` and `completion`, `question` and `answer`, \
                        `messages`, or `text`, and optionally a `contributor`. The same command resumes a run that was \
                        stopped.\n\n\
                        JSON: {run, steps, loss, validation, root, adapter, dir}, or with --rerun {step, root, replayed, matches}"
)]
pub(crate) struct Train {
    /// Folder of the base model, or the name of a stored one
    #[arg(long, value_name = "DIR|NAME")]
    base: String,
    /// Files with one record per line, folders of such files, and roots of datasets in this home; their order is part of the run
    #[arg(long, required = true, num_args = 1.., value_name = "FILE|DIR|ROOT", value_parser = Source::parse)]
    data: Vec<Source>,
    /// Weight of each contributor, as {"name": number}; 1 for those not named, 0 leaves one out
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// Seed of the order of records and of the adapter's initial weights
    #[arg(long)]
    seed: Option<u64>,
    /// Folder for the adapter, checkpoints and step roots
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Training recipe (hyper-parameters) in TOML
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Repeat one step of a run, and print its root
    #[arg(long, value_name = "STEP", requires = "from")]
    rerun: Option<u64>,
    /// Checkpoint before that step
    #[arg(long, value_name = "FILE", requires = "rerun")]
    from: Option<PathBuf>,
    /// Steps between checkpoints
    #[arg(long, default_value_t = 50, value_name = "STEPS", value_parser = clap::value_parser!(u64).range(1..))]
    checkpoint_every: u64,
    /// Most checkpoints to keep [default: all]
    #[arg(long, value_name = "COUNT")]
    checkpoints_max: Option<usize>,
    /// Device: `cpu`, `cuda`, `cuda:N`, or `auto` for a GPU if there is one. Results of a GPU differ in their last bits from those of a processor
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Compute threads
    #[arg(long)]
    threads: Option<usize>,
    /// Share of the time to compute, in percent
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100))]
    share: u32,
    /// Share of the time to compute while `serve` of the same home answers requests, in percent; 0 pauses
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(0..=100))]
    share_beside: u32,
    /// Memory for activations kept from the forward to the backward pass, in MiB; the rest is recomputed
    #[arg(long, default_value_t = 1024, value_name = "MIB")]
    keep: usize,
}

impl Train {
    pub(crate) fn run(self, globals: &Globals) -> anyhow::Result<Exit> {
        let (again, share, beside) = (self.rerun.zip(self.from.clone()), self.share, self.share_beside);
        let datasets = OfHome {
            globals,
            client: OnceCell::new(),
        };
        let training = self.training()?;
        let mut run = wait(training.open(&globals.home(), &datasets, Events::default()))?;
        if let Some((step, from)) = again {
            let replayed = run.replay(step, &from)?;
            return Ok(show_replayed(globals, &replayed));
        }
        run.resume_last()?;
        let mut control = RunControl::default();
        run.pace(&control, share, beside);
        stop_on_signal(control.clone())?;
        train(globals, &mut run, &mut control)?;
        Ok(Exit::Done)
    }

    fn training(self) -> anyhow::Result<Training> {
        let usual = Machine::default();
        Ok(Training {
            recipe: training::recipe(self.config.as_deref(), self.seed)?,
            weights: training::weights(self.weights.as_deref())?,
            base: self.base,
            data: self.data,
            device: self.device,
            out: self.out,
            checkpoint_every: self.checkpoint_every,
            checkpoints_max: self.checkpoints_max,
            machine: Machine {
                threads: self.threads.unwrap_or(usual.threads),
                keep_bytes: self.keep << 20,
                ..usual
            },
        })
    }
}

fn train(globals: &Globals, run: &mut Run, control: &mut RunControl) -> anyhow::Result<()> {
    let bar = ProgressBar::with_draw_target(Some(run.steps()), ProgressDrawTarget::stderr());
    bar.set_style(style());
    let outcome = run.train(control, &mut |event| match globals.json {
        true => output::note(&serde_json::to_string(event).expect("what is shown is plain data")),
        false => draw(&bar, event),
    });
    bar.finish_and_clear();
    let outcome = outcome?;
    globals.show(&outcome, || {
        let mut rows = vec![
            ("Folder", outcome.dir.display().to_string()),
            ("Run", outcome.run.clone()),
            ("Device class", run.class().to_owned()),
            ("Steps", outcome.steps.to_string()),
            ("Loss", format!("{:.4}", outcome.loss)),
        ];
        rows.extend(outcome.validation.map(|loss| ("Validation", format!("{loss:.4}"))));
        rows.extend(outcome.adapter.clone().map(|hash| ("Adapter", hash)));
        rows.push(("Root", outcome.root.clone()));
        output::columns(&rows)
    });
    Ok(())
}

fn show_replayed(globals: &Globals, replayed: &Replayed) -> Exit {
    let Replayed {
        step, root, matches, ..
    } = replayed;
    globals.show(replayed, || match matches {
        Some(true) => format!("{root}\nis the root of step {step} of the run"),
        Some(false) => format!("{root}\nis not the root that the run gives for step {step}"),
        None => root.clone(),
    });
    match matches {
        Some(false) => Exit::Unverified,
        Some(true) | None => Exit::Done,
    }
}

/// The datasets of a home, read through its running node or from its stores. Opened once, at the first use, because only
/// one process at a time may open a store.
struct OfHome<'a> {
    globals: &'a Globals,
    client: OnceCell<OperatorClient>,
}

impl OfHome<'_> {
    async fn client(&self) -> anyhow::Result<&OperatorClient> {
        self.client.get_or_try_init(|| self.globals.operator_client()).await
    }
}

impl Datasets for OfHome<'_> {
    type Error = anyhow::Error;

    async fn describe(&self, root: BlobHash) -> anyhow::Result<Described> {
        let manifest: Value = self
            .client()
            .await?
            .request("/v1/data/show", &RootRequest { root })
            .await?;
        Ok(Described::of(root, &manifest)?)
    }

    async fn records(
        &self,
        root: BlobHash,
        take: &mut dyn FnMut(RecordPart) -> Result<(), JobError>,
    ) -> anyhow::Result<()> {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let each = |part: Value| {
            let part: RecordPart =
                serde_json::from_value(part).context("a record is malformed; restart the daemon with this version")?;
            bar.set_message(format!("{} records of {root:#}", part.position + 1));
            Ok(take(part)?)
        };
        let client = self.client().await?;
        let read: anyhow::Result<RecordsResponse> = client
            .parts("/v1/data/records", &RootRequest { root }, |_| (), each)
            .await;
        bar.finish_and_clear();
        read.map(drop)
    }
}

/// Stops the run on SIGINT or SIGTERM.
fn stop_on_signal(control: RunControl) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("could not listen for signals")?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let (interrupt, terminate) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
            if let (Ok(mut interrupt), Ok(mut terminate)) = (interrupt, terminate) {
                tokio::select! {
                    _ = interrupt.recv() => (),
                    _ = terminate.recv() => (),
                }
                control.stop();
            }
        });
    });
    Ok(())
}

fn style() -> ProgressStyle {
    let template = "{bar:30} {pos}/{len} {msg}";
    ProgressStyle::with_template(template).expect("the template is well formed")
}

fn draw(bar: &ProgressBar, event: &Event) {
    match event {
        Event::Begun { step, .. } => bar.set_position(*step),
        Event::Step {
            stepped,
            tokens_per_second,
            eta_seconds,
            resident_bytes,
        } => {
            let memory = resident_bytes.map_or_else(String::new, |bytes| format!(", {} MiB", bytes >> 20));
            let loss = stepped.loss;
            bar.set_message(format!(
                "loss {loss:.4}, {tokens_per_second:.0} tokens/s, {eta_seconds:.0} s left{memory}"
            ));
            bar.set_position(stepped.step);
        }
        Event::Validation { step, loss, perplexity } => bar.println(format!(
            "step {step}: validation loss {loss:.4}, perplexity {perplexity:.2}"
        )),
        Event::Checkpoint { .. } => (),
    }
}
