//! A receive stream with a large buffer: one read of the connection for many groups and their hashes.

use std::io;

use bytes::{Buf as _, Bytes, BytesMut};
use iroh::endpoint::{RecvStream, VarInt};
use tokio::io::AsyncReadExt as _;

/// Size of a read, if that much is available.
const STRIDE: usize = 256 << 10;

/// A buffered receive stream.
#[derive(Debug)]
pub(super) struct BufferedRecv {
    stream: RecvStream,
    buffer: BytesMut,
}

impl BufferedRecv {
    pub(super) fn new(stream: RecvStream) -> Self {
        Self {
            stream,
            buffer: BytesMut::new(),
        }
    }

    /// Waits until `len` bytes are buffered. Distinguishes an end before the first of them from one in between.
    async fn fill(&mut self, len: usize) -> io::Result<()> {
        while self.buffer.len() < len {
            if self.buffer.capacity() < len {
                // Reserve one buffer in all, so that the memory is reused once its groups are released.
                self.buffer.reserve(STRIDE.max(len) - self.buffer.len());
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(match self.buffer.is_empty() {
                    true => io::ErrorKind::UnexpectedEof.into(),
                    false => io::ErrorKind::InvalidData.into(),
                });
            }
        }
        Ok(())
    }
}

impl iroh_blobs::util::RecvStream for BufferedRecv {
    async fn recv_bytes(&mut self, len: usize) -> io::Result<Bytes> {
        match self.fill(len).await {
            Err(error) if !matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData) => {
                Err(error)
            }
            Ok(()) | Err(_) => Ok(self.buffer.split_to(len.min(self.buffer.len())).freeze()),
        }
    }

    async fn recv_bytes_exact(&mut self, len: usize) -> io::Result<Bytes> {
        self.fill(len).await?;
        Ok(self.buffer.split_to(len).freeze())
    }

    async fn recv_exact(&mut self, target: &mut [u8]) -> io::Result<()> {
        self.fill(target.len()).await?;
        self.buffer.copy_to_slice(target);
        Ok(())
    }

    fn stop(&mut self, code: VarInt) -> io::Result<()> {
        Ok(self.stream.stop(code)?)
    }

    fn id(&self) -> u64 {
        self.stream.id().index()
    }
}
