//! Where a run is computed if not on this processor: the seam under which a GPU learns.
//!
//! What computes accelerator keeps a copy of the parameters, their moments and gradients, and hands back what a step made of
//! them, so that roots and checkpoints are written as always. Its sums have other bits than the processor's: its class
//! tells who has the same.

use super::{
    cpu::pack::Pack,
    error::TrainError,
    optimiser::{Factors, Moments},
    parameters::Parameters,
};

/// What computes steps in the processor's place.
pub(crate) trait Accelerator: Send {
    /// Who has the same bits.
    fn class(&self) -> &str;

    /// Rows of a pass at most.
    fn rows_max(&self) -> usize;

    /// Takes over these parameters and moments.
    fn restore(&mut self, parameters: &Parameters, moments: &Moments) -> Result<(), TrainError>;

    /// A step begins: gradients are zero.
    fn begin(&mut self);

    /// The negative log-likelihood of each target, in order; adds the gradient of their weighted sum.
    fn losses_and_gradients(&mut self, pack: &Pack) -> Result<Vec<f64>, TrainError>;

    /// The same without gradients.
    fn losses(&mut self, pack: &Pack) -> Result<Vec<f64>, TrainError>;

    /// The length of the gradient.
    fn gradient_norm(&mut self) -> Result<f64, TrainError>;

    /// Moves parameters and moments, there and here. If it fails, nothing is moved here.
    fn step(&mut self, parameters: &mut Parameters, moments: &mut Moments, factors: &Factors)
    -> Result<(), TrainError>;
}
