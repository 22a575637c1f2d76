//! Writes adapters as PEFT folders and in their canonical form.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    fs, io,
    ops::Range,
    path::Path,
};

use safetensors::tensor::{Dtype as FileDtype, View};
use serde_json::{Map, Value};

use super::{
    Adapter, AdapterHash, CONFIG_KEY, LowRank, PART_BYTES, Rest, Site,
    config::{Canonical, rank_as_f64},
    site::{Factor, tensor_name},
};
use crate::tensors::Dtype;

/// Failure to write a file of an adapter.
#[derive(Debug, thiserror::Error)]
#[error("could not write {file} of the adapter")]
pub struct WriteError {
    file: &'static str,
    source: io::Error,
}

/// Shape and scale of an adapter at one site.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Outline {
    pub(super) scale: f32,
    pub(super) rank: usize,
    pub(super) inside: usize,
    pub(super) out: usize,
    pub(super) a: Dtype,
    pub(super) b: Dtype,
}

/// The canonical form without its numbers: the header, and the order of the tensors.
pub(super) struct Canon {
    header: Vec<u8>,
    order: Vec<(Site, Factor)>,
}

impl Canon {
    pub(super) fn of(sites: &BTreeMap<Site, Outline>) -> Self {
        let config = serde_json::to_string(&canonical(sites)).expect("numbers and names");
        let metadata = HashMap::from([(CONFIG_KEY.to_owned(), config)]);
        let mut tensors: Vec<(String, Shape, (Site, Factor))> = sites
            .iter()
            .flat_map(|(site, outline)| [(*site, Factor::A, outline), (*site, Factor::B, outline)])
            .map(|(site, factor, outline)| (tensor_name(site, factor), Shape::of(outline, factor), (site, factor)))
            .collect();
        // The order in which `safetensors` writes: wider types first, then by name.
        tensors.sort_by(|a, b| b.1.dtype.cmp(&a.1.dtype).then_with(|| a.0.cmp(&b.0)));
        let shapes = tensors.iter().map(|(name, shape, _)| (name, shape));
        Self {
            header: safetensors::serialize(shapes, Some(metadata)).expect("names are distinct and shapes fit"),
            order: tensors.iter().map(|(.., part)| *part).collect(),
        }
    }

    /// Hashes the adapter from `numbers`, in which `place` finds each factor. Factors that follow each other in
    /// canonical order, as in files that `safetensors` wrote, are hashed in one pass.
    pub(super) fn hash(
        &self,
        numbers: &[u8],
        place: impl Fn(Site, Factor) -> Range<usize>,
        rest: Rest<'_>,
    ) -> AdapterHash {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.header);
        let mut update = |run: Range<usize>| {
            for part in numbers[run].chunks(PART_BYTES) {
                rest();
                hasher.update(part);
            }
        };
        let mut run = 0..0;
        for (site, factor) in &self.order {
            let next = place(*site, *factor);
            if next.start == run.end {
                run.end = next.end;
            } else {
                update(run);
                run = next;
            }
        }
        update(run);
        AdapterHash(protocol::BlobHash(*hasher.finalize().as_bytes()))
    }
}

/// Type and shape of a tensor, for its header.
struct Shape {
    dtype: FileDtype,
    extents: [usize; 2],
    bytes: usize,
}

impl Shape {
    fn of(outline: &Outline, factor: Factor) -> Self {
        let (extents, dtype) = match factor {
            Factor::A => ([outline.rank, outline.inside], outline.a),
            Factor::B => ([outline.out, outline.rank], outline.b),
        };
        Self {
            extents,
            bytes: extents[0] * extents[1] * dtype.bytes(),
            dtype: match dtype {
                Dtype::F32 => FileDtype::F32,
                Dtype::F16 => FileDtype::F16,
                Dtype::BF16 => FileDtype::BF16,
            },
        }
    }
}

impl View for &Shape {
    fn dtype(&self) -> FileDtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.extents
    }

    /// Empty: only the header is serialised; the numbers are written or hashed by the caller.
    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&[])
    }

    fn data_len(&self) -> usize {
        self.bytes
    }
}

impl Adapter {
    /// Returns the canonical form: a safetensors file with the configuration in its header, which PEFT also reads as
    /// `adapter_model.safetensors`. [`Self::hash`] is its BLAKE3 hash.
    pub fn to_bytes(&self) -> Vec<u8> {
        let canon = Canon::of(&outlines(&self.sites));
        let mut bytes = canon.header;
        for (site, factor) in canon.order {
            let low = &self.sites[&site];
            match factor {
                Factor::A => bytes.extend_from_slice(low.a.bytes()),
                Factor::B => bytes.extend_from_slice(low.b.transposed().bytes()),
            }
        }
        bytes
    }

    /// Writes a PEFT folder; `base_model` goes into `base_model_name_or_path`.
    pub fn write(&self, dir: &Path, base_model: &str) -> Result<(), WriteError> {
        let mut config = match serde_json::to_value(canonical(&outlines(&self.sites))) {
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
}

fn outlines(sites: &BTreeMap<Site, LowRank>) -> BTreeMap<Site, Outline> {
    let outline = |low: &LowRank| Outline {
        scale: low.scale,
        rank: low.rank(),
        inside: low.a.columns,
        out: low.b.columns,
        a: low.a.dtype,
        b: low.b.dtype,
    };
    sites.iter().map(|(site, low)| (*site, outline(low))).collect()
}

fn canonical(sites: &BTreeMap<Site, Outline>) -> Canonical {
    // The first site gives the default; sites that differ are listed by their full path.
    let first = sites.values().next().expect("an adapter acts somewhere");
    let (rank, alpha) = (first.rank, alpha(first));
    let differ = |site: &Outline| site.rank != rank || self::alpha(site) != alpha;
    let others: Vec<(&Site, &Outline)> = sites.iter().filter(|(_, site)| differ(site)).collect();
    let path = |site: &Site| site.to_string().replace('.', r"\.");
    Canonical {
        alpha_pattern: others
            .iter()
            .map(|(site, outline)| (path(site), self::alpha(outline)))
            .collect(),
        bias: "none",
        lora_alpha: alpha,
        peft_type: "LORA",
        r: rank,
        rank_pattern: others
            .iter()
            .map(|(site, outline)| (path(site), outline.rank))
            .collect(),
        target_modules: sites.keys().map(Site::to_string).collect(),
        task_type: "CAUSAL_LM",
    }
}

/// Returns the alpha that gives the site's scale under plain LoRA.
fn alpha(site: &Outline) -> f64 {
    f64::from(site.scale) * rank_as_f64(site.rank)
}
