//! A run on a GPU: forward and backward pass as kernels, with parameters, moments and gradients as singles in its
//! memory.
//!
//! If the base's weights have 16 bits, its linear layers run on tensor cores, forward and backward, with rows rounded
//! to the weights' type and sums in singles; all else is in singles. The order of every sum depends on model and
//! records alone, so neither the cut into passes nor the memory for activations changes a bit. The bits are not those
//! of a processor, of another kind of GPU, or of other kernels: the run's class names them.
//!
//! Only adapters over a frozen base as stored are trained, for every family of models; another recipe is refused by
//! its field.

mod backward;
mod block;
#[cfg(feature = "cuda")]
mod cuda;
mod head;
mod linear;
mod state;
#[cfg(all(test, feature = "host"))]
mod tests;

use compute::{
    decoder::gpu::{count, pack::Pack as Tables, weights::Weights},
    model::{Config, Model, rope::Rope},
};
use cube::{ELEMENTWISE_THREADS, Element, Kernel, Machine, SELF_ATTENTION_ROWS, Scalar, TrainingKernel};

use self::{block::Activations, state::State};
use super::{
    accelerator::Accelerator,
    cpu::{
        gradient_slots::GradientSlots,
        pack::{Pack, Span},
    },
    error::TrainError,
    optimiser::{Factors, Moments},
    parameters::Parameters,
    recipe::{Base, Method, Recipe, RecipeError},
    trainer::Trainer,
};

/// Version of the kernels' arithmetic. A change of bits needs another number, which makes another class.
const KERNEL_VERSION: u32 = 1;
/// Most rows of a grid of cubes.
const ROWS_MAX: usize = 65_535;
/// Heads in a cube, for kernels with a warp for each head.
const HEADS_EACH: u32 = 4;

/// A base on a machine, and the adapter that is trained on it.
struct GpuNetwork<M: Machine> {
    machine: M,
    class: String,
    config: Config,
    weights: Weights<M::Buffer>,
    slots: GradientSlots,
    scale: f32,
    state: State<M::Buffer>,
    rope: Rope,
    keep_bytes: usize,
    /// Bound to parameters that a kernel does not read.
    unbound: M::Buffer,
}

/// The tables of a pass, on the machine.
struct Pass<B> {
    rows: usize,
    tokens: B,
    cos: B,
    sin: B,
    /// Tiles of rows for attention.
    tiles: B,
    tile_count: usize,
}

impl Trainer {
    /// Moves a run that has not begun to a machine that runs kernels, which makes it a run of another class.
    pub fn on_gpu<M: Machine + 'static>(self, model: &Model, machine: M) -> Result<Self, TrainError> {
        supported(self.recipe())?;
        let network = GpuNetwork::new(model, machine, self.trained(), self.machine().keep_bytes)?;
        self.on_accelerator(Box::new(network))
    }
}

/// Refuses a recipe that only processors support.
fn supported(recipe: &Recipe) -> Result<(), RecipeError> {
    let refuse = |field, why: &str| {
        Err(RecipeError {
            field,
            why: format!("{why}: train with `--device cpu`"),
        })
    };
    if recipe.method != Method::Lora {
        return refuse("method", "is `full`, and a GPU trains adapters alone");
    }
    if recipe.base != Base::Stored {
        return refuse("base", "is quantised, and a GPU takes it as stored");
    }
    if recipe.tokens_max > ROWS_MAX {
        return refuse("tokens_max", "is above 65535, the rows that a GPU passes at once");
    }
    Ok(())
}

impl<M: Machine> GpuNetwork<M> {
    fn new(model: &Model, mut machine: M, parameters: &Parameters, keep_bytes: usize) -> Result<Self, TrainError> {
        let config = model.config();
        let weights = Weights::take(&mut machine, model)?;
        let scale = parameters.scale().expect("a GPU trains adapters alone");
        Ok(Self {
            class: format!(
                "{} {} kernels {KERNEL_VERSION}",
                machine.class(),
                weights.element.name()
            ),
            state: State::new(&mut machine, parameters),
            unbound: machine.upload(&[0; 32]),
            slots: parameters.gradient_slots(),
            rope: Rope::new(config),
            config: config.clone(),
            machine,
            weights,
            scale,
            keep_bytes,
        })
    }

    /// Returns a buffer for rows of singles.
    fn rows(&mut self, rows: usize, width: usize) -> M::Buffer {
        self.machine.empty((rows * width * size_of::<f32>()) as u64)
    }

    /// Returns a buffer of zeros.
    fn zeros(&mut self, rows: usize, width: usize) -> M::Buffer {
        let y = self.rows(rows, width);
        state::zero(&mut self.machine, &y, rows * width);
        y
    }

    /// Launches a kernel with one thread for each number of a row.
    fn elementwise(&mut self, kernel: Kernel, rows: usize, width: usize, buffers: &[&M::Buffer], scalars: &[Scalar]) {
        let columns = count(width).div_ceil(ELEMENTWISE_THREADS);
        self.machine.launch(kernel, [columns, count(rows), 1], buffers, scalars);
    }

    fn norm(&mut self, x: &M::Buffer, gain: &M::Buffer, rows: usize) -> M::Buffer {
        let width = self.config.hidden;
        let y = self.rows(rows, width);
        let scalars = [Scalar::U32(count(width)), Scalar::F32(self.config.norm_epsilon)];
        self.machine
            .launch(Kernel::Norm, [count(rows), 1, 1], &[x, gain, &y], &scalars);
        y
    }

    /// Adds the gradient through a norm to `onto`.
    fn norm_backward(&mut self, x: &M::Buffer, gain: &M::Buffer, d: &M::Buffer, onto: &M::Buffer, rows: usize) {
        let scalars = [
            Scalar::U32(count(self.config.hidden)),
            Scalar::F32(self.config.norm_epsilon),
        ];
        let kernel = Kernel::Training(TrainingKernel::NormBackward);
        self.machine
            .launch(kernel, [count(rows), 1, 1], &[x, gain, d, onto], &scalars);
    }

    /// Uploads the tables of a pass.
    fn pass(&mut self, pack: &Pack) -> Pass<M::Buffer> {
        self.rope.reach(pack.longest());
        let mut tables = Tables::default();
        let tokens = tables.words(pack.tokens.iter().copied());
        let angles = || (0..pack.rows()).map(|row| self.rope.at(pack.position(row)));
        let cos = tables.singles(angles().flat_map(|(cos, _)| cos));
        let sin = tables.singles(angles().flat_map(|(_, sin)| sin));
        let all: Vec<[usize; 4]> = pack.spans.iter().flat_map(tiles_of).collect();
        let tiles = tables.words(all.iter().flatten().map(|n| count(*n)));
        let mut part = tables.send(&mut self.machine);
        Pass {
            rows: pack.rows(),
            tokens: part(tokens),
            cos: part(cos),
            sin: part(sin),
            tiles: part(tiles),
            tile_count: all.len(),
        }
    }

    fn embed(&mut self, pass: &Pass<M::Buffer>) -> M::Buffer {
        let width = self.config.hidden;
        let y = self.rows(pass.rows, width);
        let (table, kernel) = (self.weights.embedding.clone(), Kernel::Embed(self.weights.element));
        let scalars = [Scalar::U32(count(width))];
        self.elementwise(kernel, pass.rows, width, &[&table, &pass.tokens, &y], &scalars);
        y
    }

    /// Runs a pass forward and backward and returns its losses.
    fn forward_backward(&mut self, pack: &Pack) -> Result<Vec<f64>, TrainError> {
        let pass = self.pass(pack);
        let (layers, lowest) = (self.config.layers, self.slots.lowest().unwrap_or(self.config.layers));
        let keeps = (self.keep_bytes / self.activation_bytes(pass.rows)).max(1);
        let first_kept = layers.saturating_sub(keeps);
        let mut x = self.embed(&pass);
        let (mut inputs, mut all_activations) = (Vec::new(), Vec::new());
        for layer in 0..layers {
            let activations = self.block_activations(&pass, layer, &x);
            let next = self.block_output(&pass, layer, &activations);
            if layer >= lowest {
                inputs.push(x);
                all_activations.push((layer >= first_kept).then_some(activations));
            }
            x = next;
        }
        let d = self.zeros(pass.rows, self.config.hidden);
        let losses = self.head(pack, &x, Some(&d));
        drop(x);
        for layer in (lowest..layers).rev() {
            let input = inputs.pop().expect("each of these blocks had one");
            let activations: Option<Activations<M::Buffer>> = all_activations.pop().expect("the same");
            let activations = activations.unwrap_or_else(|| self.block_activations(&pass, layer, &input));
            self.backward(&pass, layer, &input, activations, &d, layer > lowest);
        }
        self.read_losses(losses)
    }

    /// Returns the bytes that [`Activations`] of this many rows take.
    fn activation_bytes(&self, rows: usize) -> usize {
        let config = &self.config;
        let heads = 2 * (config.heads + config.kv_heads) * config.head + config.heads;
        size_of::<f32>() * rows * (config.hidden + 2 * config.intermediate + heads)
    }
}

/// Cuts a sequence into tiles for attention: first row, number of rows, begin and end of the sequence.
fn tiles_of(span: &Span) -> impl Iterator<Item = [usize; 4]> + use<> {
    let (begin, end) = (span.row, span.row + span.rows);
    let firsts = (begin..end).step_by(SELF_ATTENTION_ROWS);
    firsts.map(move |first| [first, SELF_ATTENTION_ROWS.min(end - first), begin, end])
}

fn failed(error: cube::MachineError) -> TrainError {
    TrainError::Device(error.0)
}

impl<M: Machine> Accelerator for GpuNetwork<M> {
    fn class(&self) -> &str {
        &self.class
    }

    fn rows_max(&self) -> usize {
        ROWS_MAX
    }

    fn restore(&mut self, parameters: &Parameters, moments: &Moments) -> Result<(), TrainError> {
        self.state.restore(&mut self.machine, parameters, moments);
        Ok(())
    }

    fn begin(&mut self) {
        self.state.begin(&mut self.machine);
    }

    fn losses_and_gradients(&mut self, pack: &Pack) -> Result<Vec<f64>, TrainError> {
        self.forward_backward(pack)
    }

    fn losses(&mut self, pack: &Pack) -> Result<Vec<f64>, TrainError> {
        let pass = self.pass(pack);
        let mut x = self.embed(&pass);
        for layer in 0..self.config.layers {
            let activations = self.block_activations(&pass, layer, &x);
            x = self.block_output(&pass, layer, &activations);
        }
        let losses = self.head(pack, &x, None);
        self.read_losses(losses)
    }

    fn gradient_norm(&mut self) -> Result<f64, TrainError> {
        self.state.gradient_norm(&mut self.machine).map_err(failed)
    }

    fn step(
        &mut self,
        parameters: &mut Parameters,
        moments: &mut Moments,
        factors: &Factors,
    ) -> Result<(), TrainError> {
        self.state
            .step(&mut self.machine, parameters, moments, factors)
            .map_err(failed)
    }
}

/// True if tensor cores can multiply with a matrix of this shape: its rows and columns are loaded as vectors.
fn fits_tensor_cores(element: Element, outs: usize, columns: usize) -> bool {
    element != Element::F32 && outs.is_multiple_of(element.vector()) && columns.is_multiple_of(element.vector())
}
