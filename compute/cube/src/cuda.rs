//! NVIDIA GPUs, through CubeCL's CUDA runtime and NVRTC.
//!
//! Counting GPUs never panics and loads nothing but the driver's library. Using one also needs NVRTC and the CUDA
//! headers, which [`Cuda::open`] checks by running a small kernel.

use std::panic::{AssertUnwindSafe, catch_unwind};

use cubecl::{
    Device, InfoBuilder,
    bytes::Bytes,
    device::CudaDevice,
    ir::AddressType,
    prelude::{Client, CubeCount},
    server::{Handle, KernelArguments},
};

use crate::{Environment, Kernel, Machine, MachineError, Scalar};

/// Counts the GPUs: 0 without a driver, or with one that is broken.
pub fn devices() -> usize {
    let count = || {
        Device::enumerate_all()
            .into_iter()
            .filter(|device| matches!(device, Device::Cuda(_)))
            .count()
    };
    catch_unwind(count).unwrap_or(0)
}

/// An NVIDIA GPU.
pub struct Cuda {
    client: Client,
    environment: Environment,
}

impl Cuda {
    /// Opens the GPU of a number and runs a kernel on it. Errors say what is missing.
    pub fn open(index: usize) -> Result<Self, MachineError> {
        let found = devices();
        if index >= found {
            return Err(MachineError(format!(
                "there is no CUDA device {index}; {found} were found. Is the NVIDIA driver installed?"
            )));
        }
        if cubecl_cuda::install::cuda_path().is_none() {
            return Err(MachineError(
                "the CUDA headers were not found; set CUDA_PATH to a toolkit, or to the `nvidia/cu13` folder of the Python \
                 packages nvidia-cuda-nvrtc, nvidia-cuda-runtime and nvidia-cuda-crt"
                    .to_owned(),
            ));
        }
        let opened = catch_unwind(AssertUnwindSafe(|| {
            let client = Device::Cuda(CudaDevice::new(index)).client();
            let environment = Environment {
                device: client.properties_shared(),
                target: client.target_properties_shared(),
            };
            let mut cuda = Self { client, environment };
            cuda.prove().map(|()| cuda)
        }));
        opened.unwrap_or_else(|_| {
            Err(MachineError(format!(
                "CUDA device {index} could not be set up; is NVRTC (libnvrtc) where libraries are looked for?"
            )))
        })
    }

    /// Runs a kernel that gathers the second of two rows, and checks the result.
    fn prove(&mut self) -> Result<(), MachineError> {
        let numbers = [1.0f32, 2.0, 3.0, 4.0];
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        let (x, wanted) = (self.upload(&bytes), self.upload(&1u32.to_le_bytes()));
        let y = self.empty(8);
        self.launch(Kernel::GatherRows, [1, 1, 1], &[&x, &wanted, &y], &[Scalar::U32(2)]);
        let got = self.read(&y, 8)?;
        if got == bytes[8..] {
            Ok(())
        } else {
            Err(MachineError("a kernel gave another result than it should".to_owned()))
        }
    }

    /// Returns the bytes of its memory.
    pub fn bytes(&self) -> u64 {
        self.client.properties().memory.max_memory().unwrap_or(0)
    }

    /// Returns the bytes of the largest single buffer.
    pub fn piece_bytes_max(&self) -> u64 {
        self.client.properties().memory.max_page_size
    }

    /// Returns the product name.
    pub fn name(&self) -> String {
        self.client.properties().identity.name.clone()
    }
}

fn bytes_of(bytes: &[u8]) -> Bytes {
    Bytes::from_bytes_vec(bytes.to_vec())
}

impl Machine for Cuda {
    type Buffer = Handle;

    fn class(&self) -> String {
        // The architecture that code is compiled for; another device of the same architecture computes the same bits.
        format!("cuda {}", self.client.properties().identity.fingerprint)
    }

    fn empty(&mut self, bytes: u64) -> Handle {
        self.client
            .empty(usize::try_from(bytes).expect("memory is counted in 64 bits"))
    }

    fn reserve(&mut self, bytes: u64) -> Handle {
        let client = self.client.clone();
        self.client.memory_persistent_allocation((), move |()| {
            client.empty(usize::try_from(bytes).expect("memory is counted in 64 bits"))
        })
    }

    fn upload(&mut self, bytes: &[u8]) -> Handle {
        self.client.create(bytes_of(bytes))
    }

    fn part(&mut self, buffer: &Handle, at: u64, bytes: u64) -> Handle {
        let rest = buffer.size_in_used() - at - bytes;
        buffer.clone().offset_start(at).offset_end(rest)
    }

    fn write(&mut self, buffer: &Handle, at: u64, bytes: &[u8]) {
        let part = self.part(buffer, at, bytes.len() as u64);
        self.client.write(&part, bytes_of(bytes));
    }

    fn read(&mut self, buffer: &Handle, bytes: u64) -> Result<Vec<u8>, MachineError> {
        let part = self.part(buffer, 0, bytes);
        let read = self
            .client
            .read_one(part)
            .map_err(|error| MachineError(error.to_string()))?;
        Ok(read.to_vec())
    }

    fn launch(&mut self, kernel: Kernel, cubes: [u32; 3], buffers: &[&Handle], scalars: &[Scalar]) {
        let mut info = InfoBuilder::default();
        for scalar in scalars {
            match scalar {
                Scalar::U32(number) => info.scalars.push(*number),
                Scalar::F32(number) => info.scalars.push(*number),
            }
        }
        let mut arguments = KernelArguments::new();
        for buffer in buffers {
            info.metadata.register_buffer(buffer.size_in_used(), AddressType::U32);
            arguments = arguments.with_buffer((*buffer).clone().binding());
        }
        let arguments = arguments.with_info(info.finish(AddressType::U32));
        let [x, y, z] = cubes;
        self.client
            .launch(kernel.build(&self.environment), CubeCount::Static(x, y, z), arguments);
    }
}
