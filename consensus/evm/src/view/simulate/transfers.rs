//! Collects the logs of simulated calls and, if requested, one log per transfer of OPEN, as if OPEN were a token.
//! The logs of a failed call are dropped.

use alloy_primitives::{Address, B256, Log, LogData, U256, address, b256};
use revm::{
    Inspector,
    context::{ContextTr, JournalTr},
    interpreter::{
        CallInputs, CallOutcome, CallScheme, CreateInputs, CreateOutcome, InstructionResult, Interpreter,
        interpreter_types::Jumps,
    },
};

use crate::view::revert::LastStep;

/// The address in transfer logs (ERC-7528).
const COIN: Address = address!("eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee");
/// Topic of `Transfer(address,address,uint256)`.
const TRANSFER: B256 = b256!("ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef");

/// Collects the logs of one transaction after the other.
#[derive(Debug, Default)]
pub(super) struct Logs {
    transfers: bool,
    /// Logs of each open call.
    frames: Vec<Vec<Log>>,
    /// Logs of the finished transaction.
    done: Vec<Log>,
    last: Option<LastStep>,
}

impl Logs {
    pub(super) fn new(transfers: bool) -> Self {
        Self {
            transfers,
            ..Self::default()
        }
    }

    /// Takes the logs of the last transaction.
    pub(super) fn take(&mut self) -> Vec<Log> {
        self.frames.clear();
        self.last = None;
        std::mem::take(&mut self.done)
    }

    /// The last step of the last transaction.
    pub(super) fn last(&self) -> Option<LastStep> {
        self.last
    }

    fn enter(&mut self, from: Address, to: Address, value: U256) {
        self.frames.push(Vec::new());
        self.transfer(from, to, value);
    }

    fn transfer(&mut self, from: Address, to: Address, value: U256) {
        if self.transfers && !value.is_zero() {
            let topics = vec![TRANSFER, from.into_word(), to.into_word()];
            let data = value.to_be_bytes::<32>().into();
            self.push(Log {
                address: COIN,
                data: LogData::new_unchecked(topics, data),
            });
        }
    }

    fn push(&mut self, log: Log) {
        if let Some(frame) = self.frames.last_mut() {
            frame.push(log);
        }
    }

    fn leave(&mut self, result: InstructionResult) {
        let Some(frame) = self.frames.pop().filter(|_| result.is_ok()) else {
            return;
        };
        match self.frames.last_mut() {
            Some(caller) => caller.extend(frame),
            None => self.done = frame,
        }
    }
}

impl<CTX: ContextTr> Inspector<CTX> for Logs {
    fn step(&mut self, interp: &mut Interpreter, _: &mut CTX) {
        self.last = Some(LastStep {
            opcode: interp.bytecode.opcode(),
            stack: interp.stack.len(),
        });
    }

    fn log(&mut self, _: &mut CTX, log: Log) {
        self.push(log);
    }

    fn call(&mut self, _: &mut CTX, inputs: &mut CallInputs) -> Option<CallOutcome> {
        let moves = matches!(inputs.scheme, CallScheme::Call | CallScheme::StaticCall);
        let value = inputs.transfer_value().filter(|_| moves).unwrap_or_default();
        self.enter(inputs.caller, inputs.target_address, value);
        None
    }

    fn call_end(&mut self, _: &mut CTX, _: &CallInputs, outcome: &mut CallOutcome) {
        self.leave(outcome.result.result);
    }

    fn create(&mut self, context: &mut CTX, inputs: &mut CreateInputs) -> Option<CreateOutcome> {
        let caller = inputs.caller();
        let nonce = context
            .journal_mut()
            .load_account(caller)
            .map_or(0, |account| account.data.info.nonce);
        self.enter(caller, inputs.created_address(nonce), inputs.value());
        None
    }

    fn create_end(&mut self, _: &mut CTX, _: &CreateInputs, outcome: &mut CreateOutcome) {
        self.leave(outcome.result.result);
    }

    fn selfdestruct(&mut self, contract: Address, target: Address, value: U256) {
        self.transfer(contract, target, value);
    }
}
