//! `eth_`, one file per topic.

pub(crate) mod blocks;
pub(crate) mod calls;
pub(crate) mod fees;
pub(crate) mod filters;
pub(crate) mod logs;
pub(crate) mod simulate;
pub(crate) mod state;
pub(crate) mod subscribe;
pub(crate) mod transactions;
