//! Devices: what there is to compute on. A device is always named; burn's default one would be a GPU whenever the support
//! for it is compiled in, and panic where there is none.

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

/// Why there is no such device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// The name means nothing.
    #[error("there is no device `{0}`; `cpu`, `cuda`, `cuda:N` and `auto` are accepted")]
    Unknown(String),
    /// The program was built without support for it.
    #[error("this program was built without CUDA; build it with `--features cuda`, or use `--device cpu`")]
    NotBuilt,
    /// There are fewer.
    #[error("there is no device cuda:{index}: {found} CUDA devices were found; is the NVIDIA driver installed?")]
    NotThere {
        /// The one that was asked for.
        index: usize,
        /// How many there are.
        found: usize,
    },
}

impl Place {
    /// The device of a name; `auto` is the best one.
    pub fn named(name: &str) -> Result<Self, PlaceError> {
        let index = match name {
            "cpu" => return Ok(Self::Cpu),
            "auto" => return Ok(probe()[0]),
            "cuda" => 0,
            other => match other.strip_prefix("cuda:").map(str::parse) {
                Some(Ok(index)) => index,
                _ => return Err(PlaceError::Unknown(other.to_owned())),
            },
        };
        if !cfg!(feature = "cuda") {
            return Err(PlaceError::NotBuilt);
        }
        let found = cuda_devices();
        if index < found {
            Ok(Self::Cuda(index))
        } else {
            Err(PlaceError::NotThere { index, found })
        }
    }

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
    (0..cuda_devices()).map(Place::Cuda).chain([Place::Cpu]).collect()
}

/// It looks for the driver before it counts, and finds none without one, or with one that is broken.
#[cfg(feature = "cuda")]
fn cuda_devices() -> usize {
    cube::cuda::devices()
}

#[cfg(not(feature = "cuda"))]
fn cuda_devices() -> usize {
    0
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

    #[test]
    fn a_device_that_is_not_there_is_told_with_what_to_do() {
        assert_eq!(Place::named("cpu"), Ok(Place::Cpu));
        assert_eq!(Place::named("tpu"), Err(PlaceError::Unknown("tpu".to_owned())));
        assert_eq!(Place::named("cuda:x"), Err(PlaceError::Unknown("cuda:x".to_owned())));
        let found = probe().len() - 1;
        let missing = match cfg!(feature = "cuda") {
            true => PlaceError::NotThere { index: 99, found },
            false => PlaceError::NotBuilt,
        };
        assert_eq!(Place::named("cuda:99"), Err(missing));
    }
}
