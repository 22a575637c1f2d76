//! The engine as a process of its own: whatever happens to it, a driver that faults, memory that runs out, a file that
//! vanishes under a mapping, costs the requests in flight and nothing else.
//!
//! [`child_main`] is the child: it has one socket, as its standard input, no network, and ends with its parent.
//! [`Supervisor`] is the parent's side: it starts the child, hands it requests, tells everyone when it is gone, and starts
//! it again. Both speak frames over that socket; what a frame may be is in [`Call`] and [`Say`].

mod child;
mod frame;
mod isolate;
mod supervise;

pub use child::{child_main, inherited_socket};
pub use frame::{
    Admin, AdminError, Call, EngineSetup, FRAME_BYTES_MAX, FrameError, Ready, Reply, Say, VERSION, read_frame,
    write_frame,
};
pub use isolate::{Holds, Isolation};
pub use supervise::{Answer, Command, State, Supervisor};
