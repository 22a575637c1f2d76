//! What others recorded, answered by this node. What one crate alone must conform to is tested beside it.

mod rpc_compat;
