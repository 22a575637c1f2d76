//! The operations of a decoder, as launches of kernels.

use std::sync::Arc;

use cube::{Kernel, Machine, MachineError, Scalar};

use super::{Gpu, Rows, count, tables::Tables};
use crate::{
    decoder::{Norm, Ops, Step},
    forward::StepError,
    lora::{Adapter, AdapterHash, Projection},
};

fn failed(error: MachineError) -> StepError {
    StepError::Device(error.0)
}

impl<M: Machine> Ops for Gpu<M> {
    type Rows = Rows<M::Buffer>;

    fn verifies(&self) -> bool {
        false
    }

    fn load(&mut self, slot: u32, adapter: &Arc<Adapter>) -> Result<(), StepError> {
        self.adapters.load(slot, adapter, &self.config)
    }

    fn unload(&mut self, slot: u32) {
        self.adapters.unload(slot);
    }

    fn loaded(&self, slot: u32) -> Option<AdapterHash> {
        self.adapters.loaded(slot)
    }

    fn copy_page(&mut self, from: u32, to: u32, tokens: usize) -> Result<(), StepError> {
        let heads = count(self.config.kv_heads);
        let singles = [tokens, self.options.page_tokens].map(|n| count(n * self.config.head));
        for pool in self.keys.iter().chain(&self.values) {
            self.machine.launch(
                Kernel::CopyPage(self.kept),
                [heads, 1, 1],
                &[pool],
                &[from, to, singles[0], singles[1]].map(Scalar::U32),
            );
        }
        Ok(())
    }

    fn begin(&mut self, step: &Step) -> Result<(), StepError> {
        self.adapters.make_resident(&mut self.machine, step)?;
        let last = step.positions.iter().max().map_or(0, |position| *position as usize);
        self.rope.reach(last + 1);
        let adapters = &self.adapters;
        let tables = Tables::of(
            &mut self.machine,
            step,
            &self.config,
            &self.options,
            &self.rope,
            |slot| adapters.rank(slot),
        );
        self.tables = Some(tables);
        Ok(())
    }

    fn embed(&mut self, step: &Step) -> Self::Rows {
        let (rows, width) = (step.tokens.len(), self.config.hidden);
        let y = self.machine.empty((rows * width * size_of::<f32>()) as u64);
        let (table, tokens) = (self.weights.embedding.clone(), self.tables().tokens.clone());
        let kernel = Kernel::Embed(self.weights.element);
        self.elementwise(
            kernel,
            rows,
            width,
            &[&table, &tokens, &y],
            &[Scalar::U32(count(width))],
        );
        Rows { buffer: y, rows }
    }

    fn norm(&mut self, norm: Norm, x: &Self::Rows) -> Self::Rows {
        let width = self.config.hidden;
        let y = self.machine.empty((x.rows * width * size_of::<f32>()) as u64);
        let gain = match norm {
            Norm::Attention(layer) => &self.weights.blocks[layer].attention_norm,
            Norm::FeedForward(layer) => &self.weights.blocks[layer].feed_forward_norm,
            Norm::Last => &self.weights.norm,
        };
        self.machine.launch(
            Kernel::Norm,
            [count(x.rows), 1, 1],
            &[&x.buffer, gain, &y],
            &[Scalar::U32(count(width)), Scalar::F32(self.config.norm_epsilon)],
        );
        Rows {
            buffer: y,
            rows: x.rows,
        }
    }

    fn linear<const N: usize>(
        &mut self,
        _step: &Step,
        layer: usize,
        sites: [Projection; N],
        x: &Self::Rows,
    ) -> [Self::Rows; N] {
        let linear = self.weights.blocks[layer].linear(&sites).clone();
        let y = self.machine.empty((x.rows * linear.outs * size_of::<f32>()) as u64);
        self.multiply(&linear, &x.buffer, &y, x.rows, false);
        self.adapt(layer, &sites, &x.buffer, &y);
        sites.map(|_| Rows {
            buffer: y.clone(),
            rows: x.rows,
        })
    }

    fn linear_onto(&mut self, _step: &Step, layer: usize, site: Projection, x: &Self::Rows, onto: &mut Self::Rows) {
        let linear = self.weights.blocks[layer].linear(&[site]).clone();
        self.multiply(&linear, &x.buffer, &onto.buffer, x.rows, true);
        self.adapt(layer, &[site], &x.buffer, &onto.buffer);
    }

    fn attend(&mut self, step: &Step, layer: usize, [qkv, _, _]: [Self::Rows; 3]) -> Self::Rows {
        let rows = step.tokens.len();
        self.write_kv(layer, &qkv.buffer, rows);
        let bytes = rows * self.config.heads * self.config.head * size_of::<f32>();
        let out = self.machine.empty(bytes as u64);
        for tiles in self.tables().attention.clone() {
            self.run_attention(layer, &tiles, &qkv.buffer, &out);
        }
        Rows { buffer: out, rows }
    }

    fn swiglu(&mut self, [both, _]: [Self::Rows; 2]) -> Self::Rows {
        let (rows, width) = (both.rows, self.config.intermediate);
        let y = self.machine.empty((rows * width * size_of::<f32>()) as u64);
        self.elementwise(
            Kernel::Swiglu,
            rows,
            width,
            &[&both.buffer, &y],
            &[Scalar::U32(count(width))],
        );
        Rows { buffer: y, rows }
    }

    fn wanted(&mut self, step: &Step, x: &Self::Rows) -> Self::Rows {
        let (rows, width) = (step.wanted.len(), self.config.hidden);
        let y = self.machine.empty((rows * width * size_of::<f32>()) as u64);
        let wanted = self.tables().wanted.clone();
        self.elementwise(
            Kernel::GatherRows,
            rows,
            width,
            &[&x.buffer, &wanted, &y],
            &[Scalar::U32(count(width))],
        );
        Rows { buffer: y, rows }
    }

    fn logits(&mut self, x: &Self::Rows, logits: &mut Vec<f32>) -> Result<(), StepError> {
        let head = self.weights.head.clone();
        let bytes = (x.rows * head.outs * size_of::<f32>()) as u64;
        let y = self.machine.empty(bytes);
        self.multiply(&head, &x.buffer, &y, x.rows, false);
        let read = self.machine.read(&y, bytes).map_err(failed)?;
        logits.extend(read.as_chunks().0.iter().map(|chunk| f32::from_le_bytes(*chunk)));
        Ok(())
    }

    fn free(&mut self, rows: Self::Rows) {
        drop(rows);
    }
}
