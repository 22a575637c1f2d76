//! The tables of a step: tokens, slots of keys and values, rope angles, the tiles of attention, and the adapters of
//! each row. All are uploaded in one piece.

use std::collections::BTreeMap;

use cube::{ATTENTION_QUERIES, LORA_TILES, Machine, NO_ROW};

use super::{GpuOptions, count, pack::Pack};
use crate::{
    decoder::Step,
    model::{Config, rope::Rope},
};

/// Positions in one part of attention. A constant, so that the rest of the batch does not change a row's sums.
const PART_TOKENS: usize = 256;
/// Most parts of a row; beyond that, parts grow.
const PARTS_MAX: usize = 64;

/// Tiles of rows for attention.
#[derive(Clone)]
pub(super) struct Attention<B> {
    /// Most query rows of a tile.
    pub(super) queries: usize,
    pub(super) tiles: usize,
    /// Number of rows of all tiles.
    pub(super) rows: usize,
    pub(super) parts: usize,
    pub(super) part_tokens: usize,
    pub(super) table: B,
    pub(super) pages: B,
    /// Row of each query, in the order of the tiles.
    pub(super) which: B,
}

/// Tiles of rows with the same adapters.
pub(super) struct Lora<B> {
    /// Most rows of a tile.
    pub(super) tile: usize,
    pub(super) tiles: usize,
    /// Most adapters of a row.
    pub(super) most: usize,
    pub(super) rank_max: usize,
    pub(super) rows: B,
    pub(super) ranges: B,
    pub(super) mix: B,
    pub(super) weights: B,
}

/// All tables of a step, on the machine.
pub(super) struct Tables<B> {
    pub(super) tokens: B,
    pub(super) kv_slots: B,
    pub(super) cos: B,
    pub(super) sin: B,
    pub(super) wanted: B,
    pub(super) attention: Vec<Attention<B>>,
    pub(super) lora: Option<Lora<B>>,
}

/// Tables of attention before the upload.
struct AttentionTiles {
    queries: usize,
    rows: Vec<u32>,
    tiles: Vec<[u32; 5]>,
    pages: Vec<u32>,
    parts: usize,
    part_tokens: usize,
}

impl AttentionTiles {
    /// Makes tiles of the spans with one row (decoding), or of those with more (prompts).
    fn of(step: &Step, config: &Config, single: bool) -> Option<Self> {
        let group = config.heads / config.kv_heads;
        let most = ATTENTION_QUERIES[ATTENTION_QUERIES.len() - 1];
        let queries = if single {
            ATTENTION_QUERIES
                .into_iter()
                .find(|queries| *queries >= group)
                .unwrap_or(most)
        } else {
            most
        };
        let tile_rows = queries / group;
        let mut tasks = Self {
            queries,
            rows: Vec::new(),
            tiles: Vec::new(),
            pages: Vec::new(),
            parts: 1,
            part_tokens: usize::MAX,
        };
        let spans = step.spans.iter().filter(|span| (span.rows == 1) == single);
        let mut reach = 0;
        for span in spans {
            let table = count(tasks.pages.len());
            tasks.pages.extend(&span.pages);
            reach = reach.max(span.position + span.rows);
            for first in (0..span.rows).step_by(tile_rows) {
                let rows = tile_rows.min(span.rows - first);
                let at = count(tasks.rows.len());
                tasks.tiles.push([
                    count(span.row + first),
                    count(rows),
                    count(span.position + first),
                    table,
                    at,
                ]);
                tasks.rows.extend((0..rows).map(|row| count(span.row + first + row)));
            }
        }
        // Prompts have rows enough to keep a GPU busy without parts.
        if single {
            tasks.part_tokens = PART_TOKENS.max(reach.div_ceil(PARTS_MAX).next_multiple_of(32));
            tasks.parts = reach.div_ceil(tasks.part_tokens);
        } else {
            tasks.part_tokens = reach.next_multiple_of(32);
        }
        (!tasks.tiles.is_empty()).then_some(tasks)
    }
}

/// Tables of adapters before the upload.
struct Mixes {
    tile: usize,
    most: usize,
    rank_max: usize,
    rows: Vec<u32>,
    ranges: Vec<u32>,
    mix: Vec<u32>,
    weights: Vec<f32>,
}

impl Mixes {
    fn of(step: &Step, rank: impl Fn(u32) -> usize) -> Option<Self> {
        // The adapters of each row, in the order in which they are added.
        let mut rows: BTreeMap<u32, Vec<(u32, u32)>> = BTreeMap::new();
        for group in &step.groups {
            for (row, weight) in group.rows.iter().zip(&group.weights) {
                rows.entry(*row).or_default().push((group.slot, weight.to_bits()));
            }
        }
        let mut mixes: BTreeMap<Vec<(u32, u32)>, Vec<u32>> = BTreeMap::new();
        for (row, mix) in rows {
            mixes.entry(mix).or_default().push(row);
        }
        // A tile of many rows reads an adapter once for all of them, but wastes work on rows that it lacks.
        let [alone, many] = LORA_TILES;
        let (all, tiles): (usize, usize) = mixes.values().fold((0, 0), |(all, tiles), rows| {
            (all + rows.len(), tiles + rows.len().div_ceil(many))
        });
        let mut table = Self {
            tile: if all >= 2 * tiles { many } else { alone },
            most: mixes.keys().map(Vec::len).max()?,
            rank_max: step
                .groups
                .iter()
                .map(|group| rank(group.slot))
                .max()
                .unwrap_or(0)
                .max(1),
            rows: Vec::new(),
            ranges: Vec::new(),
            mix: Vec::new(),
            weights: Vec::new(),
        };
        for (mix, rows) in mixes {
            let begin = count(table.mix.len());
            for rows in rows.chunks(table.tile) {
                table.rows.extend(rows);
                table.rows.resize(table.rows.len().next_multiple_of(table.tile), NO_ROW);
                table.ranges.extend([begin, count(mix.len())]);
            }
            table.mix.extend(mix.iter().map(|(slot, _)| slot));
            table
                .weights
                .extend(mix.iter().map(|(_, weight)| f32::from_bits(*weight)));
        }
        Some(table)
    }
}

impl<B: Clone + Send> Tables<B> {
    /// Uploads the tables of a step. `rank` returns the largest rank of a slot's adapter.
    pub(super) fn of<M: Machine<Buffer = B>>(
        machine: &mut M,
        step: &Step,
        config: &Config,
        _options: &GpuOptions,
        rope: &Rope,
        rank: impl Fn(u32) -> usize,
    ) -> Self {
        let mut pack = Pack::default();
        let tokens = pack.words(step.tokens.iter().copied());
        let kv_slots = pack.words(step.kv_slots.iter().flat_map(|(page, inside)| [*page, *inside]));
        let angles = || step.positions.iter().map(|position| rope.at(*position as usize));
        let cos = pack.singles(angles().flat_map(|(cos, _)| cos));
        let sin = pack.singles(angles().flat_map(|(_, sin)| sin));
        let wanted = pack.words(step.wanted.iter().copied());
        let tasks = [true, false].map(|single| {
            AttentionTiles::of(step, config, single).map(|tasks| {
                let table = pack.words(tasks.tiles.iter().flatten().copied());
                let pages = pack.words(tasks.pages.iter().copied());
                let which = pack.words(tasks.rows.iter().copied());
                (tasks, [table, pages, which])
            })
        });
        let mixes = Mixes::of(step, rank).map(|mixes| {
            let rows = pack.words(mixes.rows.iter().copied());
            let ranges = pack.words(mixes.ranges.iter().copied());
            let mix = pack.words(mixes.mix.iter().copied());
            let weights = pack.singles(&mixes.weights);
            (mixes, [rows, ranges, mix, weights])
        });
        let mut part = pack.send(machine);
        Self {
            tokens: part(tokens),
            kv_slots: part(kv_slots),
            cos: part(cos),
            sin: part(sin),
            wanted: part(wanted),
            attention: tasks
                .into_iter()
                .flatten()
                .map(|(tasks, [table, pages, which])| Attention {
                    queries: tasks.queries,
                    tiles: tasks.tiles.len(),
                    rows: tasks.rows.len(),
                    parts: tasks.parts,
                    part_tokens: tasks.part_tokens,
                    table: part(table),
                    pages: part(pages),
                    which: part(which),
                })
                .collect(),
            lora: mixes.map(|(mixes, [rows, ranges, mix, weights])| Lora {
                tile: mixes.tile,
                tiles: mixes.ranges.len() / 2,
                most: mixes.most,
                rank_max: mixes.rank_max,
                rows: part(rows),
                ranges: part(ranges),
                mix: part(mix),
                weights: part(weights),
            }),
        }
    }
}
