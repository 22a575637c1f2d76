//! From a variant to the kernel that a device compiles.

use std::sync::Arc;

use cubecl::{
    ir::{AddressType, DeviceProperties},
    prelude::*,
};
use half::{bf16, f16};

use super::{Element, Kernel};
use crate::kernels::{attention, linear, lora, rows};

/// What kernels are built for.
#[derive(Clone)]
pub struct Environment {
    /// What the device can do.
    pub device: Arc<DeviceProperties>,
    /// How its tensor cores want their operands.
    pub target: Arc<TargetProperties>,
}

pub(super) fn buffer() -> BufferCompilationArg {
    BufferCompilationArg { inplace: None }
}

macro_rules! of_element {
    ($element:expr, $name:ident => $build:expr) => {
        match $element {
            Element::F32 => {
                type $name = f32;
                Box::new($build)
            }
            Element::F16 => {
                type $name = f16;
                Box::new($build)
            }
            Element::BF16 => {
                type $name = bf16;
                Box::new($build)
            }
        }
    };
}
pub(super) use of_element;

impl Kernel {
    /// The kernel for a device.
    pub fn build(self, environment: &Environment) -> Box<dyn CubeKernel> {
        let settings = KernelSettings::new(*self.threads(), ExecutionMode::Unchecked, AddressType::U32);
        let (device, target) = (environment.device.clone(), environment.target.clone());
        let b = buffer;
        match self {
            Self::Embed(element) => of_element!(element, W =>
                rows::embed::Embed::<W>::new(settings, device, target, b(), b(), b(), ())),
            Self::Take => Box::new(rows::take::Take::new(settings, device, target, b(), b(), b(), ())),
            Self::Norm => Box::new(rows::norm::Norm::new(settings, device, target, b(), b(), b(), (), ())),
            Self::Gate => Box::new(rows::gate::Gate::new(settings, device, target, b(), b(), ())),
            Self::Gemv { weight, vector, tile } => of_element!(weight, W =>
                linear::gemv::Gemv::<W>::new(settings, device, target, b(), b(), b(), b(), (), (), (), (),
                    vector, tile, Self::gemv_outs(tile))),
            Self::Gemm { weight, fragments } => of_element!(weight, W =>
                linear::gemm::Gemm::<W>::new(settings, device, target, b(), b(), b(), (), (), (), (),
                    weight.vector(), fragments, false)),
            Self::Finish => Box::new(linear::finish::Finish::new(
                settings,
                device,
                target,
                b(),
                b(),
                b(),
                (),
                (),
                (),
                (),
                (),
            )),
            Self::Shrink { pool, vector, tile } => of_element!(pool, W =>
                lora::shrink::Shrink::<W>::new(settings, device, target, b(), b(), b(), b(), b(), b(), b(),
                    (), (), (), (), (), vector, tile)),
            Self::Expand { pool, vector, tile } => of_element!(pool, W =>
                lora::expand::Expand::<W>::new(settings, device, target, b(), b(), b(), b(), b(), b(), b(), b(),
                    b(), b(), (), (), (), (), (), vector, tile)),
            Self::Place { pages, width, normed } => of_element!(pages, E =>
                attention::place::Place::<E>::new(settings, device, target, b(), b(), b(), b(), b(), b(), b(),
                    (), (), (), (), width, normed)),
            Self::Copy(element) => of_element!(element, E =>
                attention::copy::Copy::<E>::new(settings, device, target, b(), (), (), (), ())),
            Self::Attend {
                pages,
                vector,
                width,
                queries,
            } => of_element!(pages, E =>
                attention::attend::Attend::<E>::new(settings, device, target, b(), b(), b(), b(), b(), b(), b(),
                    (), (), (), (), vector, width, queries)),
            Self::Combine => Box::new(attention::combine::Combine::new(
                settings,
                device,
                target,
                b(),
                b(),
                b(),
                (),
                (),
                (),
            )),
            Self::Learn(kernel) => kernel.build(settings, environment),
        }
    }
}
