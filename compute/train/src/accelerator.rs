//! The interface to a device that computes a run instead of the processor.
//!
//! The device keeps copies of parameters, moments and gradients, and hands the first two back after each step, so
//! that roots and checkpoints are written in one place. Its sums have other bits than the processor's:
//! [`Accelerator::class`] names the devices that agree.

use super::{
    cpu::pack::Pack,
    error::TrainError,
    optimiser::{Factors, Moments},
    parameters::Parameters,
};

/// A device that computes the steps of a run.
pub(crate) trait Accelerator: Send {
    /// Returns the determinism class: devices of one class compute the same bits.
    fn class(&self) -> &str;

    /// Returns the most rows of a pass.
    fn rows_max(&self) -> usize;

    /// Replaces parameters and moments on the device.
    fn restore(&mut self, parameters: &Parameters, moments: &Moments) -> Result<(), TrainError>;

    /// Starts a step with gradients of zero.
    fn begin(&mut self);

    /// Returns the negative log-likelihood of each target, in order, and adds the gradient of their weighted sum.
    fn losses_and_gradients(&mut self, pack: &Pack) -> Result<Vec<f64>, TrainError>;

    /// Returns the same losses without gradients.
    fn losses(&mut self, pack: &Pack) -> Result<Vec<f64>, TrainError>;

    /// Returns the Euclidean norm of the gradient.
    fn gradient_norm(&mut self) -> Result<f64, TrainError>;

    /// Applies the optimiser on the device, then to `parameters` and `moments`, which stay unchanged if it fails.
    fn step(&mut self, parameters: &mut Parameters, moments: &mut Moments, factors: &Factors)
    -> Result<(), TrainError>;
}
