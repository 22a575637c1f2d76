//! Sites of adapters: the linear layers of a block, and their names in files.

use std::fmt;

/// The linear layers of a block, all of which may take an adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Projection {
    /// Query projection.
    Q,
    /// Key projection.
    K,
    /// Value projection.
    V,
    /// Output projection of attention.
    O,
    /// Gate of the feed-forward layers.
    Gate,
    /// Up projection of the feed-forward layers.
    Up,
    /// Down projection of the feed-forward layers.
    Down,
}

impl Projection {
    /// All projections, in the order in which sites sort.
    pub const ALL: [Self; 7] = [Self::Q, Self::K, Self::V, Self::O, Self::Gate, Self::Up, Self::Down];

    /// Returns the name in tensor files, such as `q_proj`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Q => "q_proj",
            Self::K => "k_proj",
            Self::V => "v_proj",
            Self::O => "o_proj",
            Self::Gate => "gate_proj",
            Self::Up => "up_proj",
            Self::Down => "down_proj",
        }
    }

    /// Returns the name of the parent module: `self_attn` or `mlp`.
    pub fn block(self) -> &'static str {
        match self {
            Self::Q | Self::K | Self::V | Self::O => "self_attn",
            Self::Gate | Self::Up | Self::Down => "mlp",
        }
    }
}

/// One linear layer of one block. Displays as its module path, such as `model.layers.3.mlp.up_proj`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Site {
    /// Index of the block, from 0.
    pub layer: u32,
    pub projection: Projection,
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (block, name) = (self.projection.block(), self.projection.name());
        write!(f, "model.layers.{}.{block}.{name}", self.layer)
    }
}

impl Site {
    /// Parses a module path; `None` if it names no linear layer of a block.
    pub fn of_path(path: &str) -> Option<Self> {
        let rest = path.strip_prefix("model.").unwrap_or(path).strip_prefix("layers.")?;
        let mut parts = rest.split('.');
        let (layer, block, name) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some()
            || (layer.len() > 1 && layer.starts_with('0'))
            || !layer.bytes().all(|b| b.is_ascii_digit())
        {
            return None;
        }
        let projection = Projection::ALL
            .into_iter()
            .find(|projection| projection.name() == name)?;
        (projection.block() == block).then_some(Self {
            layer: layer.parse().ok()?,
            projection,
        })
    }
}

/// One of the two factors of an adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Factor {
    A,
    B,
}

/// Parses the tensor name of a factor.
pub(crate) fn of_tensor(name: &str) -> Option<(Site, Factor)> {
    let path = name.strip_prefix("base_model.model.")?;
    let (path, factor) = match path.strip_suffix(".lora_A.weight") {
        Some(path) => (path, Factor::A),
        None => (path.strip_suffix(".lora_B.weight")?, Factor::B),
    };
    Some((Site::of_path(path)?, factor))
}

/// Returns the tensor name that [`of_tensor`] parses.
pub(crate) fn tensor_name(site: Site, factor: Factor) -> String {
    let letter = match factor {
        Factor::A => 'A',
        Factor::B => 'B',
    };
    format!("base_model.model.{site}.lora_{letter}.weight")
}
