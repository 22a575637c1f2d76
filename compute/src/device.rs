//! The devices that a decoder can run on: the processor, and CUDA devices by number.
//!
//! A device is always named by its user; nothing here picks a GPU that was not asked for, except `auto`.

use std::fmt;

/// A device that is chosen by name: `cpu`, `cuda`, `cuda:N` or `auto`.
///
/// ```
/// use compute::device::{Device, DeviceError};
///
/// assert_eq!(Device::named("cpu"), Ok(Device::Cpu));
/// assert_eq!(Device::named("tpu"), Err(DeviceError::Unknown("tpu".to_owned())));
/// assert_eq!(Device::Cuda(1).to_string(), "cuda:1");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    Cpu,
    /// A CUDA device by its number, from 0.
    Cuda(usize),
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

/// Refusal of a device name, with what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// A name that is none of `cpu`, `cuda`, `cuda:N` and `auto`.
    #[error("there is no device `{0}`; `cpu`, `cuda`, `cuda:N` and `auto` are accepted")]
    Unknown(String),
    /// A GPU was named, and the program was built without the feature `cuda`.
    #[error("this program was built without CUDA; build it with `--features cuda`, or use `--device cpu`")]
    NotBuilt,
    /// The number is not below that of the CUDA devices found.
    #[error("there is no device cuda:{index}: {found} CUDA devices were found; is the NVIDIA driver installed?")]
    NotFound { index: usize, found: usize },
}

impl Device {
    /// Returns the device of a name; `auto` is the first that [`probe`] finds, `cuda` is `cuda:0`.
    pub fn named(name: &str) -> Result<Self, DeviceError> {
        let index = match name {
            "cpu" => return Ok(Self::Cpu),
            "auto" => return Ok(probe()[0]),
            "cuda" => 0,
            other => match other.strip_prefix("cuda:").map(str::parse) {
                Some(Ok(index)) => index,
                _ => return Err(DeviceError::Unknown(other.to_owned())),
            },
        };
        if !cfg!(feature = "cuda") {
            return Err(DeviceError::NotBuilt);
        }
        let found = cuda_devices();
        if index < found {
            Ok(Self::Cuda(index))
        } else {
            Err(DeviceError::NotFound { index, found })
        }
    }
}

#[cfg(feature = "cuda")]
impl Device {
    /// Returns burn's handle of a GPU, and nothing for the processor, which runs this crate's own kernels.
    ///
    /// Burn's default device is never used: it panics on a machine without a GPU.
    pub fn device(self) -> Option<burn::tensor::Device> {
        match self {
            Self::Cuda(index) => Some(burn::tensor::Device::cuda(index)),
            Self::Cpu => None,
        }
    }
}

/// Lists the usable devices, best first; the processor is always there and comes last.
///
/// A listed GPU is no proof that kernels can be compiled for it: opening it runs a small kernel first.
pub fn probe() -> Vec<Device> {
    (0..cuda_devices()).map(Device::Cuda).chain([Device::Cpu]).collect()
}

/// Counts the CUDA devices: 0 without a driver, or with one that is broken.
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
    fn the_processor_is_always_found() {
        let devices = probe();
        assert_eq!(devices.last(), Some(&Device::Cpu));
    }

    #[cfg(feature = "cuda")]
    #[test]
    fn every_gpu_that_is_found_computes() {
        for device in probe().into_iter().filter_map(Device::device) {
            let ones = burn::tensor::Tensor::<2>::ones([4, 8], &device);
            assert_eq!(ones.sum().into_scalar::<f32>(), 32.0);
        }
    }

    #[test]
    fn a_missing_device_is_an_error_that_says_what_to_do() {
        assert_eq!(Device::named("cpu"), Ok(Device::Cpu));
        assert_eq!(Device::named("tpu"), Err(DeviceError::Unknown("tpu".to_owned())));
        assert_eq!(Device::named("cuda:x"), Err(DeviceError::Unknown("cuda:x".to_owned())));
        let found = probe().len() - 1;
        let missing = match cfg!(feature = "cuda") {
            true => DeviceError::NotFound { index: 99, found },
            false => DeviceError::NotBuilt,
        };
        assert_eq!(Device::named("cuda:99"), Err(missing));
    }
}
