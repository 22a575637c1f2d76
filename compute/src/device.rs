//! Devices: what there is to compute on. A device is always named.

use std::fmt;

/// A device that may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// The processor.
    Cpu,
    /// A CUDA device, by its number.
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

/// Why there is no such device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// The name means nothing.
    #[error("there is no device `{0}`; `cpu`, `cuda`, `cuda:N` and `auto` are accepted")]
    Unknown(String),
    /// The program was built without support for it.
    #[error("this program was built without CUDA; build it with `--features cuda`, or use `--device cpu`")]
    NotBuilt,
    /// There are fewer.
    #[error("there is no device cuda:{index}: {found} CUDA devices were found; is the NVIDIA driver installed?")]
    NotFound {
        /// The one that was asked for.
        index: usize,
        /// How many there are.
        found: usize,
    },
}

impl Device {
    /// The device of a name; `auto` is the best one.
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
    /// Burn's handle of a GPU; burn has none of the processor here, which runs our own kernels.
    ///
    /// Never burn's default device: that panics where there is no GPU.
    pub fn device(self) -> Option<burn::tensor::Device> {
        match self {
            Self::Cuda(index) => Some(burn::tensor::Device::cuda(index)),
            Self::Cpu => None,
        }
    }
}

/// All devices, best first; the processor is always there. That one is listed does not prove that kernels can be
/// compiled for it: the engine's process runs one before it serves.
pub fn probe() -> Vec<Device> {
    (0..cuda_devices()).map(Device::Cuda).chain([Device::Cpu]).collect()
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
    fn a_device_that_is_not_there_is_told_with_what_to_do() {
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
