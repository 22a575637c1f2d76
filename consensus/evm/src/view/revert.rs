//! What a revert or another failure says, in words where it has any.

use alloy_sol_types::{Panic, Revert, SolError};
use revm::context::result::HaltReason;

/// The reason in the data of a revert: `Error(string)` and `Panic(uint256)`, as Solidity makes them. Custom errors need
/// the contract's ABI, so of those only the data is there.
pub fn reason(data: &[u8]) -> Option<String> {
    if let Ok(revert) = Revert::abi_decode(data) {
        return Some(revert.reason);
    }
    let panic = Panic::abi_decode(data).ok()?;
    Some(panic.to_string())
}

/// Why execution stopped, in the words of other clients.
pub fn halt(reason: &HaltReason) -> String {
    let words = match reason {
        HaltReason::OutOfGas(_) => "out of gas",
        HaltReason::OpcodeNotFound | HaltReason::NotActivated => "invalid opcode",
        HaltReason::InvalidFEOpcode => "invalid opcode: INVALID",
        HaltReason::InvalidJump => "invalid jump destination",
        HaltReason::StackUnderflow => "stack underflow",
        HaltReason::StackOverflow => "stack limit reached 1024",
        HaltReason::OutOfOffset => "return data out of bounds",
        HaltReason::CreateCollision => "contract address collision",
        HaltReason::NonceOverflow => "nonce uint64 overflow",
        HaltReason::CreateContractSizeLimit => "max code size exceeded",
        HaltReason::CreateContractStartingWithEF => "invalid code: must not begin with 0xef",
        HaltReason::CreateInitCodeSizeLimit => "max initcode size exceeded",
        HaltReason::StateChangeDuringStaticCall | HaltReason::CallNotAllowedInsideStatic => "write protection",
        HaltReason::OutOfFunds => "insufficient balance for transfer",
        HaltReason::CallTooDeep => "max call depth exceeded",
        other => return format!("{other:?}"),
    };
    words.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::{U256, hex};

    #[test]
    fn a_message_is_read() {
        let data = Revert::from("not yours").abi_encode();
        assert_eq!(reason(&data).as_deref(), Some("not yours"));
    }

    #[test]
    fn a_panic_is_named() {
        let data = Panic { code: U256::from(0x11) }.abi_encode();
        assert_eq!(
            reason(&data).as_deref(),
            Some("panic: arithmetic underflow or overflow (0x11)")
        );
    }

    #[test]
    fn other_data_has_no_reason() {
        for data in [&[][..], &hex!("deadbeef"), &hex!("08c379a0"), &hex!("08c379a0ffffffff")] {
            assert_eq!(reason(data), None);
        }
    }
}
