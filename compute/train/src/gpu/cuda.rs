//! A run on an NVIDIA GPU.

use cube::cuda::Cuda;

use compute::model::Model;

use crate::{error::TrainError, trainer::Trainer};

impl Trainer {
    /// Moves a run that has not begun to the CUDA device of this number.
    pub fn on_cuda(self, model: &Model, index: usize) -> Result<Self, TrainError> {
        let cuda = Cuda::open(index).map_err(|error| TrainError::Device(error.to_string()))?;
        self.on_gpu(model, cuda)
    }
}
