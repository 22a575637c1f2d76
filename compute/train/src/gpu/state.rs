//! Parameters, both moments and gradients in a machine's memory, each kind in one buffer.

use cube::{ELEMENTWISE_THREADS, Kernel, Machine, MachineError, SQUARES, Scalar, TrainingKernel};

use compute::decoder::gpu::count;

use crate::{
    optimiser::{Factors, Moments},
    parameters::Parameters,
};

/// Multiple of numbers at which each tensor begins.
const ALIGN: usize = 64;

/// The four buffers, and where each tensor lies in them.
pub(super) struct State<B> {
    values: B,
    gradients: B,
    first: B,
    second: B,
    /// Offset and length of each tensor, in numbers.
    ranges: Vec<(usize, usize)>,
    numbers: usize,
}

/// Fills a buffer with zeros.
pub(super) fn zero<M: Machine>(machine: &mut M, y: &M::Buffer, numbers: usize) {
    let cubes = count(numbers).div_ceil(ELEMENTWISE_THREADS);
    let kernel = Kernel::Training(TrainingKernel::Zero);
    machine.launch(kernel, [cubes, 1, 1], &[y], &[Scalar::U32(count(numbers))]);
}

fn singles(bytes: &[u8]) -> impl Iterator<Item = f32> {
    bytes.as_chunks().0.iter().map(|chunk| f32::from_le_bytes(*chunk))
}

impl<B: Clone + Send> State<B> {
    pub(super) fn new<M: Machine<Buffer = B>>(machine: &mut M, parameters: &Parameters) -> Self {
        let mut numbers = 0;
        let ranges = parameters.tensors().iter().map(|tensor| {
            let (at, length) = (numbers, tensor.values().len());
            numbers += length.next_multiple_of(ALIGN);
            (at, length)
        });
        let ranges = ranges.collect();
        let mut piece = || machine.reserve((numbers * size_of::<f32>()) as u64);
        Self {
            values: piece(),
            gradients: piece(),
            first: piece(),
            second: piece(),
            ranges,
            numbers,
        }
    }

    fn part<M: Machine<Buffer = B>>(&self, machine: &mut M, of: &B, index: usize) -> B {
        let (at, length) = self.ranges[index];
        let bytes = |numbers: usize| (numbers * size_of::<f32>()) as u64;
        machine.part(of, bytes(at), bytes(length))
    }

    /// Returns the length of a parameter.
    pub(super) fn length_of(&self, index: usize) -> usize {
        self.ranges[index].1
    }

    /// Returns the values of a parameter.
    pub(super) fn value<M: Machine<Buffer = B>>(&self, machine: &mut M, index: usize) -> B {
        self.part(machine, &self.values, index)
    }

    /// Returns the gradient of a parameter.
    pub(super) fn gradient<M: Machine<Buffer = B>>(&self, machine: &mut M, index: usize) -> B {
        self.part(machine, &self.gradients, index)
    }

    /// Uploads parameters and moments.
    pub(super) fn restore<M: Machine<Buffer = B>>(
        &mut self,
        machine: &mut M,
        parameters: &Parameters,
        moments: &Moments,
    ) {
        let mut write = |to: &B, tensors: &mut dyn Iterator<Item = &[f32]>| {
            let mut bytes = Vec::with_capacity(self.numbers * size_of::<f32>());
            for tensor in tensors {
                bytes.extend(tensor.iter().flat_map(|number| number.to_le_bytes()));
                bytes.resize(bytes.len().next_multiple_of(ALIGN * size_of::<f32>()), 0);
            }
            machine.write(to, 0, &bytes);
        };
        write(
            &self.values,
            &mut parameters.tensors().iter().map(|tensor| tensor.values()),
        );
        write(&self.first, &mut moments.first.iter().map(Vec::as_slice));
        write(&self.second, &mut moments.second.iter().map(Vec::as_slice));
    }

    /// Sets the gradients to zero.
    pub(super) fn begin<M: Machine<Buffer = B>>(&self, machine: &mut M) {
        zero(machine, &self.gradients, self.numbers);
    }

    /// Returns the norm of the gradient: squares summed in singles part by part, and the parts in doubles, in order.
    pub(super) fn gradient_norm<M: Machine<Buffer = B>>(&self, machine: &mut M) -> Result<f64, MachineError> {
        let parts = self.numbers.div_ceil(SQUARES);
        let bytes = (parts * size_of::<f32>()) as u64;
        let y = machine.empty(bytes);
        machine.launch(
            Kernel::Training(TrainingKernel::SumOfSquares),
            [count(parts), 1, 1],
            &[&self.gradients, &y],
            &[Scalar::U32(count(self.numbers))],
        );
        let read = machine.read(&y, bytes)?;
        Ok(singles(&read).map(f64::from).sum::<f64>().sqrt())
    }

    /// Applies AdamW, then downloads parameters and moments.
    pub(super) fn step<M: Machine<Buffer = B>>(
        &self,
        machine: &mut M,
        parameters: &mut Parameters,
        moments: &mut Moments,
        factors: &Factors,
    ) -> Result<(), MachineError> {
        let Factors {
            clip_factor,
            beta1,
            one_minus_beta1,
            beta2,
            one_minus_beta2,
            rate,
            second_correction,
            epsilon,
            epsilon_inside,
            decay_factor,
        } = *factors;
        let mut scalars = vec![Scalar::U32(count(self.numbers))];
        let singles_of = [
            clip_factor,
            beta1,
            one_minus_beta1,
            beta2,
            one_minus_beta2,
            rate,
            second_correction,
            epsilon,
            decay_factor,
        ];
        scalars.extend(singles_of.map(Scalar::F32));
        scalars.push(Scalar::U32(u32::from(epsilon_inside)));
        machine.launch(
            Kernel::Training(TrainingKernel::Adam),
            [count(self.numbers).div_ceil(ELEMENTWISE_THREADS), 1, 1],
            &[&self.values, &self.gradients, &self.first, &self.second],
            &scalars,
        );
        let bytes = (self.numbers * size_of::<f32>()) as u64;
        let mut read = |of: &B| machine.read(of, bytes);
        let (values, first, second) = (read(&self.values)?, read(&self.first)?, read(&self.second)?);
        for (index, (at, length)) in self.ranges.iter().enumerate() {
            let put = |to: &mut [f32], from: &[u8]| {
                let from = &from[at * size_of::<f32>()..][..length * size_of::<f32>()];
                to.iter_mut().zip(singles(from)).for_each(|(to, from)| *to = from);
            };
            put(parameters.change(index), &values);
            put(&mut moments.first[index], &first);
            put(&mut moments.second[index], &second);
        }
        Ok(())
    }
}
