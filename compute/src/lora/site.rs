//! Where an adapter acts: a linear layer of a decoder block, and its names in files.

use std::fmt;

/// The linear layers that take adapters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Projection {
    /// Queries.
    Q,
    /// Keys.
    K,
    /// Values.
    V,
    /// Out of attention.
    O,
    /// The gate of the feed-forward part.
    Gate,
    /// Its other input half.
    Up,
    /// Its output.
    Down,
}

impl Projection {
    /// All of them, in the order of [`Site`]s.
    pub const ALL: [Self; 7] = [Self::Q, Self::K, Self::V, Self::O, Self::Gate, Self::Up, Self::Down];

    /// Its name in files.
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

    /// Its parent's name in files.
    pub fn block(self) -> &'static str {
        match self {
            Self::Q | Self::K | Self::V | Self::O => "self_attn",
            Self::Gate | Self::Up | Self::Down => "mlp",
        }
    }
}

/// One linear layer of one block. Displayed as the path of its module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Site {
    /// Which block, from 0.
    pub layer: u32,
    /// Which layer of it.
    pub projection: Projection,
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (block, name) = (self.projection.block(), self.projection.name());
        write!(f, "model.layers.{}.{block}.{name}", self.layer)
    }
}

impl Site {
    /// The site that a module path names.
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

/// Which of the two factors a tensor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Factor {
    A,
    B,
}

/// Reads a tensor name of an adapter file.
pub(crate) fn of_tensor(name: &str) -> Option<(Site, Factor)> {
    let path = name.strip_prefix("base_model.model.")?;
    let (path, factor) = match path.strip_suffix(".lora_A.weight") {
        Some(path) => (path, Factor::A),
        None => (path.strip_suffix(".lora_B.weight")?, Factor::B),
    };
    Some((Site::of_path(path)?, factor))
}

/// The name that [`of_tensor`] reads.
pub(crate) fn tensor_name(site: Site, factor: Factor) -> String {
    let letter = match factor {
        Factor::A => 'A',
        Factor::B => 'B',
    };
    format!("base_model.model.{site}.lora_{letter}.weight")
}
