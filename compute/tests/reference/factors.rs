//! Adapters of PEFT for the reference.

use std::{fs, path::Path};

use compute::lora::{AdapterConfig, Site};

use super::reference::{Adapter, Matrix, tensors};

/// Reads an adapter's factors for the reference. Scales come from the crate's reading of the configuration, which is
/// tested against PEFT.
pub(crate) fn factors(dir: &Path) -> Adapter {
    let config = AdapterConfig::parse(&fs::read(dir.join("adapter_config.json")).unwrap()).unwrap();
    let tensors = tensors(dir);
    let modules = tensors.iter().filter_map(|(name, a)| {
        let path = name.strip_prefix("base_model.model.")?.strip_suffix(".lora_A.weight")?;
        let b: &Matrix = &tensors[&format!("base_model.model.{path}.lora_B.weight")];
        let scale = f64::from(config.scale(Site::of_path(path)?));
        Some((path.to_owned(), (scale, a.clone(), b.clone())))
    });
    modules.collect()
}
