//! Tests of the whole chain: genesis, transaction checks, building and committing blocks, and reads through views.

mod blocks;
mod epochs;
mod genesis;
mod imported_chain;
mod malformed;
mod pool;
mod restart;
mod simulate;
mod supply;
mod support;
mod views;
