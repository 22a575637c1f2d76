//! Sixteen lanes of singles, the unit in which every kernel counts.
//!
//! An operation here is rounded exactly or is a fixed sequence of such operations, so its bits are the same on every
//! processor. Processors differ only in how many registers the lanes take. Verified work rests on that.

#![allow(
    clippy::cast_possible_truncation,
    reason = "whole numbers within the range by the contract"
)]
#![allow(
    unsafe_code,
    reason = "lanes are read through pointers and with instructions chosen at run time"
)]

/// Number of lanes. Dot products run in sixteen strides on every processor, so this cannot be tuned without changing
/// results.
pub const LANES: usize = 16;

/// Sixteen singles and the operations on them.
///
/// # Safety
///
/// The processor must have the implementation's instructions; pointers must be valid for as many elements as are
/// accessed.
#[allow(clippy::missing_safety_doc, reason = "the contract is the trait's")]
pub(crate) trait Simd: Copy {
    type V: Copy;

    /// True if there are registers for sixteen accumulators and more.
    const WIDE: bool;

    unsafe fn splat(x: f32) -> Self::V;
    unsafe fn load(from: *const f32) -> Self::V;
    unsafe fn store(to: *mut f32, v: Self::V);
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V;
    /// `a > b ? a : b` in every lane: the larger, if there is no NaN.
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V;
    /// `a · b + c`, rounded once.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// Rounds to the nearest whole number, ties to even.
    unsafe fn round(a: Self::V) -> Self::V;
    /// Two to the power of whole numbers from -126 to 127.
    unsafe fn exp2_whole(a: Self::V) -> Self::V;
    /// Adds the lanes by halves, down to one.
    unsafe fn sum(v: Self::V) -> f32;
    /// [`Simd::sum`] of each of four vectors, with the same order of additions.
    #[inline(always)]
    unsafe fn sums(v: [Self::V; 4]) -> [f32; 4] {
        // SAFETY: works on lanes only.
        v.map(|v| unsafe { Self::sum(v) })
    }
    /// Returns the largest lane.
    unsafe fn largest(v: Self::V) -> f32;
    unsafe fn load_f16(from: *const u16) -> Self::V;
    unsafe fn load_bf16(from: *const u16) -> Self::V;
    unsafe fn load_i8(from: *const i8) -> Self::V;
    /// Loads the low or high halves of sixteen bytes, less 8.
    unsafe fn load_i4(from: *const u8, high: bool) -> Self::V;
}

/// Prefetches the cache line of an address into the second-level cache. The address need not be valid.
#[inline(always)]
pub(crate) fn prefetch(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch never faults.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// Lanes on any processor. Fused multiply-adds are done in software where there is no instruction for them: slow,
/// with the same bits.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

#[inline(always)]
fn each(f: impl Fn(usize) -> f32) -> [f32; LANES] {
    std::array::from_fn(f)
}

impl Simd for Portable {
    type V = [f32; LANES];

    const WIDE: bool = false;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self::V {
        [x; LANES]
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::V {
        // SAFETY: the caller gives sixteen elements.
        unsafe { from.cast::<[f32; LANES]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, v: Self::V) {
        // SAFETY: the caller gives room for sixteen elements.
        unsafe { to.cast::<[f32; LANES]>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        each(|i| a[i] + b[i])
    }
    #[inline(always)]
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
        each(|i| a[i] - b[i])
    }
    #[inline(always)]
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V {
        each(|i| a[i] * b[i])
    }
    #[inline(always)]
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V {
        each(|i| a[i] / b[i])
    }
    #[inline(always)]
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V {
        each(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V {
        each(|i| if a[i] < b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        each(|i| a[i].mul_add(b[i], c[i]))
    }
    #[inline(always)]
    unsafe fn round(a: Self::V) -> Self::V {
        each(|i| a[i].round_ties_even())
    }
    #[inline(always)]
    unsafe fn exp2_whole(a: Self::V) -> Self::V {
        // Within i32 by the contract. The biased exponent alone is the bit pattern of a power of two.
        each(|i| f32::from_bits((((a[i] as i32) + 127) << 23).cast_unsigned()))
    }
    #[inline(always)]
    unsafe fn sum(v: Self::V) -> f32 {
        let a: [f32; 8] = std::array::from_fn(|i| v[i] + v[i + 8]);
        let b: [f32; 4] = std::array::from_fn(|i| a[i] + a[i + 4]);
        (b[0] + b[2]) + (b[1] + b[3])
    }
    #[inline(always)]
    unsafe fn largest(v: Self::V) -> f32 {
        v.into_iter().fold(f32::NEG_INFINITY, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const u16) -> Self::V {
        // SAFETY: the caller gives sixteen elements.
        let bits = unsafe { from.cast::<[u16; LANES]>().read_unaligned() };
        each(|i| half::f16::from_bits(bits[i]).to_f32())
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const u16) -> Self::V {
        // SAFETY: as above.
        let bits = unsafe { from.cast::<[u16; LANES]>().read_unaligned() };
        each(|i| f32::from_bits(u32::from(bits[i]) << 16))
    }
    #[inline(always)]
    unsafe fn load_i8(from: *const i8) -> Self::V {
        // SAFETY: as above.
        let bytes = unsafe { from.cast::<[i8; LANES]>().read_unaligned() };
        each(|i| f32::from(bytes[i]))
    }
    #[inline(always)]
    unsafe fn load_i4(from: *const u8, high: bool) -> Self::V {
        // SAFETY: as above.
        let bytes = unsafe { from.cast::<[u8; LANES]>().read_unaligned() };
        each(|i| f32::from(if high { bytes[i] >> 4 } else { bytes[i] & 15 }) - 8.0)
    }
}
