//! Work that this node offers, by its operator's word, and who else offers any.
//!
//! An offer lies in `data/work.json` until it is taken back, so a restart does not end it. While the node runs it is
//! announced with the base models that are here and with what computes, holds for ten minutes, and is announced again
//! before it runs out. It is a hint: nothing comes of it before a job is agreed on.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use compute::{device, model::Store};
use protocol::{
    Amount, BlobHash, NodeId, Time,
    crypto::Signed,
    message::announce::{Announcement, BASES_MAX, Device, Machine, PriceHint, Term, Work, Worker},
};
use serde::{Deserialize, Serialize};

use super::{Data, DataError};
use crate::{api::local::Kind, home::Home, words::chained};

/// How long an offer holds.
pub(super) const LIFE_MS: u64 = 10 * 60 * 1000;
/// How long one holds that only says that the last holds no longer.
const FAREWELL_MS: u64 = 1_000;
/// Workers that are remembered.
const REMEMBERED: usize = 4096;

/// What the operator offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferAsk {
    /// `train`, `infer` or `audit`, each at most once.
    pub kinds: BTreeSet<String>,
    /// For a million tokens of each kind that has a price, such as "0.5 OPEN".
    pub prices: BTreeMap<String, String>,
}

/// What this node offers, as it is announced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferAnswer {
    /// None if nothing is offered.
    pub offer: Option<OfferAsk>,
    /// Base models that are here, by their content.
    pub bases: Vec<BlobHash>,
    /// What computes, such as `cpu`.
    pub device: String,
    /// Threads of the processor.
    pub threads: u16,
    /// Memory in GiB, rounded down.
    pub memory_gib: u16,
}

/// A node that offers work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerLine {
    /// Who.
    pub node: NodeId,
    /// What kinds.
    pub kinds: Vec<String>,
    /// On which base models, by their content.
    pub bases: Vec<BlobHash>,
    /// For a million tokens, by kind.
    pub prices: BTreeMap<String, String>,
    /// What computes, such as `cpu`.
    pub device: String,
    /// Threads of its processor.
    pub threads: u16,
    /// Its memory in GiB, rounded down.
    pub memory_gib: u16,
    /// Until when it holds, in milliseconds since 1970.
    pub until_ms: u64,
}

/// Why work is not offered.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    /// What was asked for cannot be meant.
    #[error("`{field}`: {what}")]
    Ask {
        /// The argument.
        field: &'static str,
        /// What is wrong with it and what would be right.
        what: String,
    },
    /// The offer could not be remembered.
    #[error("could not read or write the offer in {}; correct or remove the file", path.display())]
    File {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The models that are here could not be listed.
    #[error(transparent)]
    Models(#[from] compute::model::StoreError),
}

impl WorkError {
    /// What kind of failure it is.
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Ask { .. } => Kind::Usage,
            Self::File { .. } | Self::Models(_) => Kind::Failed,
        }
    }
}

/// The operator's word, on disk and in memory.
pub(super) struct Offer {
    path: PathBuf,
    now: Mutex<Option<OfferAsk>>,
}

impl Offer {
    /// What was last offered in a home.
    pub(super) fn open(home: &Home) -> Result<Self, WorkError> {
        let path = home.offer();
        let now = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
            Ok(text) => serde_json::from_slice(&text).map(Some).map_err(io::Error::other),
        };
        match now {
            Ok(now) => Ok(Self {
                path,
                now: Mutex::new(now),
            }),
            Err(source) => Err(WorkError::File { path, source }),
        }
    }

    fn get(&self) -> Option<OfferAsk> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Durable before it is said.
    fn set(&self, offer: Option<OfferAsk>) -> Result<(), WorkError> {
        let path = self.path.clone();
        let failed = |source| WorkError::File { path, source };
        let part = self.path.with_extension("json.next");
        let written = match &offer {
            None => match fs::remove_file(&self.path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                removed => removed,
            },
            Some(offer) => serde_json::to_vec_pretty(offer)
                .map_err(io::Error::other)
                .and_then(|text| {
                    fs::create_dir_all(self.path.parent().expect("a file lies in a folder"))?;
                    fs::write(&part, text)?;
                    fs::File::open(&part)?.sync_all()?;
                    fs::rename(&part, &self.path)
                }),
        };
        written.map_err(failed)?;
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = offer;
        Ok(())
    }
}

fn kind(name: &str) -> Result<Work, WorkError> {
    match name {
        "train" => Ok(Work::Train),
        "infer" => Ok(Work::Infer),
        "audit" => Ok(Work::Audit),
        other => Err(WorkError::Ask {
            field: "kind",
            what: format!("`{other}` is none of train, infer and audit"),
        }),
    }
}

fn word(work: Work) -> String {
    match work {
        Work::Train => "train",
        Work::Infer => "infer",
        Work::Audit => "audit",
    }
    .to_owned()
}

/// The kinds and prices of an offer, read.
fn terms(offer: &OfferAsk) -> Result<(BTreeSet<Work>, Vec<PriceHint>), WorkError> {
    let kinds: BTreeSet<Work> = offer.kinds.iter().map(|name| kind(name)).collect::<Result<_, _>>()?;
    if kinds.is_empty() {
        let what = "name at least one of train, infer and audit".to_owned();
        return Err(WorkError::Ask { field: "kind", what });
    }
    let mut prices = Vec::new();
    for (name, text) in &offer.prices {
        let wrong = |what| WorkError::Ask { field: "price", what };
        let work = kind(name)?;
        if !kinds.contains(&work) {
            return Err(wrong(format!("{name} has a price and is not offered")));
        }
        let per_million_tokens: Amount = text
            .parse()
            .map_err(|bad: protocol::unit::ParseAmountError| wrong(bad.to_string()))?;
        prices.push(PriceHint {
            work,
            per_million_tokens,
        });
    }
    Ok((kinds, prices))
}

/// What computes here.
fn machine() -> Machine {
    let device = match device::probe().first() {
        Some(device::Place::Cuda(_)) => Device::Cuda,
        Some(device::Place::Cpu) | None => Device::Cpu,
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    Machine {
        device,
        threads: u16::try_from(threads).unwrap_or(u16::MAX),
        memory_gib: memory_gib(),
    }
}

/// Only Linux tells; elsewhere it is not known, which is 0.
fn memory_gib() -> u16 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib: u64 = line
        .and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok())
        .unwrap_or(0);
    u16::try_from(kib >> 20).unwrap_or(u16::MAX)
}

fn bases(home: &Home) -> Result<Vec<BlobHash>, WorkError> {
    if !home.models().is_dir() {
        return Ok(Vec::new());
    }
    let mut bases: Vec<_> = Store::open(&home.models())?
        .list()?
        .into_iter()
        .map(|stored| stored.hash)
        .collect();
    bases.truncate(BASES_MAX);
    Ok(bases)
}

impl Data {
    /// Offers work from now on, in place of what was offered.
    pub(crate) async fn work_offer(&self, ask: OfferAsk) -> Result<OfferAnswer, DataError> {
        let (kinds, _) = terms(&ask)?;
        let answer = self.work_with(Some(ask.clone())).await?;
        // An auditor computes on what it is sent; the others need a model.
        if answer.bases.is_empty() && kinds.iter().any(|work| *work != Work::Audit) {
            let what = "training and inference need a base model; keep one with `openledger model add DIR`".to_owned();
            return Err(WorkError::Ask { field: "kind", what }.into());
        }
        self.0.offer.set(Some(ask))?;
        self.announce_work(LIFE_MS).await;
        Ok(answer)
    }

    /// Offers nothing any more. Peers forget the last offer as soon as they hear so, and within ten minutes otherwise.
    pub(crate) async fn work_withdraw(&self) -> Result<bool, DataError> {
        let offered = self.0.offer.get().is_some();
        self.announce_work(FAREWELL_MS).await;
        self.0.offer.set(None)?;
        Ok(offered)
    }

    /// What is offered.
    pub(crate) async fn work_status(&self) -> Result<OfferAnswer, DataError> {
        self.work_with(self.0.offer.get()).await
    }

    async fn work_with(&self, offer: Option<OfferAsk>) -> Result<OfferAnswer, DataError> {
        let home = self.0.home.clone();
        // Looking for devices may load a driver.
        let found = tokio::task::spawn_blocking(move || Ok::<_, WorkError>((bases(&home)?, machine())));
        let (bases, machine) = found.await.expect("looking around does not panic")?;
        Ok(OfferAnswer {
            offer,
            bases,
            device: device_name(machine.device),
            threads: machine.threads,
            memory_gib: machine.memory_gib,
        })
    }

    /// Tells everybody what is offered, if anything is.
    pub(super) async fn announce_work(&self, life_ms: u64) {
        let (Some(network), Some(offer)) = (&self.0.network, self.0.offer.get()) else {
            return;
        };
        let home = self.0.home.clone();
        let found = tokio::task::spawn_blocking(move || Ok::<_, WorkError>((bases(&home)?, machine(), terms(&offer)?)));
        let (bases, machine, (kinds, prices)) = match found.await.expect("looking around does not panic") {
            Ok(found) => found,
            Err(error) => return tracing::warn!(error = chained(&error), "work is not announced"),
        };
        let worker = Worker {
            worker: self.0.me,
            kinds,
            bases,
            prices,
            machine,
            term: Term::starting(self.0.clock.now(), life_ms),
        };
        let said = Signed::new(worker, &network.key, &network.domain);
        self.heard()
            .note(self.0.clock.now(), Announcement::Worker(said.clone()));
        network.net.announce(Announcement::Worker(said));
    }

    /// Who offers work, this node included.
    pub(crate) fn workers(&self) -> Vec<WorkerLine> {
        self.heard().workers(self.0.clock.now())
    }
}

fn device_name(device: Device) -> String {
    match device {
        Device::Cpu => "cpu",
        Device::Cuda => "cuda",
    }
    .to_owned()
}

/// Who offers work, for as long as it holds.
#[derive(Debug, Default)]
pub(super) struct Workers(BTreeMap<NodeId, Worker>);

impl Workers {
    /// Remembers an offer that the network has checked; the newest of each node.
    pub(super) fn note(&mut self, now: Time, said: Worker) {
        self.0.retain(|_, known| known.term.expires > now);
        if self.0.len() < REMEMBERED || self.0.contains_key(&said.worker) {
            self.0.insert(said.worker, said);
        }
    }

    pub(super) fn lines(&self, now: Time) -> Vec<WorkerLine> {
        let line = |worker: &Worker| WorkerLine {
            node: worker.worker,
            kinds: worker.kinds.iter().map(|work| word(*work)).collect(),
            bases: worker.bases.clone(),
            prices: worker
                .prices
                .iter()
                .map(|hint| (word(hint.work), hint.per_million_tokens.to_string()))
                .collect(),
            device: device_name(worker.machine.device),
            threads: worker.machine.threads,
            memory_gib: worker.machine.memory_gib,
            until_ms: worker.term.expires.0 / 1000,
        };
        let holds = |worker: &&Worker| worker.term.expires > now;
        self.0.values().filter(holds).map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(kinds: &[&str], prices: &[(&str, &str)]) -> OfferAsk {
        OfferAsk {
            kinds: kinds.iter().map(|kind| (*kind).to_owned()).collect(),
            prices: prices
                .iter()
                .map(|(kind, price)| ((*kind).to_owned(), (*price).to_owned()))
                .collect(),
        }
    }

    #[test]
    fn an_offer_is_there_after_a_restart_until_it_is_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(dir.path());
        let offered = ask(&["audit"], &[("audit", "0.5 OPEN")]);
        Offer::open(&home).unwrap().set(Some(offered.clone())).unwrap();
        let again = Offer::open(&home).unwrap();
        assert_eq!(again.get(), Some(offered));
        again.set(None).unwrap();
        assert_eq!(Offer::open(&home).unwrap().get(), None);
        fs::write(home.offer(), "{").unwrap();
        let error = Offer::open(&home).err().expect("is damaged").to_string();
        assert!(error.contains("work.json"), "{error}");
    }

    #[test]
    fn an_offer_that_cannot_be_meant_is_refused_by_its_field() {
        for (bad, says) in [
            (ask(&[], &[]), "at least one of train, infer and audit"),
            (ask(&["dance"], &[]), "`dance` is none of"),
            (
                ask(&["audit"], &[("train", "1 OPEN")]),
                "train has a price and is not offered",
            ),
            (ask(&["audit"], &[("audit", "cheap")]), "`price`"),
        ] {
            let error = terms(&bad).expect_err("cannot be meant").to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn the_newest_offer_of_a_node_holds_until_it_runs_out() {
        let (node, mut workers) = (NodeId([1; 32]), Workers::default());
        let said = |from: u64, until: u64| Worker {
            worker: node,
            kinds: [Work::Audit].into(),
            bases: Vec::new(),
            prices: Vec::new(),
            machine: Machine {
                device: Device::Cpu,
                threads: 2,
                memory_gib: 4,
            },
            term: Term {
                issued: Time(from),
                expires: Time(until),
            },
        };
        workers.note(Time(0), said(0, 1_000));
        assert_eq!(workers.lines(Time(10)).len(), 1);
        workers.note(Time(10), said(10, 20));
        assert_eq!(workers.lines(Time(20)), [], "a farewell ends it");
    }
}
