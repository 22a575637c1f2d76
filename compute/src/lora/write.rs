//! Adapters to directories that PEFT reads, and to the canonical form.

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    path::Path,
};

use safetensors::tensor::{Dtype as FileDtype, TensorView};
use serde_json::{Map, Value};

use super::{
    Adapter, LowRank, Site,
    config::{Canonical, rank_as_f64},
    read::CONFIG_KEY,
    site::{Factor, tensor_name},
};
use crate::tensors::{Dtype, Matrix};

/// A file of an adapter that could not be written.
#[derive(Debug, thiserror::Error)]
#[error("could not write {file} of the adapter")]
pub struct WriteError {
    file: &'static str,
    source: io::Error,
}

impl Adapter {
    /// The canonical form: a tensor file that PEFT's loader takes as `adapter_model.safetensors`, with the configuration
    /// in its header. Its BLAKE3 hash is [`Self::hash`].
    pub fn to_bytes(&self) -> Vec<u8> {
        let config = serde_json::to_string(&self.canonical()).expect("numbers and names");
        let turned: Vec<(String, Matrix)> = self
            .sites
            .iter()
            .map(|(site, low)| (tensor_name(*site, Factor::B), low.b.transposed()))
            .collect();
        let a = self
            .sites
            .iter()
            .map(|(site, low)| (tensor_name(*site, Factor::A), view(&low.a)));
        let b = turned.iter().map(|(name, matrix)| (name.clone(), view(matrix)));
        let metadata = HashMap::from([(CONFIG_KEY.to_owned(), config)]);
        safetensors::serialize(a.chain(b), Some(metadata)).expect("names are distinct and shapes fit")
    }

    /// Writes a PEFT directory for a base model of that name.
    pub fn write(&self, dir: &Path, base_model: &str) -> Result<(), WriteError> {
        let mut config = match serde_json::to_value(self.canonical()) {
            Ok(Value::Object(config)) => config,
            Ok(_) | Err(_) => Map::new(),
        };
        config.insert("base_model_name_or_path".to_owned(), base_model.into());
        config.insert("inference_mode".to_owned(), true.into());
        let text = serde_json::to_vec_pretty(&config).expect("numbers and names");
        let put = |file, bytes: &[u8]| fs::write(dir.join(file), bytes).map_err(|source| WriteError { file, source });
        fs::create_dir_all(dir).map_err(|source| WriteError {
            file: "the directory",
            source,
        })?;
        put("adapter_model.safetensors", &self.to_bytes())?;
        put("adapter_config.json", &text)
    }

    fn canonical(&self) -> Canonical {
        // The first site gives the default; sites that differ are listed with their full path.
        let first = self.sites.values().next().expect("an adapter acts somewhere");
        let (rank, alpha) = (first.rank(), alpha(first));
        let differ = |low: &LowRank| low.rank() != rank || self::alpha(low) != alpha;
        let others: Vec<(&Site, &LowRank)> = self.sites.iter().filter(|(_, low)| differ(low)).collect();
        let path = |site: &Site| site.to_string().replace('.', r"\.");
        Canonical {
            alpha_pattern: others
                .iter()
                .map(|(site, low)| (path(site), self::alpha(low)))
                .collect(),
            bias: "none",
            lora_alpha: alpha,
            peft_type: "LORA",
            r: rank,
            rank_pattern: others
                .iter()
                .map(|(site, low)| (path(site), low.rank()))
                .collect::<BTreeMap<_, _>>(),
            target_modules: self.sites.keys().map(Site::to_string).collect(),
            task_type: "CAUSAL_LM",
        }
    }
}

/// The alpha that gives the site's scale under plain LoRA.
fn alpha(low: &LowRank) -> f64 {
    f64::from(low.scale) * rank_as_f64(low.rank())
}

fn view(matrix: &Matrix) -> TensorView<'_> {
    let dtype = match matrix.dtype {
        Dtype::F32 => FileDtype::F32,
        Dtype::F16 => FileDtype::F16,
        Dtype::BF16 => FileDtype::BF16,
    };
    TensorView::new(dtype, vec![matrix.rows, matrix.columns], matrix.bytes()).expect("a matrix has all its numbers")
}
