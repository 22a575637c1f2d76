//! The loss, the optimiser, and small helpers of training.

use cubecl::prelude::*;

const WARPS: usize = 8;
/// Start of a maximum: lower than any logit.
const LOWEST: f32 = -1.0e30;
/// Numbers per cube in [`sum_of_squares`].
pub const SQUARES: usize = 4096;

/// Writes the loss of each row, and replaces its logits by the gradient of the weighted loss. A cube for each row.
#[cube(launch_unchecked)]
pub(crate) fn cross_entropy(logits: &mut [f32], tokens: &[u32], weights: &[f32], losses: &mut [f32], width: u32) {
    let row = CUBE_POS_X as usize;
    let unit = UNIT_POS_X as usize;
    let width = width as usize;
    let start = row * width;
    let token = tokens[row] as usize;
    let wanted = logits[start + token];
    let mut most = f32::new(LOWEST);
    let mut i = unit;
    while i < width {
        most = max(most, logits[start + i]);
        i += 256usize;
    }
    let mut greatest = Shared::<[f32]>::new_slice(WARPS);
    let most = plane_max(most);
    if unit % 32usize == 0 {
        greatest[unit / 32usize] = most;
    }
    sync_cube();
    let mut most = f32::new(LOWEST);
    #[unroll]
    for w in 0..WARPS {
        most = max(most, greatest[w]);
    }
    let mut sum = 0.0f32;
    let mut i = unit;
    while i < width {
        sum += f32::exp(logits[start + i] - most);
        i += 256usize;
    }
    let mut sums = Shared::<[f32]>::new_slice(WARPS);
    let sum = plane_sum(sum);
    if unit % 32usize == 0 {
        sums[unit / 32usize] = sum;
    }
    sync_cube();
    let mut total = 0.0f32;
    #[unroll]
    for w in 0..WARPS {
        total += sums[w];
    }
    let weight = weights[row];
    let mut i = unit;
    while i < width {
        let share = f32::exp(logits[start + i] - most) / total;
        logits[start + i] = weight * select(i == token, share - 1.0f32, share);
        i += 256usize;
    }
    if unit == 0 {
        losses[row] = f32::ln(total) + (most - wanted);
    }
}

/// Scatters rows: the opposite of [`gather_rows`](super::rows::gather_rows).
#[cube(launch_unchecked)]
pub(crate) fn scatter_rows(x: &[f32], targets: &[u32], y: &mut [f32], width: u32) {
    let row = CUBE_POS_Y as usize;
    let column = (CUBE_POS_X * CUBE_DIM_X + UNIT_POS_X) as usize;
    let width = width as usize;
    if column < width {
        y[targets[row] as usize * width + column] = x[row * width + column];
    }
}

/// Fills with zeros.
#[cube(launch_unchecked)]
pub(crate) fn zero(y: &mut [f32], count: u32) {
    let i = (CUBE_POS_X * CUBE_DIM_X + UNIT_POS_X) as usize;
    if i < count as usize {
        y[i] = 0.0f32;
    }
}

/// Copies singles.
#[cube(launch_unchecked)]
pub(crate) fn copy(x: &[f32], y: &mut [f32], count: u32) {
    let i = (CUBE_POS_X * CUBE_DIM_X + UNIT_POS_X) as usize;
    if i < count as usize {
        y[i] = x[i];
    }
}

/// Computes the sum of squares of each part.
#[cube(launch_unchecked)]
pub(crate) fn sum_of_squares(x: &[f32], y: &mut [f32], count: u32) {
    let unit = UNIT_POS_X as usize;
    let start = CUBE_POS_X as usize * SQUARES;
    let end = min(start + SQUARES, count as usize);
    let mut sum = 0.0f32;
    let mut i = start + unit;
    while i < end {
        sum += x[i] * x[i];
        i += 256usize;
    }
    let mut sums = Shared::<[f32]>::new_slice(WARPS);
    let part = plane_sum(sum);
    if unit % 32usize == 0 {
        sums[unit / 32usize] = part;
    }
    sync_cube();
    if unit == 0 {
        let mut total = 0.0f32;
        #[unroll]
        for w in 0..WARPS {
            total += sums[w];
        }
        y[CUBE_POS_X as usize] = total;
    }
}

/// AdamW, element by element. With `epsilon_inside`, epsilon is added under the root.
#[cube(launch_unchecked)]
pub(crate) fn adam(
    values: &mut [f32],
    gradients: &[f32],
    first: &mut [f32],
    second: &mut [f32],
    count: u32,
    clip_factor: f32,
    beta1: f32,
    one_minus_beta1: f32,
    beta2: f32,
    one_minus_beta2: f32,
    rate: f32,
    second_correction: f32,
    epsilon: f32,
    decay_factor: f32,
    epsilon_inside: u32,
) {
    let i = (CUBE_POS_X * CUBE_DIM_X + UNIT_POS_X) as usize;
    if i < count as usize {
        let gradient = gradients[i] * clip_factor;
        let mean = beta1 * first[i] + one_minus_beta1 * gradient;
        let square = beta2 * second[i] + one_minus_beta2 * gradient * gradient;
        let below = select(
            epsilon_inside == 1,
            f32::sqrt(square / (second_correction * second_correction) + epsilon),
            f32::sqrt(square) / second_correction + epsilon,
        );
        first[i] = mean;
        second[i] = square;
        values[i] = values[i] * decay_factor - rate * mean / below;
    }
}
