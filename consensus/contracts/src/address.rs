//! Addresses of the system contracts. They are rules of the chain: another address makes another chain.

use alloy_primitives::{Address, address};

/// The stake hub: validators and their stakes.
pub const STAKE_HUB: Address = address!("0x000000000000000000000000000000000000f001");

/// The account that receives the base fee of every block. It has neither code nor key until governance gives it
/// code.
pub const FEE_COLLECTOR: Address = address!("0x000000000000000000000000000000000000fee1");
