//! The messages between parent and child: frames of a four-byte big-endian length followed by a bincode value.

use std::io::{self, Read, Write};

use bincode::{Decode, Encode};
use protocol::codec::{self, DecodeError};

use super::Isolation;
use crate::{
    engine::{Event, Metrics, Request},
    schedule::Limits,
    tier::{Budget, Status},
};

/// Version of the messages. Parent and child must have the same one.
pub const VERSION: u32 = 1;
/// Longest frame in bytes. A prompt of a million tokens takes four million bytes.
pub const FRAME_BYTES_MAX: usize = 16 << 20;

/// Settings of an engine: model, device, limits. The parent sends them first.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct EngineSetup {
    pub model: String,
    /// Directory whose subdirectories are adapters. Adapters registered later must lie within it too.
    pub adapters: Option<String>,
    /// Name of the device, as in the configuration: `cpu`, `cuda`, `cuda:1`.
    pub device: String,
    /// Number of compute threads; 0 for all that the machine has.
    pub threads: usize,
    /// Quantisation of the base weights: `none`, `int8` or `int4`.
    pub quantise: String,
    /// Most bytes of memory of the child, mapped files excluded.
    pub memory_bytes_max: Option<u64>,
    pub limits: Limits,
    pub tiers: Budget,
    /// Number of KV cache pages; `None` for as many as fit.
    pub pages: Option<u32>,
}

/// A message from the parent to the engine's process.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub enum ToEngine {
    /// The first message.
    Hello { version: u32, setup: Box<EngineSetup> },
    /// Submits a request; its events carry the same number.
    Submit(u64, Box<Request>),
    /// Cancels the request of this number.
    Cancel(u64),
    /// Any other command; its reply carries the same number.
    Admin(u64, Admin),
}

/// An administrative command to a running engine.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Admin {
    /// Gives a name to a directory within the adapter root.
    Register {
        name: String,
        /// The directory, absolute or relative to the root, but within it.
        dir: String,
        /// Act only if the name is at this generation; 0 for a name that does not exist.
        expected: Option<u64>,
    },
    Unregister {
        name: String,
        /// Act only if the name is at this generation.
        expected: Option<u64>,
    },
    /// Pins an adapter in host memory, or unpins it.
    Pin {
        name: String,
        pinned: bool,
    },
    /// Lists adapters in order of names, with what their headers say.
    List {
        /// Start after this name.
        after: Option<String>,
        limit: usize,
    },
    /// Lists names in order, with hashes where known; reads no file.
    Names {
        /// Start after this name.
        after: Option<String>,
        limit: usize,
    },
    Status {
        name: String,
    },
    Metrics,
    /// Finish all submitted requests and take no new ones.
    Drain,
}

/// The result of an [`Admin`] command.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Reply {
    Done,
    /// The new generation of the name.
    Registered(u64),
    List(Vec<Status>),
    /// Names, and content hashes in hex.
    Names(Vec<(String, Option<String>)>),
    Metrics(Box<Metrics>),
}

/// Reason why an [`Admin`] command failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Encode, Decode)]
pub enum AdminError {
    /// No adapter has this name.
    #[error("{0}")]
    Unknown(String),
    /// The name is at another generation: someone else changed it first.
    #[error("{why}")]
    Generation { found: u64, why: String },
    #[error("{0}")]
    Refused(String),
    #[error("the engine does not run: {0}")]
    Down(String),
}

/// AdapterInfo about a child that is ready for requests.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Ready {
    /// Most positions of a prompt and its completion together.
    pub context_tokens_max: usize,
    pub vocabulary: usize,
    /// Content hash of the base model, in hex.
    pub base: String,
    /// Number of adapters registered from the adapter root.
    pub adapters: usize,
    /// Directories that are no usable adapters, with the reason; the first 100 of them.
    pub refused: Vec<(String, String)>,
    pub isolation: Isolation,
}

/// A message from the engine's process to the parent.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub enum FromEngine {
    /// The engine takes requests.
    Ready(Box<Ready>),
    /// The engine failed to start, and why.
    CannotStart(String),
    Event(u64, Event),
    Reply(u64, Result<Reply, AdminError>),
}

/// Reason why a frame cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("the other side has gone")]
    Gone,
    #[error("could not read from the other side")]
    Read(#[source] io::Error),
    #[error("a frame of {0} bytes, at most {FRAME_BYTES_MAX} are allowed")]
    TooLong(usize),
    #[error("a frame that is none")]
    Malformed(#[from] DecodeError),
}

/// Reads one frame; blocks until it is complete.
pub fn read_frame<T: Decode<()>>(from: &mut impl Read) -> Result<T, FrameError> {
    let mut length = [0; 4];
    let read = |error: io::Error| match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => FrameError::Gone,
        _ => FrameError::Read(error),
    };
    from.read_exact(&mut length).map_err(read)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > FRAME_BYTES_MAX {
        return Err(FrameError::TooLong(length));
    }
    // The buffer grows as bytes arrive, so that a forged length alone allocates nothing.
    let mut bytes = Vec::new();
    from.take(length as u64).read_to_end(&mut bytes).map_err(read)?;
    if bytes.len() < length {
        return Err(FrameError::Gone);
    }
    Ok(codec::decode(&bytes, FRAME_BYTES_MAX)?)
}

/// Writes one frame.
///
/// # Errors
///
/// `InvalidInput` if the value is longer than a frame may be; nothing is written then.
pub fn write_frame<T: Encode>(to: &mut impl Write, value: &T) -> io::Result<()> {
    let bytes = codec::encode(value);
    if bytes.len() > FRAME_BYTES_MAX {
        let why = format!(
            "a frame of {} bytes, at most {FRAME_BYTES_MAX} are allowed",
            bytes.len()
        );
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    let length = u32::try_from(bytes.len()).expect("checked above");
    to.write_all(&length.to_be_bytes())?;
    to.write_all(&bytes)
}
