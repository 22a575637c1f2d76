//! Tests of the chain as a whole: from genesis through the door, blocks and commits to what readers see.

mod blocks;
mod epochs;
mod foreign;
mod genesis;
mod hostile;
mod money;
mod pool;
mod restart;
mod simulate;
mod support;
mod views;
