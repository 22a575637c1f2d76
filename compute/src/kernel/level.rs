//! Instruction levels, and the macro that makes a function for each of them from one body.

use crate::machine::{CpuLevel, MachineInfo};

/// An instruction level. All compute the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The instructions that the program was compiled for.
    Portable,
    /// AVX2, FMA and F16C.
    Avx2,
    /// AVX-512 F, BW, DQ and VL.
    Avx512,
}

impl Level {
    /// Returns the best level of this processor.
    pub fn detect() -> Self {
        match MachineInfo::probe().cpu {
            CpuLevel::V4 => Self::Avx512,
            CpuLevel::V3 => Self::Avx2,
            CpuLevel::V2 | CpuLevel::V1 | CpuLevel::Other => Self::Portable,
        }
    }

    /// Lists the levels of this processor, worst first, for tests that compare them.
    pub fn available() -> impl Iterator<Item = Self> {
        let best = Self::detect();
        [Self::Portable, Self::Avx2, Self::Avx512]
            .into_iter()
            .filter(move |level| *level <= best)
    }
}

/// Compiles a generic body once for each level and chooses at run time.
///
/// `kernel!(pub(crate) fn scale(x: &mut [f32], by: f32) = scale_body);` with `unsafe fn scale_body<S: Simd>(…)`.
macro_rules! kernel {
    ($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $kind:ty),* $(,)?) $(-> $result:ty)? = $body:ident) => {
        $(#[$doc])*
        #[allow(clippy::too_many_arguments, reason = "the arguments of the body")]
        $vis fn $name(level: $crate::kernel::Level, $($arg: $kind),*) $(-> $result)? {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
            unsafe fn avx512($($arg: $kind),*) $(-> $result)? {
                // SAFETY: the caller checked the level, and this wrapper enables what the body needs.
                unsafe { $body::<$crate::kernel::x86::Avx512>($($arg),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,f16c")]
            unsafe fn avx2($($arg: $kind),*) $(-> $result)? {
                // SAFETY: as above.
                unsafe { $body::<$crate::kernel::x86::Avx2>($($arg),*) }
            }
            match level {
                // SAFETY: `Level::detect` found the level on this processor.
                #[cfg(target_arch = "x86_64")]
                $crate::kernel::Level::Avx512 => unsafe { avx512($($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                $crate::kernel::Level::Avx2 => unsafe { avx2($($arg),*) },
                // SAFETY: the portable lanes need no instructions of their own.
                _ => unsafe { $body::<$crate::kernel::simd::Portable>($($arg),*) },
            }
        }
    };
}
pub(crate) use kernel;
