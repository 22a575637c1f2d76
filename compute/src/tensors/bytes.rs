//! Bytes of matrices: parts of one holder, which is read, mapped or made, and never copied again.

use std::{ops::Range, sync::Arc};

/// From here on memory is taken in large pages where the system has them: an adapter is read by every step, and a
/// table of small pages would be read beside it.
const LARGE: usize = 512 << 10;

/// Whoever has the bytes.
pub(crate) type Holder = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// Bytes that live as long as what is made of them: read, mapped, or an adapter's.
#[derive(Clone)]
pub(crate) struct Bytes {
    holder: Holder,
    range: Range<usize>,
}

impl Bytes {
    /// A part of somebody's bytes.
    pub(crate) fn part(holder: Holder, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= (*holder).as_ref().len());
        Self { holder, range }
    }

    /// All of them.
    pub(crate) fn all(bytes: Arc<[u8]>) -> Self {
        let range = 0..bytes.len();
        Self::part(Arc::new(bytes), range)
    }

    pub(crate) fn get(&self) -> &[u8] {
        &(*self.holder).as_ref()[self.range.clone()]
    }
}

/// Memory that is written once and then shared.
pub(crate) enum Buffer {
    Small(Vec<u8>),
    Large(memmap2::MmapMut),
}

impl Buffer {
    /// So many zeros.
    pub(crate) fn zeros(length: usize) -> Self {
        if length < LARGE {
            return Self::Small(vec![0; length]);
        }
        match memmap2::MmapMut::map_anon(length) {
            Ok(map) => {
                // Where there are no large pages, small ones serve.
                #[cfg(target_os = "linux")]
                let _ = map.advise(memmap2::Advice::HugePage);
                Self::Large(map)
            }
            Err(_) => Self::Small(vec![0; length]),
        }
    }

    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        match self {
            Self::Small(bytes) => bytes,
            Self::Large(map) => map,
        }
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Small(bytes) => bytes,
            Self::Large(map) => map,
        }
    }
}
