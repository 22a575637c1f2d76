//! Framing on a stream: a length of four bytes, little-endian, then that many bytes.

use std::io;

use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use libp2p::{StreamProtocol, request_response};

/// The codec of libp2p's request-response protocol, with its size limits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Codec {
    pub(crate) request_bytes_max: usize,
    pub(crate) response_bytes_max: usize,
}

impl request_response::Codec for Codec {
    type Protocol = StreamProtocol;
    type Request = Vec<u8>;
    type Response = Vec<u8>;

    async fn read_request<T: AsyncRead + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
    ) -> io::Result<Vec<u8>> {
        read(io, self.request_bytes_max).await
    }

    async fn read_response<T: AsyncRead + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
    ) -> io::Result<Vec<u8>> {
        read(io, self.response_bytes_max).await
    }

    async fn write_request<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        bytes: Vec<u8>,
    ) -> io::Result<()> {
        write(io, &bytes).await
    }

    async fn write_response<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        bytes: Vec<u8>,
    ) -> io::Result<()> {
        write(io, &bytes).await
    }
}

/// Reads one frame. Fails with [`io::ErrorKind::InvalidData`] if it announces more than `max` bytes.
pub(crate) async fn read(io: &mut (impl AsyncRead + Unpin + Send), max: usize) -> io::Result<Vec<u8>> {
    let mut len = [0; 4];
    io.read_exact(&mut len).await?;
    let len = u32::from_le_bytes(len) as usize;
    if len > max {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{len} bytes announced, {max} allowed"),
        ));
    }
    // Allocate as bytes arrive, not as announced.
    let mut bytes = Vec::with_capacity(len.min(64 << 10));
    let got = io.take(len as u64).read_to_end(&mut bytes).await?;
    if got < len {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes)
}

/// Writes one frame. Does not flush.
pub(crate) async fn write(io: &mut (impl AsyncWrite + Unpin + Send), bytes: &[u8]) -> io::Result<()> {
    let len = u32::try_from(bytes.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    io.write_all(&len.to_le_bytes()).await?;
    io.write_all(bytes).await
}

#[cfg(test)]
mod tests {
    use futures::{executor::block_on, io::Cursor};

    use super::*;

    #[test]
    fn a_frame_is_read_up_to_its_limit() {
        let mut wire = Cursor::new(Vec::new());
        block_on(write(&mut wire, b"hello")).expect("written");
        let bytes = wire.into_inner();
        let read_with = |bytes: &[u8], max| block_on(read(&mut Cursor::new(bytes.to_vec()), max));
        assert_eq!(read_with(&bytes, 5).expect("read"), b"hello");
        assert_eq!(
            read_with(&bytes, 4).expect_err("too long").kind(),
            io::ErrorKind::InvalidData
        );
        assert_eq!(
            read_with(&bytes[..8], 5).expect_err("cut").kind(),
            io::ErrorKind::UnexpectedEof
        );
        assert_eq!(
            read_with(&[0xff; 4], usize::MAX).expect_err("nothing follows").kind(),
            io::ErrorKind::UnexpectedEof
        );
    }
}
