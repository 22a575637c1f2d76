//! Texts for reverts and halts, in geth's words where it has any.

use alloy_sol_types::{Panic, Revert, SolError, SolInterface};
use contracts::{StakeHub, TestToken};
use revm::{bytecode::opcode::OpCode, context::result::HaltReason, interpreter::STACK_LIMIT};

/// The reason in the data of a revert: `Error(string)` and `Panic(uint256)` of Solidity, and the errors that the
/// contracts of this chain declare. `None` for other data, which only the contract's ABI explains.
pub fn reason(data: &[u8]) -> Option<String> {
    if let Ok(revert) = Revert::abi_decode(data) {
        return Some(revert.reason);
    }
    let Ok(Panic { code }) = Panic::abi_decode(data) else {
        return declared(data);
    };
    Some(
        u64::try_from(code)
            .ok()
            .and_then(panic)
            .map_or_else(|| format!("unknown panic code: {code:#x}"), str::to_owned),
    )
}

/// An error of this chain's contracts with its fields, such as `StakeTooSmall { given: 1, needed: 1000 }`.
fn declared(data: &[u8]) -> Option<String> {
    let hub = StakeHub::StakeHubErrors::abi_decode(data).map(|error| format!("{error:?}"));
    let token = || TestToken::TestTokenErrors::abi_decode(data).map(|error| format!("{error:?}"));
    // The outer name is the enum variant's and repeats the error's.
    let text = hub.or_else(|_| token()).ok()?;
    let inner = text
        .split_once('(')
        .map_or(text.as_str(), |(_, inner)| inner.strip_suffix(')').unwrap_or(inner));
    Some(inner.to_owned())
}

/// The text for a Solidity panic code.
fn panic(code: u64) -> Option<&'static str> {
    Some(match code {
        0x00 => "generic panic",
        0x01 => "assert(false)",
        0x11 => "arithmetic underflow or overflow",
        0x12 => "division or modulo by zero",
        0x21 => "enum overflow",
        0x22 => "invalid encoded storage byte array accessed",
        0x31 => "out-of-bounds array access; popping on an empty array",
        0x32 => "out-of-bounds access of an array or bytesN",
        0x41 => "out of memory",
        0x51 => "uninitialized function",
        _ => return None,
    })
}

/// The last instruction that was executed, and the stack before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastStep {
    pub opcode: u8,
    /// Words on the stack.
    pub stack: usize,
}

/// The text for a halt at this instruction. Geth names the instruction.
pub fn halt_at(reason: &HaltReason, last: Option<LastStep>) -> String {
    let Some(LastStep { opcode, stack }) = last else {
        return halt(reason);
    };
    let info = OpCode::new(opcode).map(|opcode| (opcode.as_str(), opcode.inputs(), opcode.outputs()));
    match (reason, info) {
        (HaltReason::OpcodeNotFound, None) => format!("invalid opcode: opcode {opcode:#x} not defined"),
        (HaltReason::OpcodeNotFound | HaltReason::NotActivated, Some((name, ..))) => format!("invalid opcode: {name}"),
        (HaltReason::StackUnderflow, Some((_, inputs, _))) => format!("stack underflow ({stack} <=> {inputs})"),
        (HaltReason::StackOverflow, Some((_, inputs, outputs))) => {
            let limit = STACK_LIMIT + usize::from(inputs) - usize::from(outputs);
            format!("stack limit reached {stack} ({limit})")
        }
        _ => halt(reason),
    }
}

/// The text for a halt whose instruction is not known.
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
    fn an_error_of_a_system_contract_is_decoded_with_its_fields() {
        let error = StakeHub::StakeTooSmall {
            given: U256::from(1),
            needed: U256::from(1000),
        };
        assert_eq!(
            reason(&error.abi_encode()).unwrap(),
            "StakeTooSmall { given: 1, needed: 1000 }"
        );
        assert_eq!(
            reason(&StakeHub::LastValidator {}.abi_encode()).unwrap(),
            "LastValidator"
        );
        assert_eq!(reason(&[1, 2, 3, 4]), None);
    }

    #[test]
    fn a_revert_message_is_decoded() {
        let data = Revert::from("not yours").abi_encode();
        assert_eq!(reason(&data).as_deref(), Some("not yours"));
    }

    #[test]
    fn a_panic_code_has_a_text() {
        let check = |code: u64, expect: &str| {
            let data = Panic { code: U256::from(code) }.abi_encode();
            assert_eq!(reason(&data).as_deref(), Some(expect));
        };
        check(0x11, "arithmetic underflow or overflow");
        check(0x01, "assert(false)");
        check(0x99, "unknown panic code: 0x99");
    }

    #[test]
    fn a_halt_names_the_instruction() {
        let check = |reason: HaltReason, opcode: u8, stack: usize, expect: &str| {
            assert_eq!(halt_at(&reason, Some(LastStep { opcode, stack })), expect);
        };
        check(
            HaltReason::OpcodeNotFound,
            0xef,
            0,
            "invalid opcode: opcode 0xef not defined",
        );
        check(HaltReason::InvalidFEOpcode, 0xfe, 0, "invalid opcode: INVALID");
        check(HaltReason::StackUnderflow, 0x01, 1, "stack underflow (1 <=> 2)");
        check(HaltReason::StackOverflow, 0x60, 1024, "stack limit reached 1024 (1023)");
        assert_eq!(halt_at(&HaltReason::InvalidJump, None), "invalid jump destination");
    }

    #[test]
    fn other_data_has_no_reason() {
        for data in [&[][..], &hex!("deadbeef"), &hex!("08c379a0"), &hex!("08c379a0ffffffff")] {
            assert_eq!(reason(data), None);
        }
    }
}
