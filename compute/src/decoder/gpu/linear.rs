//! Linear layers on a GPU: one kernel for few rows, one on tensor cores for many, and two for adapters.

use cube::{Element, GEMM_FRAGMENTS, GEMV_TILES, Kernel, Machine, Scalar, vector_of};

use super::{Gpu, count, weights::Linear};
use crate::lora::Projection;

/// Number of cubes that keeps a GPU busy; a product with fewer is split along the columns.
const CUBES_WANTED: usize = 512;
/// Least steps of a part.
const PART_STEPS_MIN: usize = 4;
/// Columns of a step of the kernel.
const STEP_COLUMNS: usize = 64;
/// Outputs of a cube.
const GEMM_OUTS: usize = 64;

impl<M: Machine> Gpu<M> {
    /// Sets `y = W x + bias`, or adds it to `y`.
    pub(super) fn multiply(
        &mut self,
        linear: &Linear<M::Buffer>,
        x: &M::Buffer,
        y: &M::Buffer,
        rows: usize,
        add: bool,
    ) {
        let element = self.weights.element;
        let vector = vector_of(element, linear.columns);
        let bias = linear.bias.clone().unwrap_or_else(|| self.unbound.clone());
        let mode = u32::from(add) * cube::ADD + u32::from(linear.bias.is_some()) * cube::BIAS;
        if element != Element::F32 && vector > 1 && rows >= self.options.tensor_rows_min {
            return self.multiply_tiles(linear, x, y, &bias, rows, mode);
        }
        let tile = GEMV_TILES
            .into_iter()
            .find(|tile| *tile >= rows)
            .unwrap_or(GEMV_TILES[GEMV_TILES.len() - 1]);
        let outs = 4 * Kernel::gemv_outs(tile);
        let kernel = Kernel::Gemv {
            weight: element,
            vector,
            tile,
        };
        let cubes = [count(linear.outs.div_ceil(outs)), count(rows.div_ceil(tile)), 1];
        let scalars = [linear.columns / vector, linear.outs, rows].map(|n| Scalar::U32(count(n)));
        let [vectors, outs, rows] = scalars;
        self.machine.launch(
            kernel,
            cubes,
            &[&linear.weight, x, &bias, y],
            &[vectors, outs, rows, Scalar::U32(mode)],
        );
    }

    /// The same on tensor cores, split along the columns where there are few outputs.
    fn multiply_tiles(
        &mut self,
        linear: &Linear<M::Buffer>,
        x: &M::Buffer,
        y: &M::Buffer,
        bias: &M::Buffer,
        rows: usize,
        mode: u32,
    ) {
        let element = self.weights.element;
        let most = GEMM_FRAGMENTS[GEMM_FRAGMENTS.len() - 1];
        let fragments = GEMM_FRAGMENTS.into_iter().find(|n| n * 16 >= rows).unwrap_or(most);
        let (across, down) = (linear.outs.div_ceil(GEMM_OUTS), rows.div_ceil(16 * fragments));
        let steps = linear.columns.div_ceil(STEP_COLUMNS);
        let parts = (CUBES_WANTED / (across * down)).clamp(1, (steps / PART_STEPS_MIN).max(1));
        let part = steps.div_ceil(parts);
        let parts = steps.div_ceil(part);
        let (wide, tall) = (across * GEMM_OUTS, down * 16 * fragments);
        let sums = self.machine.empty((parts * wide * tall * size_of::<f32>()) as u64);
        let vectors_each = STEP_COLUMNS / element.vector();
        let scalars = [
            linear.columns / element.vector(),
            linear.outs,
            rows,
            part * vectors_each,
        ];
        self.machine.launch(
            Kernel::Gemm {
                weight: element,
                fragments,
            },
            [count(across), count(down), count(parts)],
            &[&linear.weight, x, &sums],
            &scalars.map(|n| Scalar::U32(count(n))),
        );
        let scalars = [linear.outs, wide, tall, parts].map(|n| Scalar::U32(count(n)));
        let [outs, wide, tall, parts] = scalars;
        self.elementwise(
            Kernel::SumParts,
            rows,
            linear.outs,
            &[&sums, bias, y],
            &[outs, wide, tall, parts, Scalar::U32(mode)],
        );
    }

    /// Adds the adapters of the step to the outputs `y` of sites that read the same rows.
    pub(super) fn adapt(&mut self, layer: usize, sites: &[Projection], x: &M::Buffer, y: &M::Buffer) {
        let Some(tiles) = self.tables.as_ref().and_then(|tables| tables.lora.as_ref()) else {
            return;
        };
        let inside = self.config.linear_shape(sites[0])[1];
        let outs: Vec<usize> = sites.iter().map(|site| self.config.linear_shape(*site)[0]).collect();
        let (all, widest): (usize, usize) = (outs.iter().sum(), outs.iter().copied().max().unwrap_or(0));
        let group = self.adapters.group(sites[0]);
        let (tile, rank_max) = (tiles.tile, tiles.rank_max);
        let cells = tiles.tiles * tiles.most * sites.len() * tile * rank_max;
        let h = self.machine.empty((cells * size_of::<f32>()) as u64);
        let site = layer * Projection::ALL.len() + sites[0] as usize;
        let shared = [site, self.adapters.slot_sites(), tiles.most, rank_max].map(|n| Scalar::U32(count(n)));
        let [site, slot_sites, most, rank_most] = shared;
        let pool = &self.adapters.pool;
        self.machine.launch(
            Kernel::Shrink {
                pool: self.kept,
                vector: group.inside,
                tile,
            },
            [
                count(tiles.tiles * tiles.most),
                count(rank_max).div_ceil(4),
                count(sites.len()),
            ],
            &[
                x,
                pool,
                &self.adapters.factors,
                &tiles.rows,
                &tiles.ranges,
                &tiles.mix,
                &h,
            ],
            &[
                Scalar::U32(count(inside / group.inside)),
                site,
                slot_sites,
                most,
                rank_most,
            ],
        );
        self.machine.launch(
            Kernel::Expand {
                pool: self.kept,
                vector: group.outs,
                tile,
            },
            [
                count((widest / group.outs).div_ceil(64)),
                count(tiles.tiles),
                count(sites.len()),
            ],
            &[
                &h,
                pool,
                &self.adapters.factors,
                &self.adapters.scales,
                &tiles.rows,
                &tiles.ranges,
                &tiles.mix,
                &tiles.weights,
                &group.columns,
                y,
            ],
            &[Scalar::U32(count(all / group.outs)), site, slot_sites, most, rank_most],
        );
    }
}
