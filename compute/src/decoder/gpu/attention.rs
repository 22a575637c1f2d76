//! Attention on a GPU: writing keys and values to their pages, and attending to them.

use cube::{Kernel, Machine, Scalar, vector_of};

use super::{Gpu, count, tables::Attention};

impl<M: Machine> Gpu<M> {
    /// Applies norms and rope to queries and keys, and writes keys and values to their pages.
    pub(super) fn write_kv(&mut self, layer: usize, qkv: &M::Buffer, rows: usize) {
        let config = &self.config;
        let tables = self.tables.as_ref().expect("a step begins before it computes");
        let gains = self.weights.blocks[layer].gains.as_ref();
        let heads = count(config.heads + 2 * config.kv_heads);
        self.machine.launch(
            Kernel::WriteKv {
                pages: self.kept,
                width: config.head,
                normed: gains.is_some(),
            },
            [count(rows), heads.div_ceil(4), 1],
            &[
                qkv,
                gains.unwrap_or(&self.unbound),
                &tables.cos,
                &tables.sin,
                &tables.kv_slots,
                &self.keys[layer],
                &self.values[layer],
            ],
            &[
                Scalar::U32(count(config.heads)),
                Scalar::U32(count(config.kv_heads)),
                Scalar::U32(count(self.options.page_tokens)),
                Scalar::F32(config.norm_epsilon),
            ],
        );
    }

    /// Runs attention for some tiles; long sequences in parts that are combined afterwards.
    pub(super) fn run_attention(
        &mut self,
        layer: usize,
        tiles: &Attention<M::Buffer>,
        qkv: &M::Buffer,
        out: &M::Buffer,
    ) {
        let config = &self.config;
        let (heads, width) = (config.heads, config.head);
        let parts = match tiles.parts {
            1 => self.unbound.clone(),
            parts => self
                .machine
                .empty((tiles.rows * heads * parts * (width + 2) * size_of::<f32>()) as u64),
        };
        let kernel = Kernel::PagedAttention {
            pages: self.kept,
            vector: vector_of(self.kept, width),
            width,
            queries: tiles.queries,
        };
        let scalars = [heads, config.kv_heads, self.options.page_tokens, tiles.part_tokens];
        self.machine.launch(
            kernel,
            [count(tiles.tiles), count(config.kv_heads), count(tiles.parts)],
            &[
                qkv,
                &self.keys[layer],
                &self.values[layer],
                &tiles.table,
                &tiles.pages,
                out,
                &parts,
            ],
            &scalars.map(|n| Scalar::U32(count(n))),
        );
        if tiles.parts > 1 {
            self.machine.launch(
                Kernel::Combine,
                [count(tiles.rows * heads), 1, 1],
                &[&parts, &tiles.which, out],
                &[tiles.parts, width, heads].map(|n| Scalar::U32(count(n))),
            );
        }
    }
}
