//! Kernels as CUDA C++, without a GPU: the text that is compiled offline, and that the emulator runs in tests.
//!
//! The device properties are those that CubeCL finds on a GPU of compute capability 9.0, so the text is the one that
//! a driver would get there.

use std::sync::Arc;

use cubecl::{
    ir::{
        ContiguousElements, DeviceIdentity, DeviceProperties, HardwareProperties, MemoryDeviceProperties,
        MmaProperties, TargetProperties, VectorSize,
        features::{Features, Plane},
        types::MatrixLayout,
    },
    profile::TimingMethod,
};
use cubecl_cpp::{
    cuda::{
        arch::CudaArchitecture,
        mma::{CudaCmmaCompiler, manual::contiguous_elements_cuda},
    },
    register_supported_types,
    shared::{CompilationOptions, CppCompiler, CppSupportedFeatures, register_wmma_features},
    target::Cuda,
};

use crate::{Environment, Kernel};

/// Most bytes of shared memory that a cube of such a GPU may have.
const SHARED_BYTES_MAX: usize = 227 << 10;

/// A kernel as text.
///
/// ```
/// use cube::{Kernel, emit};
///
/// let text = emit::text(Kernel::Norm, &emit::offline()).unwrap();
/// assert!(text.source.contains(&text.entry));
/// ```
#[derive(Clone, Debug)]
pub struct Text {
    /// CUDA C++.
    pub source: String,
    /// Name of its function.
    pub entry: String,
    /// Bytes of shared memory that a launch has to request.
    pub shared_bytes: usize,
}

/// Returns the environment of a GPU of compute capability 9.0, without one.
pub fn offline() -> Environment {
    let hardware = HardwareProperties {
        load_width: 128,
        vector_register_count: None,
        plane_size_min: 32,
        plane_size_max: 32,
        max_bindings: 1024,
        max_shared_memory_size: SHARED_BYTES_MAX,
        max_cube_count: (i32::MAX as u32, 65535, 65535),
        max_units_per_cube: 1024,
        max_cube_dim: (1024, 1024, 64),
        num_streaming_multiprocessors: Some(132),
        num_tensor_cores: Some(4),
        min_tensor_cores_dim: Some(8),
        num_cpu_cores: None,
        last_level_cache_size: None,
        max_vector_size: VectorSize::MAX,
        cube_mma_reserved_shared_memory: 0,
    };
    let mut device = DeviceProperties::new(
        Features::default(),
        MemoryDeviceProperties::new(u64::MAX, 512),
        hardware,
        TimingMethod::Device,
        DeviceIdentity {
            name: "offline".to_owned(),
            fingerprint: "ptx_sm90".to_owned(),
            physical: None,
        },
    );
    register_supported_types(&mut device);
    device.features.plane.insert(Plane::Sync);
    device.features.plane.insert(Plane::Ops);
    device.features.plane.insert(Plane::NonUniformControlFlow);
    device.features.memory_reinterpret = true;
    device.features.alignment = true;
    let architecture = CudaArchitecture {
        version: 90,
        tensor_cores: true,
    };
    register_wmma_features(
        CudaCmmaCompiler::Cpp.supported_cmma_combinations(&architecture),
        &mut device,
    );
    Environment {
        device: Arc::new(device),
        target: Arc::new(TargetProperties {
            mma: MmaProperties {
                register_size_bits: 32,
                const_plane_size: 32,
                register_layout_a: MatrixLayout::RowMajor,
                register_layout_b: MatrixLayout::ColMajor,
                register_layout_acc: MatrixLayout::RowMajor,
                register_duplication_a: 1,
                register_duplication_b: 1,
                register_duplication_acc: 1,
                contiguous_elements: ContiguousElements::new(contiguous_elements_cuda),
            },
        }),
    }
}

/// Returns the text of a kernel. Fails if it does not compile or needs too much shared memory.
pub fn text(kernel: Kernel, environment: &Environment) -> Result<Text, String> {
    let built = kernel.build(environment);
    let definition = cubecl::define_kernel(&*built).map_err(|error| format!("{}: {error}", kernel.name()))?;
    let options = CompilationOptions {
        supports_features: CppSupportedFeatures {
            grid_constants: true,
            clusters: true,
            fast_math: true,
            fast_tanh: true,
            elect_sync: true,
            dp4a: true,
        },
        ..CompilationOptions::default()
    };
    let compiled = cubecl::Compiler::compile(&mut CppCompiler::<Cuda>::default(), definition, &options)
        .map_err(|error| format!("{}: {error}", kernel.name()))?;
    let shared = compiled.shared_memory_size;
    if shared > SHARED_BYTES_MAX {
        return Err(format!(
            "{}: {shared} bytes of shared memory, there are {SHARED_BYTES_MAX}",
            kernel.name()
        ));
    }
    Ok(Text {
        entry: entry(&compiled.source).ok_or_else(|| format!("{}: its text has no entry point", kernel.name()))?,
        shared_bytes: compiled.shared_memory_size,
        source: compiled.source,
    })
}

/// Returns the name of the function marked `__global__`.
fn entry(source: &str) -> Option<String> {
    let (_, rest) = source.split_once("__global__")?;
    let (head, _) = rest.split_once("const")?;
    let head = head.rsplit_once('(').map_or(head, |(name, _)| name);
    Some(head.trim().rsplit(' ').next()?.to_owned())
}
