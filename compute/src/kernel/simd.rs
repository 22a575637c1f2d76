//! Sixteen lanes of singles, the unit in which every kernel counts.
//!
//! The promise behind verified work: an operation here is exactly rounded or a fixed sequence of such operations, so its
//! bits are the same on every processor. What may differ between processors is only how many registers the lanes take.

#![allow(
    clippy::cast_possible_truncation,
    reason = "whole numbers within the range by the contract"
)]
#![allow(
    unsafe_code,
    reason = "lanes are read through pointers and with instructions chosen at run time"
)]

/// Lanes of a vector. Sums of dot products run in sixteen strides on every processor, so this is no tuning knob.
pub const LANES: usize = 16;

/// Sixteen singles and what is done with them.
///
/// # Safety
///
/// Every function needs the instructions that its implementor names, and pointers to as many elements as it reads.
#[allow(clippy::missing_safety_doc, reason = "the contract is the trait's")]
pub(crate) trait Simd: Copy {
    /// The lanes.
    type V: Copy;

    /// Whether there are registers for sixteen accumulators and more.
    const WIDE: bool;

    unsafe fn splat(x: f32) -> Self::V;
    unsafe fn load(from: *const f32) -> Self::V;
    unsafe fn store(to: *mut f32, v: Self::V);
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V;
    /// `a < b ? b : a` in every lane: with no NaN among the inputs, the larger.
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V;
    /// `a · b + c`, rounded once.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// To the nearest whole number, ties to even.
    unsafe fn round(a: Self::V) -> Self::V;
    /// Two to the power of whole numbers between -126 and 127.
    unsafe fn exp2_whole(a: Self::V) -> Self::V;
    /// The sum of the lanes: halves onto halves, down to one.
    unsafe fn sum(v: Self::V) -> f32;
    /// [`Simd::sum`] of each of four, in the same order of additions.
    #[inline(always)]
    unsafe fn sums(v: [Self::V; 4]) -> [f32; 4] {
        // SAFETY: lanes only.
        v.map(|v| unsafe { Self::sum(v) })
    }
    /// The largest lane.
    unsafe fn largest(v: Self::V) -> f32;
    unsafe fn load_f16(from: *const u16) -> Self::V;
    unsafe fn load_bf16(from: *const u16) -> Self::V;
    unsafe fn load_i8(from: *const i8) -> Self::V;
    /// The low or high halves of sixteen bytes, less 8.
    unsafe fn load_i4(from: *const u8, high: bool) -> Self::V;
}

/// Asks for the cache line of an address, into the second cache. The address need not be one.
#[inline(always)]
pub(crate) fn prefetch(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint: it never faults.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// Any processor. Multiplications and additions are fused in software where there is no instruction for it, which is
/// slow and right.
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
        // Within i32 by the contract; the exponent's bits are the number.
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
