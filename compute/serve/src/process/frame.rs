//! What parent and child say to each other: a length of four bytes, big-endian, and so many bytes of a value.

use std::io::{self, Read, Write};

use bincode::{Decode, Encode};
use protocol::codec::{self, DecodeError};

use super::Isolation;
use crate::{
    engine::{Event, Metrics, Request},
    schedule::Limits,
    tier::{Budget, Status},
};

/// Both sides must be of one build in what they say.
pub const VERSION: u32 = 1;
/// Longest frame. A prompt of a million tokens takes four million bytes.
pub const FRAME_BYTES_MAX: usize = 16 << 20;

/// What an engine is to be.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct EngineSetup {
    /// The directory of the base model.
    pub model: String,
    /// Every directory in it is an adapter; adapters that are loaded later come from within it too.
    pub adapters: Option<String>,
    /// The device, as in the configuration.
    pub device: String,
    /// Threads that compute; 0 takes all there are.
    pub threads: usize,
    /// How the base is kept in memory: `none` for as it is stored, `int8`, `int4`.
    pub quantise: String,
    /// Memory that the child may take beside mapped files.
    pub memory_bytes_max: Option<u64>,
    /// Bounds on what runs and waits.
    pub limits: Limits,
    /// How many adapters are kept where.
    pub tiers: Budget,
    /// Pages of keys and values; as many as fit if not given.
    pub pages: Option<u32>,
}

/// What the parent says.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub enum Call {
    /// First of all.
    Hello {
        /// [`VERSION`].
        version: u32,
        /// What to be.
        setup: Box<EngineSetup>,
    },
    /// A request; its events carry the number.
    Ask(u64, Box<Request>),
    /// Nobody wants the rest.
    Cancel(u64),
    /// Anything else; its reply carries the number.
    Admin(u64, Admin),
}

/// What can be done to a running engine beside asking it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Admin {
    /// Gives a name to a directory within the root of adapters.
    Register {
        /// The name.
        name: String,
        /// The directory, relative to that root or within it.
        dir: String,
        /// Only if the name is at this generation; 0 for a name that is not there.
        expected: Option<u64>,
    },
    /// Takes a name away.
    Unregister {
        /// The name.
        name: String,
        /// Only if the name is at this generation.
        expected: Option<u64>,
    },
    /// Keeps an adapter in memory, or no longer.
    Pin {
        /// Its name.
        name: String,
        /// Whether it is kept.
        pinned: bool,
    },
    /// Adapters, in order of names.
    List {
        /// Behind this one.
        after: Option<String>,
        /// At most so many.
        limit: usize,
    },
    /// Names, in order, and contents where they are known; nothing is read.
    Names {
        /// Behind this one.
        after: Option<String>,
        /// At most so many.
        limit: usize,
    },
    /// One adapter.
    Status {
        /// Its name.
        name: String,
    },
    /// Counts.
    Metrics,
    /// Finish what was asked and take nothing new.
    Drain,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Reply {
    /// It is done.
    Done,
    /// The name is at this generation now.
    Registered(u64),
    /// As asked for.
    List(Vec<Status>),
    /// As asked for: names, and contents in hex.
    Names(Vec<(String, Option<String>)>),
    /// As asked for.
    Metrics(Box<Metrics>),
}

/// Why it was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Encode, Decode)]
pub enum AdminError {
    /// There is no such adapter.
    #[error("{0}")]
    Unknown(String),
    /// The name is at another generation.
    #[error("{why}")]
    Generation {
        /// What it is at.
        found: u64,
        /// In words.
        why: String,
    },
    /// It cannot be; why.
    #[error("{0}")]
    Refused(String),
    /// The engine does not run now.
    #[error("the engine does not run: {0}")]
    Down(String),
}

/// What a child that is ready has.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Ready {
    /// Positions of a prompt and its answer.
    pub context_tokens_max: usize,
    /// Tokens there are.
    pub vocabulary: usize,
    /// The base model's content, in hex.
    pub base: String,
    /// Adapters that were found.
    pub adapters: usize,
    /// Directories that are none, and why; the first of them.
    pub refused: Vec<(String, String)>,
    /// What keeps the child apart.
    pub isolation: Isolation,
}

/// What the child says.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub enum Say {
    /// It takes requests.
    Ready(Box<Ready>),
    /// It will never be ready; why.
    Unfit(String),
    /// What happened to a request.
    Event(u64, Event),
    /// What became of an [`Admin`].
    Reply(u64, Result<Reply, AdminError>),
}

/// Why a frame cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The other side has gone.
    #[error("the other side has gone")]
    Gone,
    /// The socket failed.
    #[error("could not read from the other side")]
    Read(#[source] io::Error),
    /// Longer than a frame may be.
    #[error("a frame of {0} bytes, at most {FRAME_BYTES_MAX} are allowed")]
    TooLong(usize),
    /// Not a value.
    #[error("a frame that is none")]
    Malformed(#[from] DecodeError),
}

/// Reads one frame; waits for it.
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
    // Grown as bytes come: a length alone allocates nothing.
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
