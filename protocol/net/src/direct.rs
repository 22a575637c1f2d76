//! Direct messages: per peer, a send queue with a writer task and a reader task.
//!
//! Messages to a peer arrive in the order of sending, without gaps while the stream lasts. A full queue refuses messages. If
//! the node reads slowly, the reader task stops reading, and flow control slows the sender.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures::AsyncWriteExt as _;
use libp2p::Stream;
use protocol::NodeId;
use tokio::sync::mpsc;

use crate::{NetEvent, codec, metrics::Counters};

const MESSAGES_QUEUED_MAX: usize = 1024;

/// Error of queueing a direct message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    #[error("node {to:#} is not connected")]
    NotConnected { to: NodeId },
    /// The peer reads more slowly than this node sends.
    #[error("the queue to node {to:#} is full")]
    Full { to: NodeId },
    #[error("a message of {bytes} bytes, the limit is {limit}")]
    Oversize { bytes: usize, limit: usize },
}

/// The sending half of a peer's queue.
#[derive(Clone, Debug)]
pub(crate) struct Queue {
    messages: mpsc::Sender<Vec<u8>>,
    bytes: Arc<AtomicUsize>,
    bytes_max: usize,
}

/// The receiving half, for the writer task.
pub(crate) struct SendQueue {
    messages: mpsc::Receiver<Vec<u8>>,
    bytes: Arc<AtomicUsize>,
}

/// Creates a queue of at most `bytes_max` bytes.
pub(crate) fn queue(bytes_max: usize) -> (Queue, SendQueue) {
    let (sender, receiver) = mpsc::channel(MESSAGES_QUEUED_MAX);
    let bytes = Arc::new(AtomicUsize::new(0));
    (
        Queue {
            messages: sender,
            bytes: bytes.clone(),
            bytes_max,
        },
        SendQueue {
            messages: receiver,
            bytes,
        },
    )
}

impl Queue {
    /// Queues a message. Never waits.
    pub(crate) fn push(&self, to: NodeId, message: Vec<u8>) -> Result<(), SendError> {
        let len = message.len();
        // Two concurrent senders may exceed the limit by one message. It bounds memory and need not be exact.
        if self.bytes.load(Ordering::Relaxed) + len > self.bytes_max {
            return Err(SendError::Full { to });
        }
        self.bytes.fetch_add(len, Ordering::Relaxed);
        self.messages.try_send(message).map_err(|refused| {
            self.bytes.fetch_sub(len, Ordering::Relaxed);
            match refused {
                mpsc::error::TrySendError::Full(_) => SendError::Full { to },
                mpsc::error::TrySendError::Closed(_) => SendError::NotConnected { to },
            }
        })
    }
}

/// Writes a peer's queued messages until its [`Queue`] is dropped. If a stream breaks, sends to `broken` and waits for
/// the next one in `streams`.
pub(crate) async fn write(
    to: NodeId,
    mut queued: SendQueue,
    mut streams: mpsc::Receiver<Stream>,
    broken: mpsc::Sender<NodeId>,
    counters: Arc<Counters>,
) {
    while let Some(stream) = streams.recv().await {
        match write_on(stream, &mut queued, &counters).await {
            Ok(()) => break,
            Err(error) => {
                tracing::debug!(peer = %format_args!("{to:#}"), %error, "direct stream broke");
                if broken.send(to).await.is_err() {
                    break;
                }
            }
        }
    }
    queued.messages.close();
    while queued.messages.try_recv().is_ok() {
        counters.direct_dropped.one();
    }
}

async fn write_on(mut stream: Stream, queued: &mut SendQueue, counters: &Counters) -> io::Result<()> {
    while let Some(mut message) = queued.messages.recv().await {
        loop {
            queued.bytes.fetch_sub(message.len(), Ordering::Relaxed);
            if let Err(error) = codec::write(&mut stream, &message).await {
                // An unknown part of it arrived, and a partial message is useless.
                counters.direct_dropped.one();
                return Err(error);
            }
            counters.direct_sent.one();
            match queued.messages.try_recv() {
                Ok(next) => message = next,
                Err(_) => break,
            }
        }
        stream.flush().await?;
    }
    stream.close().await
}

/// The reason that a reader ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The peer closed the stream, the connection is gone, or the node stopped listening.
    Closed,
    /// The peer announced a message longer than allowed.
    Oversize,
}

/// Reads a peer's messages until its stream ends.
pub(crate) async fn read(
    from: NodeId,
    mut stream: Stream,
    bytes_max: usize,
    events: mpsc::Sender<NetEvent>,
    counters: Arc<Counters>,
) -> Ended {
    loop {
        match codec::read(&mut stream, bytes_max).await {
            Ok(bytes) => {
                counters.direct_received.one();
                if events.send(NetEvent::Message { from, bytes }).await.is_err() {
                    return Ended::Closed;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return Ended::Oversize,
            Err(_) => return Ended::Closed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_bounded_in_bytes_and_in_messages() {
        let to = NodeId([1; 32]);
        let (queue, _backlog) = queue(2000);
        assert_eq!(queue.push(to, vec![0; 1500]), Ok(()));
        assert_eq!(queue.push(to, vec![0; 600]), Err(SendError::Full { to }));
        for _ in 0..MESSAGES_QUEUED_MAX - 1 {
            assert_eq!(queue.push(to, Vec::new()), Ok(()));
        }
        assert_eq!(queue.push(to, Vec::new()), Err(SendError::Full { to }));
    }

    #[test]
    fn a_queue_without_a_writer_reports_a_disconnected_peer() {
        let to = NodeId([1; 32]);
        let (queue, queued) = queue(2000);
        drop(queued);
        assert_eq!(queue.push(to, vec![1]), Err(SendError::NotConnected { to }));
        assert_eq!(queue.bytes.load(Ordering::Relaxed), 0);
    }
}
