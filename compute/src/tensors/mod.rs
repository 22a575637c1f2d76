//! Tensor files in the safetensors format, from strangers: a header is accepted only if every size in it adds up to
//! the length of the file.
//!
//! Only the header is read here; the numbers are mapped or read by the user of an [`Entry`].

mod bytes;
mod matrix;

use std::{
    collections::BTreeMap,
    fmt,
    fs::File,
    io::{self, Read},
    ops::Range,
    path::Path,
};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};

pub use bytes::Buffer;
pub(crate) use bytes::{Bytes, Holder};
pub(crate) use matrix::transpose;
pub use matrix::{Dtype, Matrix};

/// Most bytes of a header, checked before it is parsed.
const HEADER_BYTES_MAX: u64 = 16 << 20;

/// Most tensors in one file; no model has as many.
const TENSORS_MAX: usize = 1 << 16;

/// Type, shape and position of one tensor in its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub dtype: Dtype,
    /// Extents, slowest first.
    pub shape: Vec<usize>,
    /// Bytes of the tensor, counted from the start of the file.
    pub bytes: Range<usize>,
}

/// The header of a tensor file.
///
/// ```
/// use compute::tensors::Header;
///
/// let text = br#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
/// let file = [&(text.len() as u64).to_le_bytes()[..], text, &[0; 8]].concat();
/// let header = Header::read(&mut file.as_slice(), file.len() as u64).unwrap();
/// assert_eq!(header.entries["w"].shape, [2]);
/// // One byte less, and the tensor would reach beyond the file.
/// assert!(Header::read(&mut file.as_slice(), file.len() as u64 - 1).is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub entries: BTreeMap<String, Entry>,
    /// Free text of `__metadata__`.
    pub metadata: BTreeMap<String, String>,
}

/// Refusal of a tensor file.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    #[error("could not read the tensor file")]
    Read(#[source] io::Error),
    /// The file is shorter than the length of a header.
    #[error("the file has {0} bytes, fewer than a header needs")]
    Short(u64),
    /// The header is longer than the file or than is accepted.
    #[error("the header claims {claimed} bytes; the file allows {allowed}")]
    HeaderSize { claimed: u64, allowed: u64 },
    /// The header is not JSON of the right form.
    #[error("the header is not a list of tensors: {0}")]
    Json(String),
    /// The header has too many tensors.
    #[error("the header lists {0} tensors; at most {TENSORS_MAX} are accepted")]
    Tensors(usize),
    /// The entry of a tensor is malformed or contradicts the file.
    #[error("tensor `{tensor}`: {why}")]
    Tensor { tensor: String, why: String },
    /// The tensors do not fill the file.
    #[error("the tensors end at byte {end} and the file at byte {file}")]
    Length {
        /// First byte behind the last tensor.
        end: u64,
        /// Length of the file in bytes.
        file: u64,
    },
}

#[derive(Deserialize)]
struct Line {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

/// The entries of a header by name, with `__metadata__` apart.
#[derive(Default)]
struct Lines {
    metadata: BTreeMap<String, String>,
    tensors: BTreeMap<String, Line>,
}

impl<'de> Deserialize<'de> for Lines {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Lines;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("tensors by name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Lines, A::Error> {
                let mut lines = Lines::default();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        lines.metadata = map.next_value()?;
                    } else if lines.tensors.len() > TENSORS_MAX {
                        // One more than accepted is enough to refuse the file; the rest is skipped unread.
                        map.next_value::<IgnoredAny>()?;
                    } else {
                        lines.tensors.insert(name, map.next_value()?);
                    }
                }
                Ok(lines)
            }
        }
        // Not derived: a flattened map is parsed twice, and adapters have hundreds of small tensors.
        deserializer.deserialize_map(Read)
    }
}

impl Header {
    /// Reads the header of a file.
    pub fn of_file(file: &mut File) -> Result<Self, HeaderError> {
        let length = file.metadata().map_err(HeaderError::Read)?.len();
        Self::read(file, length)
    }

    /// Reads a header from the start of a file of `length` bytes.
    pub fn read(from: &mut impl Read, length: u64) -> Result<Self, HeaderError> {
        let allowed = length.checked_sub(8).ok_or(HeaderError::Short(length))?;
        let mut size = [0; 8];
        from.read_exact(&mut size).map_err(HeaderError::Read)?;
        let claimed = u64::from_le_bytes(size);
        let allowed = allowed.min(HEADER_BYTES_MAX);
        let text_bytes = usize::try_from(claimed)
            .ok()
            .filter(|_| claimed <= allowed)
            .ok_or(HeaderError::HeaderSize { claimed, allowed })?;
        let mut text = vec![0; text_bytes];
        from.read_exact(&mut text).map_err(HeaderError::Read)?;
        let lines: Lines = serde_json::from_slice(&text).map_err(|error| HeaderError::Json(error.to_string()))?;
        if lines.tensors.len() > TENSORS_MAX {
            return Err(HeaderError::Tensors(lines.tensors.len()));
        }
        let start = 8 + claimed;
        let mut entries = BTreeMap::new();
        for (name, line) in lines.tensors {
            let entry = Entry::check(&line, start, length).map_err(|why| HeaderError::Tensor {
                tensor: name.clone(),
                why,
            })?;
            entries.insert(name, entry);
        }
        let header = Self {
            entries,
            metadata: lines.metadata,
        };
        header.fills(start, length)?;
        Ok(header)
    }

    /// Checks that tensors follow each other without gap or overlap, to the last byte.
    fn fills(&self, start: u64, length: u64) -> Result<(), HeaderError> {
        let mut order: Vec<_> = self.entries.iter().collect();
        order.sort_by_key(|(_, entry)| (entry.bytes.start, entry.bytes.end));
        let mut end = start;
        for (name, entry) in order {
            if entry.bytes.start as u64 != end {
                return Err(HeaderError::Tensor {
                    tensor: name.clone(),
                    why: format!("begins at byte {} where byte {end} was due", entry.bytes.start),
                });
            }
            end = entry.bytes.end as u64;
        }
        if end == length {
            Ok(())
        } else {
            Err(HeaderError::Length { end, file: length })
        }
    }
}

impl Entry {
    fn check(line: &Line, start: u64, length: u64) -> Result<Self, String> {
        let dtype =
            Dtype::named(&line.dtype).ok_or_else(|| format!("dtype {} is not one of F32, F16 and BF16", line.dtype))?;
        let elements = line
            .shape
            .iter()
            .try_fold(1u64, |product, extent| product.checked_mul(*extent));
        let bytes = elements
            .and_then(|elements| elements.checked_mul(dtype.bytes() as u64))
            .ok_or_else(|| format!("shape {:?} overflows", line.shape))?;
        let (from, to) = line.data_offsets;
        let range = (|| {
            let from = start.checked_add(from)?;
            let to = start.checked_add(to).filter(|to| *to <= length && from <= *to)?;
            Some(usize::try_from(from).ok()?..usize::try_from(to).ok()?)
        })();
        let range = range.ok_or_else(|| format!("data_offsets {:?} lie outside the file", line.data_offsets))?;
        if range.len() as u64 != bytes {
            return Err(format!(
                "data_offsets span {} bytes; its shape and dtype need {bytes}",
                range.len()
            ));
        }
        let shape: Option<Vec<usize>> = line.shape.iter().map(|extent| usize::try_from(*extent).ok()).collect();
        let shape = shape.ok_or_else(|| format!("shape {:?} overflows", line.shape))?;
        Ok(Self {
            dtype,
            shape,
            bytes: range,
        })
    }
}

/// Opens a regular file for reading. Refuses a symbolic link, which could lead anywhere, and never blocks on a pipe.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(rustix::io::Errno::LOOP) => return Err(io::Error::other("is a symbolic link; give the file itself")),
        Err(error) => return Err(error.into()),
    };
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::other("is not a regular file"))
    }
}

/// Reads a whole file of at most `bytes_max` bytes that is no symbolic link.
pub fn read_small(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let file = open(path)?;
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(io::Error::other(format!("is longer than {bytes_max} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
