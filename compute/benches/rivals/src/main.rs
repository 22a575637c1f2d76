//! The other side of `speed.rs`: candle in float32 on the processor, asked over standard input as `torch_speed.py` is.
//!
//! ```text
//! decode ROWS CONTEXT   seconds of one step of ROWS sequences that have CONTEXT tokens
//! prefill ROWS TOKENS   seconds until the first token of ROWS prompts of TOKENS tokens
//! ```

use std::{error::Error, io::BufRead, time::Instant};

use candle_core::{DType, Device, Result, Shape, Tensor};
use candle_nn::{Activation, Init, VarBuilder, var_builder::SimpleBackend};
use candle_transformers::models::{llama, qwen2};

/// Weights that are random and all there.
struct Anything;

impl SimpleBackend for Anything {
    fn get(&self, shape: Shape, _: &str, _: Init, dtype: DType, device: &Device) -> Result<Tensor> {
        Tensor::randn(0f32, 0.02, shape, device)?.to_dtype(dtype)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> Result<Tensor> {
        candle_core::bail!("{name} has no shape")
    }

    fn contains_tensor(&self, name: &str) -> bool {
        // The output layer is the embedding.
        name != "lm_head.weight"
    }
}

enum Model {
    Llama(llama::Llama, llama::Config),
    Qwen2(qwen2::ModelForCausalLM),
}

/// Keys and values of the sequences that run.
enum Cache {
    Llama(llama::Cache),
    /// Within the model.
    Qwen2,
}

impl Model {
    fn of(shape: &str) -> Result<Self> {
        let vars = VarBuilder::from_backend(Box::new(Anything), DType::F32, Device::Cpu);
        match shape {
            "135m" => {
                let config = llama::Config {
                    hidden_size: 576,
                    intermediate_size: 1536,
                    vocab_size: 49_152,
                    num_hidden_layers: 30,
                    num_attention_heads: 9,
                    num_key_value_heads: 3,
                    use_flash_attn: false,
                    rms_norm_eps: 1e-5,
                    rope_theta: 100_000.0,
                    bos_token_id: None,
                    eos_token_id: None,
                    rope_scaling: None,
                    max_position_embeddings: 2048,
                    tie_word_embeddings: true,
                };
                Ok(Self::Llama(llama::Llama::load(vars, &config)?, config))
            }
            "0.5b" => {
                let config = qwen2::Config {
                    vocab_size: 151_936,
                    hidden_size: 896,
                    intermediate_size: 4864,
                    num_hidden_layers: 24,
                    num_attention_heads: 14,
                    num_key_value_heads: 2,
                    max_position_embeddings: 2048,
                    sliding_window: 2048,
                    max_window_layers: 24,
                    tie_word_embeddings: true,
                    rope_theta: 1e6,
                    rms_norm_eps: 1e-6,
                    use_sliding_window: false,
                    hidden_act: Activation::Silu,
                };
                Ok(Self::Qwen2(qwen2::ModelForCausalLM::new(&config, vars)?))
            }
            other => candle_core::bail!("no shape is called {other}"),
        }
    }

    /// Forgets all sequences.
    fn begin(&mut self) -> Result<Cache> {
        match self {
            Self::Llama(_, config) => Ok(Cache::Llama(llama::Cache::new(true, DType::F32, config, &Device::Cpu)?)),
            Self::Qwen2(model) => {
                model.clear_kv_cache();
                Ok(Cache::Qwen2)
            }
        }
    }

    /// Seconds of one step of `tokens` new tokens in each of `rows` sequences.
    fn step(&mut self, cache: &mut Cache, rows: usize, at: usize, tokens: usize) -> Result<f64> {
        let ids = Tensor::rand(3f32, 40_000f32, (rows, tokens), &Device::Cpu)?.to_dtype(DType::U32)?;
        let start = Instant::now();
        match (self, cache) {
            (Self::Llama(model, _), Cache::Llama(cache)) => model.forward(&ids, at, cache)?,
            (Self::Qwen2(model), Cache::Qwen2) => model.forward(&ids, at)?,
            _ => unreachable!("a cache is its model's"),
        };
        Ok(start.elapsed().as_secs_f64())
    }
}

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let shape = std::env::args().nth(1).ok_or("give a shape: 135m or 0.5b")?;
    let mut model = Model::of(&shape)?;
    println!("ready candle");
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let mut words = line.split(' ');
        let mut next = || words.next().ok_or("decode or prefill, rows, tokens");
        let (what, rows, tokens) = (next()?.to_owned(), next()?.parse()?, next()?.parse()?);
        let mut cache = model.begin()?;
        let prefill = model.step(&mut cache, rows, 0, tokens)?;
        let mut seconds = prefill;
        if what == "decode" {
            seconds = f64::INFINITY;
            for i in 0..6 {
                seconds = seconds.min(model.step(&mut cache, rows, tokens + i, 1)?);
            }
        }
        println!("{seconds}");
    }
    Ok(())
}
