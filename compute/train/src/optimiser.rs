//! AdamW and gradient clipping, element by element in singles: the same bits on every machine.
//!
//! The factors of a step are computed in doubles and rounded once, as PyTorch does.

#![allow(
    clippy::cast_possible_truncation,
    reason = "factors are rounded to the singles that are computed with"
)]

use super::{
    parameters::Parameters,
    recipe::{EpsilonPlace, Recipe, Schedule},
};

/// AdamW's moments of every parameter.
pub(crate) struct Moments {
    pub(crate) first: Vec<Vec<f32>>,
    pub(crate) second: Vec<Vec<f32>>,
}

impl Moments {
    pub(crate) fn new(parameters: &Parameters) -> Self {
        Self {
            first: parameters.zeros(),
            second: parameters.zeros(),
        }
    }

    /// Applies one step to the parameters.
    pub(crate) fn step(&mut self, parameters: &mut Parameters, gradients: &[Vec<f32>], factors: &Factors) {
        let moments = self.first.iter_mut().zip(&mut self.second);
        for (index, (gradient, (first, second))) in gradients.iter().zip(moments).enumerate() {
            let decay_factor = match parameters.tensors()[index].decays() {
                true => factors.decay_factor,
                false => 1.0,
            };
            factors.run(parameters.change(index), gradient, first, second, decay_factor);
        }
    }
}

/// The scalars of a step, the same for all parameters.
pub(crate) struct Factors {
    pub(crate) clip_factor: f32,
    pub(crate) beta1: f32,
    pub(crate) one_minus_beta1: f32,
    pub(crate) beta2: f32,
    pub(crate) one_minus_beta2: f32,
    pub(crate) rate: f32,
    pub(crate) second_correction: f32,
    pub(crate) epsilon: f32,
    pub(crate) epsilon_inside: bool,
    /// Factor of parameters that decay: `1 - rate · decay`.
    pub(crate) decay_factor: f32,
}

impl Factors {
    /// Computes the scalars of step `step`, from 1. Gradients are multiplied by `clip_factor`.
    pub(crate) fn of(recipe: &Recipe, step: u64, rate: f64, clip_factor: f32) -> Self {
        let [beta1, beta2] = recipe.betas;
        let power = |beta: f64| libm::pow(beta, step as f64);
        let (first_correction, second_correction) = (1.0 - power(beta1), (1.0 - power(beta2)).sqrt());
        Self {
            clip_factor,
            beta1: beta1 as f32,
            one_minus_beta1: (1.0 - beta1) as f32,
            beta2: beta2 as f32,
            one_minus_beta2: (1.0 - beta2) as f32,
            rate: (rate / first_correction) as f32,
            second_correction: second_correction as f32,
            epsilon: recipe.epsilon as f32,
            epsilon_inside: recipe.epsilon_place == EpsilonPlace::Inside,
            decay_factor: (1.0 - rate * recipe.decay) as f32,
        }
    }

    fn run(&self, values: &mut [f32], gradient: &[f32], first: &mut [f32], second: &mut [f32], decay_factor: f32) {
        let moments = first.iter_mut().zip(second);
        for ((value, gradient), (first, second)) in values.iter_mut().zip(gradient).zip(moments) {
            let g = gradient * self.clip_factor;
            *first = self.beta1 * *first + self.one_minus_beta1 * g;
            *second = self.beta2 * *second + self.one_minus_beta2 * g * g;
            let below = if self.epsilon_inside {
                (*second / (self.second_correction * self.second_correction) + self.epsilon).sqrt()
            } else {
                second.sqrt() / self.second_correction + self.epsilon
            };
            *value = *value * decay_factor - self.rate * *first / below;
        }
    }
}

/// Returns the norm of the gradient in doubles: eight strided sums of each tensor, added in order.
pub(crate) fn length(gradients: &[Vec<f32>]) -> f64 {
    let mut total = 0.0;
    for gradient in gradients {
        let mut sums = [0.0f64; 8];
        for chunk in gradient.chunks(8) {
            for (sum, x) in sums.iter_mut().zip(chunk) {
                *sum += f64::from(*x) * f64::from(*x);
            }
        }
        total += sums.iter().sum::<f64>();
    }
    total.sqrt()
}

/// Returns the learning rate of step `step`, from 1, of `steps`.
pub(crate) fn rate(recipe: &Recipe, step: u64, steps: u64) -> f64 {
    let (highest, rise) = (recipe.learning_rate, recipe.warmup_steps);
    // The first step after the warm-up has the highest rate, as in PyTorch's schedules.
    let done = step - 1;
    if done < rise {
        return highest * done as f64 / rise as f64;
    }
    let along = (done - rise) as f64 / steps.saturating_sub(rise).max(1) as f64;
    let part = match recipe.schedule {
        Schedule::Constant => 1.0,
        Schedule::Linear => 1.0 - along,
        Schedule::Cosine => 0.5 * (1.0 + libm::cos(std::f64::consts::PI * along)),
    };
    highest * (recipe.floor + (1.0 - recipe.floor) * part.max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_rise_and_fall_as_they_are_drawn() {
        let recipe = |schedule| Recipe {
            learning_rate: 1.0,
            warmup_steps: 2,
            floor: 0.1,
            schedule,
            ..Recipe::default()
        };
        let at = |schedule| -> Vec<f64> { (1..=6).map(|step| rate(&recipe(schedule), step, 6)).collect() };
        assert_eq!(at(Schedule::Constant), [0.0, 0.5, 1.0, 1.0, 1.0, 1.0]);
        let near = |ours: Vec<f64>, exact: [f64; 6]| {
            assert!(ours.iter().zip(exact).all(|(a, b)| (a - b).abs() < 1e-12), "{ours:?}");
        };
        near(at(Schedule::Linear), [0.0, 0.5, 1.0, 0.775, 0.55, 0.325]);
        let half = 0.5 * (1.0 + (std::f64::consts::PI / 4.0).cos());
        near(
            at(Schedule::Cosine),
            [0.0, 0.5, 1.0, 0.1 + 0.9 * half, 0.55, 0.1 + 0.9 * (1.0 - half)],
        );
    }

    #[test]
    fn a_length_is_the_root_of_all_squares() {
        assert_eq!(length(&[vec![2.0; 9], vec![0.0, 8.0]]), 10.0);
    }
}
