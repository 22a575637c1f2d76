//! Reads a file of blocks, one RLP list after the other, as Ethereum's clients export them. It is read block by
//! block, because it may be larger than memory.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
};

/// Largest block that is read, in bytes. A longer one is an error before it is read.
pub const BLOCK_BYTES_MAX: usize = 64 << 20;

/// Reason that the next block cannot be read. Each names the block by its number in the file.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// A disk error, or the end of the file within a block.
    #[error("could not read block {block} of {}", path.display())]
    Read {
        /// Counted from 1.
        block: u64,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The next byte does not start an RLP list.
    #[error("block {block} of {} does not start with an RLP list; the file must hold blocks, one after the other", path.display())]
    Shape {
        /// Counted from 1.
        block: u64,
        path: PathBuf,
    },
    #[error("block {block} of {} is {found} bytes long, the limit is {BLOCK_BYTES_MAX}", path.display())]
    TooLong {
        /// Counted from 1.
        block: u64,
        path: PathBuf,
        /// Length in bytes, as the block's RLP header claims it.
        found: u64,
    },
}

/// An open file of blocks.
pub(super) struct BlockFile {
    path: PathBuf,
    file: BufReader<File>,
    count: u64,
}

impl BlockFile {
    pub(super) fn open(path: &Path) -> Result<Self, FileError> {
        let file = File::open(path).map_err(|source| FileError::Read {
            block: 1,
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            path: path.to_owned(),
            file: BufReader::new(file),
            count: 0,
        })
    }

    /// The bytes of the next block; `None` at the end of the file.
    pub(super) fn next_block(&mut self) -> Result<Option<Vec<u8>>, FileError> {
        self.count += 1;
        let mut first = [0];
        if self.file.read(&mut first).map_err(|source| self.failed(source))? == 0 {
            return Ok(None);
        }
        let mut block = vec![first[0]];
        let length = match first[0] {
            short @ 0xc0..=0xf7 => u64::from(short - 0xc0),
            long @ 0xf8..=0xff => {
                let mut digits = vec![0; usize::from(long - 0xf7)];
                self.file
                    .read_exact(&mut digits)
                    .map_err(|source| self.failed(source))?;
                block.extend(&digits);
                digits
                    .iter()
                    .fold(0, |length: u64, digit| length << 8 | u64::from(*digit))
            }
            0..=0xbf => {
                return Err(FileError::Shape {
                    block: self.count,
                    path: self.path.clone(),
                });
            }
        };
        let max = BLOCK_BYTES_MAX as u64;
        if length > max {
            return Err(FileError::TooLong {
                block: self.count,
                path: self.path.clone(),
                found: length,
            });
        }
        let whole = block.len() as u64 + length;
        self.file
            .by_ref()
            .take(length)
            .read_to_end(&mut block)
            .map_err(|source| self.failed(source))?;
        if block.len() as u64 != whole {
            return Err(self.failed(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(Some(block))
    }

    fn failed(&self, source: io::Error) -> FileError {
        FileError::Read {
            block: self.count,
            path: self.path.clone(),
            source,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Vec<Vec<u8>>, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("chain.rlp");
        std::fs::write(&path, bytes).unwrap();
        let mut blocks = BlockFile::open(&path).unwrap();
        let mut all = Vec::new();
        while let Some(block) = blocks.next_block().map_err(|why| why.to_string())? {
            all.push(block);
        }
        Ok(all)
    }

    #[test]
    fn lists_are_read_one_after_the_other() {
        let long: Vec<u8> = [&[0xf8, 60][..], &[1; 60]].concat();
        let bytes = [&[0xc0, 0xc2, 1, 2][..], &long].concat();
        assert_eq!(read(&bytes), Ok(vec![vec![0xc0], vec![0xc2, 1, 2], long]));
        assert_eq!(read(&[]), Ok(vec![]));
    }

    #[test]
    fn the_error_for_a_malformed_block_names_its_number() {
        assert!(read(&[0xc0, 0x05]).unwrap_err().contains("block 2"));
        assert!(read(&[0xc0, 0xc2, 1]).unwrap_err().contains("could not read block 2"));
        // An impossible length is refused before anything is read.
        assert!(
            read(&[0xff, 255, 255, 255, 255, 255, 255, 255, 255])
                .unwrap_err()
                .contains("the limit is")
        );
    }
}
