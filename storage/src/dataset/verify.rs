//! Verification of a dataset against its manifest: every byte of every shard, every source file, every record.

use std::{io::Read, ops::ControlFlow};

use protocol::manifest::{Shard, ShardKind};

use super::read::{Dataset, ReadError};

/// The result of a verification.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Shards whose bytes match their hashes.
    pub shards: usize,
    /// Source files whose bytes match the source map.
    pub sources: usize,
    /// Records whose position and digest match their rows.
    pub records: u64,
    /// Bytes read from shards.
    pub bytes: u64,
    /// True if the progress callback stopped it early.
    pub stopped: bool,
}

impl Dataset {
    /// Verifies everything, shards first. `progress` is called with the size of each block and may stop the work.
    pub fn verify(&self, progress: &mut dyn FnMut(u64) -> ControlFlow<()>) -> Result<Verified, ReadError> {
        let mut verified = Verified::default();
        let mut block = vec![0; 1 << 20];
        for shard in &self.manifest().shards {
            if self.verify_shard(shard, &mut block, progress)?.is_break() {
                verified.stopped = true;
                return Ok(verified);
            }
            verified.shards += 1;
            verified.bytes += shard.bytes;
        }
        for source in self.sources() {
            let mut reader = self.data.clone().reader(source.offset, source.bytes);
            let mut hasher = blake3::Hasher::new();
            loop {
                let read = reader.read(&mut block);
                match read.map_err(|error| self.blob(&self.data, source.offset, "data", error))? {
                    0 => break,
                    read => hasher.update(&block[..read]),
                };
            }
            if hasher.finalize().as_bytes() != &source.hash.0 {
                return Err(ReadError::Inconsistent(format!(
                    "{} has another hash than the source map says",
                    source.path
                )));
            }
            verified.sources += 1;
        }
        verified.records = self.verify_records()?;
        Ok(verified)
    }

    fn verify_shard(
        &self,
        shard: &Shard,
        block: &mut [u8],
        progress: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, ReadError> {
        let (hash, kind) = (shard.hash, name(shard.kind));
        let mut hasher = blake3::Hasher::new();
        let mut bytes = 0;
        loop {
            let read = self.blobs.read_at(&hash, bytes, block);
            let read = read.map_err(|source| ReadError::Blob { hash, kind, source })?;
            if read == 0 {
                break;
            }
            hasher.update(&block[..read]);
            bytes += read as u64;
            if progress(read as u64).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        if hasher.finalize().as_bytes() != &hash.0 {
            return Err(ReadError::Changed { hash, kind });
        }
        if bytes != shard.bytes {
            let said = shard.bytes;
            return Err(ReadError::Inconsistent(format!(
                "{kind} shard {hash} has {bytes} bytes, not {said}"
            )));
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Verifies every record, and the number of records in each data shard.
    fn verify_records(&self) -> Result<u64, ReadError> {
        let mut shards = self.data.shards().peekable();
        let (mut records, mut in_shard) = (0u64, 0u64);
        for record in self.records() {
            let offset = record?.row.offset;
            while let Some((begin, shard)) = shards.next_if(|(begin, shard)| begin + shard.bytes <= offset) {
                debug_assert!(begin <= offset);
                counted(shard, in_shard)?;
                in_shard = 0;
            }
            in_shard += 1;
            records += 1;
        }
        for (_, shard) in shards {
            counted(shard, in_shard)?;
            in_shard = 0;
        }
        Ok(records)
    }
}

fn counted(shard: &Shard, found: u64) -> Result<(), ReadError> {
    match shard.rows == found {
        true => Ok(()),
        false => Err(ReadError::Inconsistent(format!(
            "data shard {} says {} rows and has {found}",
            shard.hash, shard.rows
        ))),
    }
}

fn name(kind: ShardKind) -> &'static str {
    match kind {
        ShardKind::Data => "data",
        ShardKind::Records => "record",
        ShardKind::Sources => "source",
    }
}
