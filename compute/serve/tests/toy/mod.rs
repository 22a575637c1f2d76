//! A model without arithmetic, for tests and benches of what surrounds one. Every position remembers what it was computed
//! from; the next token follows from that. It takes as long as it is told to.

#![allow(dead_code, unreachable_pub, reason = "each test and bench uses its part of it")]

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    time::Duration,
};

use compute::{
    forward::{AdapterSlot, Forward, PageId, Shape, Span, StepError, Wanted},
    lora::{Adapter, AdapterHash, LowRank, Projection, Site},
    tensors::Matrix,
};
use serve::{
    engine::{Engine, Event, Events, Prompt, Request, Setup, SubmitError, TextCodec, UsedAdapter},
    sample::text::Detokenize,
    schedule::{Finish, Limits, Usage},
    tier::{Budget, Tiers},
};

/// Bytes are tokens; the model says printable ones. 0 ends an answer and is never said.
pub const VOCABULARY: usize = 256;

pub const SHAPE: Shape = Shape {
    vocabulary: VOCABULARY,
    context_tokens_max: 512,
    page_tokens: 16,
    pages: 2048,
    slots: 48,
};

/// What steps and loads take.
#[derive(Clone, Copy, Default)]
pub struct Cost {
    pub step: Duration,
    pub token: Duration,
    pub load: Duration,
}

/// What a test can do to a model that runs.
#[derive(Default)]
pub struct Controls {
    /// The next step panics.
    pub panic: AtomicBool,
    /// The next step ends the process.
    pub abort: AtomicBool,
    /// It does no verified work, as on a GPU.
    pub unverified: AtomicBool,
    pub steps: AtomicU64,
    /// A step whose tokens begin with this one ends the process.
    pub poison: Option<u32>,
}

pub struct Toy {
    shape: Shape,
    cost: Cost,
    controls: Arc<Controls>,
    slots: HashMap<AdapterSlot, AdapterHash>,
    pages: HashMap<(PageId, usize), u64>,
}

impl Toy {
    pub fn new(shape: Shape, cost: Cost, controls: Arc<Controls>) -> Self {
        Self {
            shape,
            cost,
            controls,
            slots: HashMap::new(),
            pages: HashMap::new(),
        }
    }
}

fn mixed(a: u64, b: u64) -> u64 {
    let x = (a ^ b.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (x ^ (x >> 29)).wrapping_mul(0x94d0_49bb_1331_11eb)
}

fn origin(mut adapters: Vec<(AdapterHash, f32)>) -> u64 {
    adapters.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let number = |hash: AdapterHash| u64::from_be_bytes(hash.0.0[..8].try_into().expect("eight bytes"));
    adapters.iter().fold(7, |sum, (hash, weight)| {
        mixed(mixed(sum, number(*hash)), weight.to_bits().into())
    })
}

fn said(content: u64) -> u32 {
    32 + u32::try_from((content >> 7) % 95).expect("small")
}

/// What the model answers to a prompt when nobody else is there.
pub fn alone(adapters: &[(AdapterHash, f32)], prompt: &[u32], tokens: usize) -> Vec<u32> {
    let mut content = prompt
        .iter()
        .fold(origin(adapters.to_vec()), |sum, token| mixed(sum, (*token).into()));
    (0..tokens)
        .map(|_| {
            let token = said(content);
            content = mixed(content, token.into());
            token
        })
        .collect()
}

impl Forward for Toy {
    fn shape(&self) -> Shape {
        self.shape
    }

    fn verifies(&self) -> bool {
        !self.controls.unverified.load(Ordering::Relaxed)
    }

    fn load(&mut self, slot: AdapterSlot, adapter: &Arc<Adapter>) -> Result<(), StepError> {
        std::thread::sleep(self.cost.load);
        if adapter.rank() > 32 {
            return Err(StepError::Misfit {
                adapter: adapter.hash().to_string(),
                why: "its rank is over 32".to_owned(),
            });
        }
        self.slots.insert(slot, adapter.hash());
        Ok(())
    }

    fn unload(&mut self, slot: AdapterSlot) {
        self.slots.remove(&slot);
    }

    fn copy_page(&mut self, from: PageId, to: PageId, tokens: usize) -> Result<(), StepError> {
        for at in 0..tokens {
            let content = self.pages[&(from, at)];
            self.pages.insert((to, at), content);
        }
        Ok(())
    }

    fn step(&mut self, spans: &[Span<'_>], logits: &mut Vec<f32>) -> Result<(), StepError> {
        self.controls.steps.fetch_add(1, Ordering::Relaxed);
        let poisoned = |span: &Span<'_>| self.controls.poison.is_some_and(|poison| span.tokens[0] == poison);
        if self.controls.abort.swap(false, Ordering::Relaxed) || spans.iter().any(poisoned) {
            std::process::abort();
        }
        assert!(
            !self.controls.panic.swap(false, Ordering::Relaxed),
            "the toy was told to panic"
        );
        let total: usize = spans.iter().map(|span| span.tokens.len()).sum();
        let takes = self.cost.step + self.cost.token * u32::try_from(total).expect("small");
        if !takes.is_zero() {
            std::thread::sleep(takes);
        }
        logits.clear();
        for span in spans {
            let mix = span
                .adapters
                .iter()
                .map(|part| (self.slots[&part.slot], part.weight))
                .collect();
            let size = self.shape.page_tokens;
            let start = span.start as usize;
            let place = |at: usize| (span.pages[at / size], at % size);
            let mut content = match start {
                0 => origin(mix),
                _ => self.pages[&place(start - 1)],
            };
            for (at, token) in span.tokens.iter().enumerate() {
                content = mixed(content, (*token).into());
                self.pages.insert(place(start + at), content);
                let wanted = match span.wanted {
                    Wanted::Nothing => false,
                    Wanted::Last => at + 1 == span.tokens.len(),
                    Wanted::All => true,
                };
                if wanted {
                    let row = logits.len();
                    logits.resize(row + self.shape.vocabulary, 0.0);
                    logits[row + said(content) as usize] = 9.0;
                }
            }
        }
        Ok(())
    }
}

pub struct Bytes;

impl Detokenize for Bytes {
    fn decode(&self, tokens: &[u32]) -> String {
        let bytes: Vec<u8> = tokens.iter().filter_map(|token| u8::try_from(*token).ok()).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl TextCodec for Bytes {
    fn encode(&self, text: &str) -> Result<Vec<u32>, String> {
        Ok(text.bytes().map(u32::from).collect())
    }

    fn chat(&self, request: &str) -> Result<String, String> {
        Ok(format!("<{request}>"))
    }

    fn encode_chat(&self, text: &str) -> Result<Vec<u32>, String> {
        self.encode(text)
    }
}

/// An adapter that differs from those of other numbers, and takes about so many bytes.
pub fn adapter(number: u32, bytes: usize) -> Adapter {
    let (rank, columns) = (4, (bytes / 32).max(4));
    let mut a = vec![0.5; rank * columns];
    a[0] = number as f32;
    let low = LowRank {
        scale: 1.0,
        a: Matrix::of_f32(rank, columns, &a),
        b: Matrix::of_f32(rank, columns, &vec![0.25; rank * columns]),
    };
    let site = Site {
        layer: 0,
        projection: Projection::Q,
    };
    Adapter::new([(site, low)].into())
}

pub fn write(root: &Path, name: &str, adapter: &Adapter) -> PathBuf {
    let dir = root.join(name);
    fs::create_dir_all(&dir).expect("a directory of the test");
    adapter.write(&dir, "toy").expect("an adapter is written");
    dir
}

pub fn setup(tiers: Arc<Tiers>, limits: Limits, shape: Shape, cost: Cost, controls: Arc<Controls>) -> Setup {
    Setup {
        limits,
        base: [0; 32],
        ends: vec![0],
        codec: Arc::new(Bytes),
        tiers,
        build: Box::new(move || Ok(Box::new(Toy::new(shape, cost, Arc::clone(&controls))))),
    }
}

pub fn engine(tiers: Arc<Tiers>, cost: Cost, controls: Arc<Controls>) -> Engine {
    Engine::start(setup(tiers, Limits::default(), SHAPE, cost, controls)).expect("the toy is built")
}

pub fn tiers(host_bytes: u64) -> Arc<Tiers> {
    let budget = Budget {
        host_bytes,
        ..Budget::default()
    };
    Arc::new(Tiers::new(budget, None))
}

pub fn request(prompt: &str, tokens: u32) -> Request {
    Request {
        tokens_max: Some(tokens),
        ..Request::new(Prompt::Text(prompt.to_owned()))
    }
}

pub fn with(adapter: &str, prompt: &str, tokens: u32) -> Request {
    Request {
        adapters: vec![(adapter.to_owned(), 1.0)],
        ..request(prompt, tokens)
    }
}

/// A whole answer.
#[derive(Debug)]
pub struct Whole {
    pub tokens: Vec<u32>,
    pub text: String,
    pub finish: Finish,
    pub usage: Usage,
    pub adapters: Vec<UsedAdapter>,
    pub events: Vec<Event>,
}

pub fn whole(events: impl IntoIterator<Item = Event>) -> Result<Whole, SubmitError> {
    let (mut tokens, mut said, mut all) = (Vec::new(), String::new(), Vec::new());
    for event in events {
        all.push(event.clone());
        match event {
            Event::Refused(error) => return Err(error),
            Event::Prompt(_) => (),
            Event::Token { token, text, .. } => {
                tokens.push(token);
                said.push_str(&text);
            }
            Event::Done {
                finish,
                text,
                usage,
                adapters,
            } => {
                said.push_str(&text);
                return Ok(Whole {
                    tokens,
                    text: said,
                    finish,
                    usage,
                    adapters,
                    events: all,
                });
            }
        }
    }
    panic!("an answer ends: {all:?}")
}

pub fn answer(engine: &Engine, request: Request) -> Result<Whole, SubmitError> {
    let (events, said) = listen();
    engine.submit(request, events)?;
    whole(said)
}

/// Where events go, and where they come out.
pub fn listen() -> (Events, mpsc::Receiver<Event>) {
    let (events, said) = mpsc::channel();
    (Box::new(move |event| events.send(event).is_ok()), said)
}

pub fn tokens(text: &str) -> Vec<u32> {
    text.bytes().map(u32::from).collect()
}

/// Numbers that follow from a seed.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = mixed(self.0, 0x5851_f42d);
        (self.0 >> 11) % bound
    }
}

pub fn hashes(numbers: impl Iterator<Item = u32>, bytes: usize) -> BTreeMap<String, AdapterHash> {
    numbers
        .map(|number| adapter(number, bytes).hash())
        .map(|hash| (hash.to_string(), hash))
        .collect()
}
