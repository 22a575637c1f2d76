//! Traces of transactions for `debug_trace*`, with geth's built-in tracers.
//!
//! A transaction is traced where it ran: on the state before its block, after the transactions before it. The
//! recorded bytes are bounded, because a trace that copies the stack at every step can be a thousand times the size
//! of the block.

use std::sync::Arc;

use alloy_consensus::{Header, TxEnvelope, transaction::Recovered};
use alloy_evm::{Evm, FromRecoveredTx, block::SystemCaller};
use alloy_primitives::B256;
use alloy_rpc_types_trace::geth::{GethDebugTracingOptions, GethTrace, TraceResult};
use protocol::TxHash;
use revm::{
    DatabaseCommit, Inspector,
    context::{
        BlockEnv, ContextError, ContextTr, TxEnv,
        result::{EVMError, ResultAndState},
    },
    inspector::{JournalExt, NoOpInspector},
    interpreter::{
        CallInputs, CallOutcome as CallEnd, CreateInputs, CreateOutcome, Interpreter, interpreter_types::MemoryTr,
    },
    primitives::{Address, Log, U256},
};
use revm_inspectors::tracing::{DebugInspector, DebugInspectorError, TransactionContext};

use super::{
    At, CallError, CallRequest, GAS_CAP, Overrides, View, ViewError,
    overrides::override_state,
    sandbox::{Sandbox, SandboxError, sandbox, sandbox_evm},
};
use crate::state::Kv;

/// Approximate limit of the recorded bytes of one trace.
const RECORDED_BYTES_MAX: usize = 256 << 20;
/// Bytes of a recorded step without its stack and memory.
const STEP_BYTES: usize = 256;

/// Reason that there is no trace. A transaction that reverted has one.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    #[error(transparent)]
    View(#[from] ViewError),
    /// Genesis has no transactions.
    #[error("genesis is not traceable")]
    Genesis,
    #[error("transaction not found")]
    NoTransaction,
    #[error(transparent)]
    Call(#[from] CallError),
    /// The tracer does not exist, or its configuration is invalid.
    #[error(
        "{0}; there are callTracer, prestateTracer, 4byteTracer, flatCallTracer, muxTracer, noopTracer, and the default"
    )]
    Tracer(String),
    /// The trace exceeds its limit of recorded bytes.
    #[error("the trace records more than {} MiB; disable the stack and the memory, or use callTracer", RECORDED_BYTES_MAX >> 20)]
    TooLong,
    /// A block that was executed before does not execute again: the state of this node is damaged.
    #[error("could not run the block again: {0}")]
    Replay(String),
}

impl<K: Kv> View<K> {
    /// Traces an included transaction, by executing the transactions before it again.
    pub fn trace_transaction(&self, hash: TxHash, options: &GethDebugTracingOptions) -> Result<GethTrace, TraceError> {
        let (height, index) = self.position(hash)?.ok_or(TraceError::NoTransaction)?;
        let wanted = index as usize;
        let mut traces = self.trace(height, options, |index| index == wanted, wanted + 1)?;
        traces.pop().map(|(_, trace)| trace).ok_or(TraceError::NoTransaction)
    }

    /// Traces every transaction of a block, by executing the block again.
    pub fn trace_block(&self, height: u64, options: &GethDebugTracingOptions) -> Result<Vec<TraceResult>, TraceError> {
        let traces = self.trace(height, options, |_| true, usize::MAX)?;
        let result = |(hash, result)| TraceResult::Success {
            result,
            tx_hash: Some(hash),
        };
        Ok(traces.into_iter().map(result).collect())
    }

    /// Traces a call on the state after a block.
    pub fn trace_call(
        &self,
        request: &CallRequest,
        at: At,
        overrides: &Overrides,
        options: &GethDebugTracingOptions,
    ) -> Result<GethTrace, TraceError> {
        let (header, db) = self.database(at)?;
        let env = self.environment(request, &header, overrides)?;
        let mut sandbox = sandbox(&self.spec, db);
        {
            let mut evm = sandbox_evm(&mut sandbox, env.clone(), NoOpInspector);
            override_state(&mut evm, &overrides.state).map_err(CallError::from)?;
        }
        let gas = request.gas.unwrap_or(GAS_CAP).min(GAS_CAP);
        let transaction = request.transaction(self.spec.chain_id, gas)?;
        let mut evm = sandbox_evm(&mut sandbox, env, BoundedTracer::new(options)?);
        // The accounts are overridden already; this moves the precompiles of the second EVM as well.
        override_state(&mut evm, &overrides.state).map_err(CallError::from)?;
        let done = evm.transact_raw(transaction.clone()).map_err(failed)?;
        let block = evm.block().clone();
        let (db, inspector, _) = evm.components_mut();
        inspector.result(None, &transaction, &block, &done, db)
    }

    /// Executes a block again and traces its `wanted` transactions, among the first `count`.
    fn trace(
        &self,
        height: u64,
        options: &GethDebugTracingOptions,
        wanted: impl Fn(usize) -> bool,
        count: usize,
    ) -> Result<Vec<(B256, GethTrace)>, TraceError> {
        let below = height.checked_sub(1).ok_or(TraceError::Genesis)?;
        let block = self.block(height)?.ok_or(ViewError::Block(height))?;
        let header = block.header.clone();
        let transactions = self.senders_of(block)?;
        let (_, db): (Arc<Header>, _) = self.database(At::Height(below))?;
        let mut sandbox = sandbox(&self.spec, db);
        let mut evm = sandbox_evm(&mut sandbox, self.spec.evm_env(&header), BoundedTracer::new(options)?);
        SystemCaller::new(self.spec())
            .apply_pre_execution_changes(&header, &mut evm)
            .map_err(|error| TraceError::Replay(error.to_string()))?;
        let (name, block) = (header.hash_slow(), evm.block().clone());
        let mut traces = Vec::new();
        for (index, transaction) in transactions.iter().take(count).enumerate() {
            let env = environment_of(transaction);
            evm.inspector_mut().next_transaction(wanted(index), options)?;
            let done = evm.transact_raw(env.clone()).map_err(failed)?;
            if wanted(index) {
                let context = TransactionContext {
                    block_hash: Some(name),
                    tx_index: Some(index),
                    tx_hash: Some(*transaction.tx_hash()),
                };
                let (db, inspector, _) = evm.components_mut();
                let trace = inspector.result(Some(context), &env, &block, &done, db)?;
                traces.push((*transaction.tx_hash(), trace));
            }
            evm.db_mut().commit(done.state);
        }
        Ok(traces)
    }
}

fn environment_of(transaction: &Recovered<TxEnvelope>) -> TxEnv {
    TxEnv::from_recovered_tx(transaction.inner(), transaction.signer())
}

fn failed(why: SandboxError) -> TraceError {
    match why {
        EVMError::Custom(why) if why == TOO_LONG => TraceError::TooLong,
        EVMError::Transaction(_) | EVMError::Header(_) => CallError::from(why).into(),
        other => TraceError::Replay(other.to_string()),
    }
}

const TOO_LONG: &str = "the trace is too long";

/// A tracer with a limit on recorded bytes. It can be switched off for transactions that are only executed.
struct BoundedTracer {
    tracer: DebugInspector,
    enabled: bool,
    stacks: bool,
    memory: bool,
    recorded: usize,
}

impl BoundedTracer {
    fn new(options: &GethDebugTracingOptions) -> Result<Self, TraceError> {
        let tracer = DebugInspector::new(options.clone()).map_err(unknown_tracer)?;
        let steps = matches!(tracer, DebugInspector::Default(..));
        Ok(Self {
            tracer,
            enabled: true,
            stacks: steps && !options.config.disable_stack.unwrap_or(false),
            memory: steps && options.config.enable_memory.unwrap_or(false),
            recorded: 0,
        })
    }

    /// Prepares for the next transaction. The recorded bytes of all transactions are counted together.
    fn next_transaction(&mut self, enabled: bool, options: &GethDebugTracingOptions) -> Result<(), TraceError> {
        self.tracer = DebugInspector::new(options.clone()).map_err(unknown_tracer)?;
        self.enabled = enabled;
        Ok(())
    }

    fn result(
        &mut self,
        context: Option<TransactionContext>,
        transaction: &TxEnv,
        block: &BlockEnv,
        done: &ResultAndState,
        db: &mut &mut Sandbox<'_>,
    ) -> Result<GethTrace, TraceError> {
        let trace = self
            .tracer
            .get_result(context, transaction, block, done, &mut **db)
            .map_err(|error| TraceError::Replay(error.to_string()))?;
        Ok(without_empty_fields(trace))
    }
}

/// Leaves empty fields out of every step, as geth does.
fn without_empty_fields(mut trace: GethTrace) -> GethTrace {
    if let GethTrace::Default(frame) = &mut trace {
        for step in &mut frame.struct_logs {
            step.refund_counter = step.refund_counter.filter(|refund| *refund != 0);
            step.return_data = step.return_data.take().filter(|data| !data.is_empty());
            step.memory = step.memory.take().filter(|memory| !memory.is_empty());
        }
    }
    trace
}

fn unknown_tracer(error: DebugInspectorError) -> TraceError {
    TraceError::Tracer(error.to_string())
}

impl<CTX> Inspector<CTX> for BoundedTracer
where
    CTX: ContextTr<Journal: JournalExt>,
{
    fn initialize_interp(&mut self, interp: &mut Interpreter, context: &mut CTX) {
        if self.enabled {
            self.tracer.initialize_interp(interp, context);
        }
    }

    fn step(&mut self, interp: &mut Interpreter, context: &mut CTX) {
        if !self.enabled {
            return;
        }
        let steps = matches!(self.tracer, DebugInspector::Default(..));
        let stack = if self.stacks { interp.stack.len() * 32 } else { 0 };
        let memory = if self.memory { interp.memory.size() } else { 0 };
        self.recorded += if steps { STEP_BYTES } else { 0 } + stack + memory;
        if self.recorded > RECORDED_BYTES_MAX {
            *context.error() = Err(ContextError::Custom(TOO_LONG.into()));
            interp.halt_fatal();
            return;
        }
        self.tracer.step(interp, context);
    }

    fn step_end(&mut self, interp: &mut Interpreter, context: &mut CTX) {
        if self.enabled {
            self.tracer.step_end(interp, context);
        }
    }

    fn log(&mut self, context: &mut CTX, log: Log) {
        if self.enabled {
            self.tracer.log(context, log);
        }
    }

    fn call(&mut self, context: &mut CTX, inputs: &mut CallInputs) -> Option<CallEnd> {
        if self.enabled {
            self.tracer.call(context, inputs)
        } else {
            None
        }
    }

    fn call_end(&mut self, context: &mut CTX, inputs: &CallInputs, outcome: &mut CallEnd) {
        if self.enabled {
            self.tracer.call_end(context, inputs, outcome);
        }
    }

    fn create(&mut self, context: &mut CTX, inputs: &mut CreateInputs) -> Option<CreateOutcome> {
        if self.enabled {
            self.tracer.create(context, inputs)
        } else {
            None
        }
    }

    fn create_end(&mut self, context: &mut CTX, inputs: &CreateInputs, outcome: &mut CreateOutcome) {
        if self.enabled {
            self.tracer.create_end(context, inputs, outcome);
        }
    }

    fn selfdestruct(&mut self, contract: Address, target: Address, value: U256) {
        if self.enabled {
            Inspector::<CTX>::selfdestruct(&mut self.tracer, contract, target, value);
        }
    }
}
