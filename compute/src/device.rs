//! Devices: what burn can compute on here. A device is always named; burn's default one would be a GPU whenever the
//! support for it is compiled in, and panic where there is none.

use std::fmt;

use burn::tensor::Device;

/// A device that may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The processor.
    Cpu,
    /// A CUDA device, by its number.
    Cuda(usize),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

impl Place {
    /// Burn's handle of it.
    pub fn device(self) -> Device {
        match self {
            #[cfg(feature = "cuda")]
            Self::Cuda(index) => Device::cuda(index),
            #[cfg(not(feature = "cuda"))]
            Self::Cuda(_) => unreachable!("no CUDA device is found without support for it"),
            Self::Cpu => Device::flex(),
        }
    }
}

/// All devices, best first; the processor is always there. That one is listed does not prove that kernels can be
/// compiled for it: the engine's process runs one before it serves.
pub fn probe() -> Vec<Place> {
    let mut places = cuda();
    places.push(Place::Cpu);
    places
}

#[cfg(feature = "cuda")]
fn cuda() -> Vec<Place> {
    use burn::tensor::DeviceType;
    // It looks for the driver before it counts devices, and finds none without it. The guard is for a driver that is
    // there and broken.
    let found = std::panic::catch_unwind(|| Device::enumerate(DeviceType::Cuda).into_vec().len());
    (0..found.unwrap_or(0)).map(Place::Cuda).collect()
}

#[cfg(not(feature = "cuda"))]
fn cuda() -> Vec<Place> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_always_found_and_computes() {
        let places = probe();
        assert_eq!(places.last(), Some(&Place::Cpu));
        let ones = burn::tensor::Tensor::<2>::ones([4, 8], &Place::Cpu.device());
        assert_eq!(ones.sum().into_scalar::<f32>(), 32.0);
    }
}
