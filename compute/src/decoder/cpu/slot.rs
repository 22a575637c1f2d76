//! Loaded adapters, as the processor's kernels read them.

use std::sync::Arc;

use crate::{
    forward::StepError,
    kernel::weight::Weight,
    lora::{Adapter, AdapterHash, Projection},
    model::Config,
};

/// A loaded adapter. Its factors are shared with the adapter, not copied.
pub(super) struct Slot {
    pub(super) hash: AdapterHash,
    /// Factors of the sites it acts on, and of no others: thousands of small adapters may be loaded.
    factors: Vec<Factors>,
    /// Index into `factors` for each layer and site, or [`ABSENT`].
    index: Vec<[u16; 7]>,
}

/// Marks a site that the adapter does not act on.
const ABSENT: u16 = u16::MAX;

pub(super) struct Factors {
    pub(super) a: Weight,
    pub(super) b: Weight,
    pub(super) scale: f32,
}

impl Slot {
    /// Checks that an adapter fits the model and takes its factors.
    pub(super) fn of(adapter: &Arc<Adapter>, config: &Config) -> Result<Self, StepError> {
        let misfit = |why| StepError::Misfit {
            adapter: format!("{:#}", adapter.hash().0),
            why,
        };
        let mut factors = Vec::with_capacity(adapter.sites().len());
        let mut index = vec![[ABSENT; 7]; config.layers];
        for (site, low) in adapter.sites() {
            let Some(layer) = index.get_mut(site.layer as usize) else {
                return Err(misfit(format!(
                    "it has a layer {site} and the base {} blocks",
                    config.layers
                )));
            };
            let [out, inside] = config.linear_shape(site.projection);
            if (low.b.columns, low.a.columns) != (out, inside) {
                let have = (low.b.columns, low.a.columns);
                return Err(misfit(format!(
                    "{site} is for {have:?} and the base has ({out}, {inside})"
                )));
            }
            layer[site.projection as usize] =
                u16::try_from(factors.len()).expect("layers are bounded by the configuration");
            factors.push(Factors {
                a: Weight::stored(&low.a),
                b: Weight::stored(&low.b),
                scale: low.scale,
            });
        }
        Ok(Self {
            hash: adapter.hash(),
            factors,
            index,
        })
    }

    pub(super) fn at(&self, layer: usize, site: Projection) -> Option<&Factors> {
        self.factors.get(usize::from(self.index[layer][site as usize]))
    }
}
