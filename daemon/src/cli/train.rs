//! `openledger train`: a LoRA run, in this process, that anybody can do again to the bit.
//!
//! `--json` prints how it came out (`{"run", "steps", "loss", "validation", "root", "adapter", "dir"}`), and what happens
//! meanwhile to stderr, an object with an `event` on each line. With `--rerun` it is
//! `{"step", "root", "replayed", "matches"}`; a root that differs from the run's own is exit code 7. Ctrl-C ends a run
//! between two passes. However it ended, the same command goes on from its last checkpoint.

use std::path::PathBuf;

use anyhow::Context as _;
use base::events::Events;
use base::operator::dataset::{RecordPart, RecordsAnswer, RootAsk};
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

use super::{Place, exit::Exit, local::Local, output, place::wait};

/// Fine-tune a model on records, so that others can recompute it
#[derive(Debug, Args)]
#[command(
    after_help = "Example: openledger train --base SmolLM2-135M --data facts.jsonl --seed 7 --out tone\n\n\
                        Each line of the data is an object with `prompt` and `completion`, `question` and `answer`, \
                        `messages`, or `text`, and perhaps a `contributor`. The same command goes on with a run that was \
                        ended early."
)]
pub(crate) struct Train {
    /// A model's folder, or the name of one that is kept
    #[arg(long, value_name = "DIR|NAME")]
    base: String,
    /// Files of records, one to a line, folders of them, and roots of datasets that are here; their order is part of the run
    #[arg(long, required = true, num_args = 1.., value_name = "FILE|DIR|ROOT", value_parser = Source::parse)]
    data: Vec<Source>,
    /// How much each contributor counts, as {"name": number}; 1 for those not named
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// Decides the order of records and what the adapter begins as
    #[arg(long)]
    seed: Option<u64>,
    /// Where everything goes
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Hyper-parameters, in TOML
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Do one step of a run again, and print its root
    #[arg(long, value_name = "STEP", requires = "from")]
    rerun: Option<u64>,
    /// The checkpoint before that step
    #[arg(long, value_name = "FILE", requires = "rerun")]
    from: Option<PathBuf>,
    /// Steps between checkpoints
    #[arg(long, default_value_t = 50, value_name = "STEPS", value_parser = clap::value_parser!(u64).range(1..))]
    checkpoint_every: u64,
    /// Checkpoints that are kept; all if not given
    #[arg(long, value_name = "COUNT")]
    checkpoints_max: Option<usize>,
    /// `cpu`, `cuda`, `cuda:N`, or `auto` for a GPU where there is one; each kind of GPU has other bits than processors
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Threads that compute
    #[arg(long)]
    threads: Option<usize>,
    /// How much of the time the run is busy, in percent
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100))]
    share: u32,
    /// How much of it while `serve` of the same home answers, in percent; 0 stands still
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(0..=100))]
    share_beside: u32,
    /// Memory for what is kept between the way forth and the way back, in MiB
    #[arg(long, default_value_t = 1024, value_name = "MIB")]
    keep: usize,
}

impl Train {
    pub(crate) fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let (again, share, beside) = (self.rerun.zip(self.from.clone()), self.share, self.share_beside);
        let datasets = OfHome {
            place,
            local: OnceCell::new(),
        };
        let training = self.training()?;
        let mut run = wait(training.open(&place.home(), &datasets, Events::default()))?;
        if let Some((step, from)) = again {
            let replayed = run.replay(step, &from)?;
            return Ok(show_replayed(place, &replayed));
        }
        run.resume_last()?;
        let mut switch = RunControl::default();
        run.pace(&switch, share, beside);
        stop_on_signal(switch.clone())?;
        train(place, &mut run, &mut switch)?;
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

fn train(place: &Place, run: &mut Run, switch: &mut RunControl) -> anyhow::Result<()> {
    let bar = ProgressBar::with_draw_target(Some(run.steps()), ProgressDrawTarget::stderr());
    bar.set_style(style());
    let outcome = run.train(switch, &mut |event| match place.json {
        true => output::note(&serde_json::to_string(event).expect("what is shown is plain data")),
        false => draw(&bar, event),
    });
    bar.finish_and_clear();
    let outcome = outcome?;
    place.show(&outcome, || {
        let mut rows = vec![
            ("Folder", outcome.dir.display().to_string()),
            ("Run", outcome.run.clone()),
            ("Bits of", run.class().to_owned()),
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

fn show_replayed(place: &Place, replayed: &Replayed) -> Exit {
    let Replayed {
        step, root, matches, ..
    } = replayed;
    place.show(replayed, || match matches {
        Some(true) => format!("{root}\nis the root of step {step} of the run"),
        Some(false) => format!("{root}\nis not the root that the run gives for step {step}"),
        None => root.clone(),
    });
    match matches {
        Some(false) => Exit::Unverified,
        Some(true) | None => Exit::Done,
    }
}

/// The datasets of a home, from the node that runs there or from its store. It is opened once, when it is first needed: a
/// store has one owner at a time.
struct OfHome<'a> {
    place: &'a Place,
    local: OnceCell<Local>,
}

impl OfHome<'_> {
    async fn local(&self) -> anyhow::Result<&Local> {
        self.local.get_or_try_init(|| self.place.local()).await
    }
}

impl Datasets for OfHome<'_> {
    type Error = anyhow::Error;

    async fn describe(&self, root: BlobHash) -> anyhow::Result<Described> {
        let manifest: Value = self.local().await?.ask("/v1/data/show", &RootAsk { root }).await?;
        Ok(Described::of(root, &manifest)?)
    }

    async fn records(
        &self,
        root: BlobHash,
        take: &mut dyn FnMut(RecordPart) -> Result<(), JobError>,
    ) -> anyhow::Result<()> {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let each = |part: Value| {
            let part: RecordPart = serde_json::from_value(part).context("a record came that is none")?;
            bar.set_message(format!("{} records of {root:#}", part.position + 1));
            Ok(take(part)?)
        };
        let local = self.local().await?;
        let read: anyhow::Result<RecordsAnswer> =
            local.parts("/v1/data/records", &RootAsk { root }, |_| (), each).await;
        bar.finish_and_clear();
        read.map(drop)
    }
}

/// Ends the run when the terminal or the system asks for it.
fn stop_on_signal(switch: RunControl) -> anyhow::Result<()> {
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
                switch.stop();
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
