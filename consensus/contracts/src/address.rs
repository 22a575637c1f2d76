//! Where each contract lives. An address is part of the chain's rules: changing one makes another chain.

use alloy_primitives::{Address, address};

/// Who validates, and with how much at stake.
pub const STAKE_HUB: Address = address!("0x000000000000000000000000000000000000f001");

/// Receives the base fee of every block, which Ethereum would burn: the supply of OPEN stays what genesis says. It is an
/// account without code or key until governance gives it code.
pub const FEE_COLLECTOR: Address = address!("0x000000000000000000000000000000000000fee1");
