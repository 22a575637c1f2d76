//! The engine in a process of its own: a driver that faults, memory that runs out, or a file that vanishes under a mapping
//! costs the requests in flight and nothing else.
//!
//! [`child_main`] is the child: its standard input is a socket, it has no network, and it ends with its parent.
//! [`Supervisor`] is the parent's side: it starts the child, hands it requests, fails those in flight when the child dies,
//! and starts it again. Both exchange length-prefixed frames over that socket: [`ToEngine`] and [`FromEngine`].
//!
//! # Why not in the node's own process
//!
//! A CUDA fault or an out-of-memory kill ends a process, and the node that votes and stores must survive it. The engine
//! also reads model and adapter files that others made: without a network, code that such a file subverted can reach
//! neither peers nor keys. A process boundary is what the operating system enforces; a thread or a `catch_unwind` is not.

mod child;
mod frame;
mod isolate;
mod supervise;

pub use child::{child_main, inherited_socket};
pub use frame::{
    Admin, AdminError, EngineSetup, FRAME_BYTES_MAX, FrameError, FromEngine, Ready, Reply, ToEngine, VERSION,
    read_frame, write_frame,
};
pub use isolate::{Enforcement, Isolation};
pub use supervise::{Command, EventStream, State, Supervisor};
