//! Byte streams between two nodes, each kind on a protocol of its own: token streams, wrapped keys, pin messages.

use std::{io, sync::Arc};

use futures::future::BoxFuture;
use iroh::endpoint::{Connection, RecvStream, SendStream};
use protocol::NodeId;
use tokio::io::{AsyncReadExt, AsyncWriteExt as _};

use super::{
    Alpn, OpenError,
    connections::Lease,
    endpoint::Plane,
    serve::{ServicePeers, take_streams},
};

/// Serves the streams that peers open on one protocol.
pub trait StreamHandler: Send + Sync + 'static {
    /// Returns true if the node may open streams. Called once per connection; must not block.
    fn may_connect(&self, node: NodeId) -> bool;
    /// Handles one stream. The future is dropped if the peer is revoked.
    fn handle(&self, stream: ByteStream) -> BoxFuture<'static, ()>;
}

/// A bidirectional byte stream. Dropping it closes both directions.
#[derive(Debug)]
pub struct ByteStream {
    pub peer: NodeId,
    /// The sending half; a `tokio::io::AsyncWrite`.
    pub send: SendStream,
    /// The receiving half; a `tokio::io::AsyncRead`.
    pub recv: RecvStream,
    _lease: Option<Lease>,
}

impl ByteStream {
    /// Writes one message: its length in four bytes, little-endian, then its bytes.
    pub async fn write_message(&mut self, bytes: &[u8]) -> io::Result<()> {
        let len = u32::try_from(bytes.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        self.send.write_all(&len.to_le_bytes()).await?;
        Ok(self.send.write_all(bytes).await?)
    }

    /// Reads one message. Returns `None` if the stream ended before it; fails with `InvalidData` if it is longer than
    /// `max`.
    pub async fn read_message(&mut self, max: usize) -> io::Result<Option<Vec<u8>>> {
        let mut len = [0; 4];
        let begun = AsyncReadExt::read(&mut self.recv, &mut len).await?;
        if begun == 0 {
            return Ok(None);
        }
        AsyncReadExt::read_exact(&mut self.recv, &mut len[begun..]).await?;
        let len = u32::from_le_bytes(len) as usize;
        if len > max {
            let why = format!("a message of {len} bytes was announced, {max} are allowed");
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        // Allocate as bytes arrive, not as announced.
        let mut bytes = Vec::with_capacity(len.min(64 << 10));
        let got = (&mut self.recv).take(len as u64).read_to_end(&mut bytes).await?;
        match got == len {
            true => Ok(Some(bytes)),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Ends the sending half, and waits until the peer has received everything.
    pub async fn finish(&mut self) -> io::Result<()> {
        self.send.shutdown().await?;
        self.send.stopped().await.map(drop).map_err(io::Error::from)
    }
}

/// Opens a stream.
pub(crate) async fn open(plane: &Arc<Plane>, node: NodeId, alpn: &Alpn) -> Result<ByteStream, OpenError> {
    let lease = plane.connect(node, alpn).await?;
    let (send, recv) = lease.connection.open_bi().await.map_err(|error| OpenError::Broken {
        node,
        why: error.to_string(),
    })?;
    Ok(ByteStream {
        peer: node,
        send,
        recv,
        _lease: Some(lease),
    })
}

/// Serves one connection until it ends or its peer is revoked.
pub(crate) async fn serve(
    plane: &Arc<Plane>,
    connection: Connection,
    handler: &dyn StreamHandler,
    peers: &ServicePeers,
) {
    let admit = |peer| handler.may_connect(peer);
    let tasks = take_streams(plane, &connection, peers, admit, |peer, send, recv| {
        handler.handle(ByteStream {
            peer,
            send,
            recv,
            _lease: None,
        })
    });
    let mut tasks = tasks.await;
    // If the peer merely opens no more streams, finish the running ones.
    if connection.close_reason().is_none() {
        while tasks.join_next().await.is_some() {}
    }
}
