//! Checkpoints: the whole state of a run after a step in one file, which is written completely or not at all and
//! verified when it is read.
//!
//! The format: magic, length of the header, JSON header, then numbers: value and both moments of each tensor, the
//! values of the best validation if they are kept, the roots of all steps, and a BLAKE3 hash of everything before it.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{optimiser::Moments, parameters::Parameters};

/// Determinism class of all processors.
pub(crate) const PROCESSOR: &str = "processor";

const MAGIC: &[u8; 8] = b"OLTRAIN1";

const HEADER_BYTES_MAX: u64 = 16 << 20;

/// The progress of a run, beside its parameters.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// Steps done.
    pub(crate) step: u64,
    /// Bits of the last step's loss.
    pub(crate) loss_bits: u64,
    pub(crate) best: Option<Best>,
    /// Validations since the best one.
    pub(crate) since_best: u32,
    /// Bits of mean loss and gradient norm of each step, for reports.
    pub(crate) history: Vec<(u64, u64)>,
    /// Step, and bits of the loss, of each validation.
    pub(crate) validations: Vec<(u64, u64)>,
}

/// The best validation so far.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Best {
    pub(crate) step: u64,
    pub(crate) loss_bits: u64,
}

#[derive(Serialize, Deserialize)]
struct Header {
    run: String,
    /// Determinism class of the run.
    #[serde(default = "processor")]
    class: String,
    progress: Progress,
    /// Names, rows and columns.
    tensors: Vec<(String, usize, usize)>,
    has_best: bool,
    roots: usize,
}

fn processor() -> String {
    PROCESSOR.to_owned()
}

/// The state to write.
pub(crate) struct State<'a> {
    pub(crate) run: blake3::Hash,
    pub(crate) class: &'a str,
    pub(crate) progress: &'a Progress,
    pub(crate) parameters: &'a Parameters,
    pub(crate) moments: &'a Moments,
    pub(crate) best: Option<&'a [Vec<f32>]>,
    pub(crate) roots: &'a [blake3::Hash],
}

/// The state that was read.
pub(crate) struct Restored {
    pub(crate) progress: Progress,
    pub(crate) values: Vec<Vec<f32>>,
    pub(crate) moments: Moments,
    pub(crate) best: Option<Vec<Vec<f32>>>,
    pub(crate) roots: Vec<blake3::Hash>,
}

/// Failure to write a checkpoint, or refusal of one.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file could not be written. An earlier file of this name is unchanged.
    #[error("could not write {}", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("could not read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The file is damaged or is no checkpoint.
    #[error("{} is no whole checkpoint: {why}", path.display())]
    Damaged { path: PathBuf, why: String },
    /// The checkpoint is of a run of another determinism class.
    #[error(
        "{} is of a run on `{theirs}`, and this one is on `{ours}`: their bits differ, so it cannot go on here or be checked here; run it with `--device {device}`",
        path.display()
    )]
    Class {
        path: PathBuf,
        /// Class of the checkpoint.
        theirs: String,
        /// Class of this run.
        ours: String,
        /// Value of `--device` that would fit.
        device: &'static str,
    },
    /// The checkpoint is of another run.
    #[error(
        "{} is of run {theirs}, and this is run {ours}: its base, data, weights, seed or hyper-parameters differ",
        path.display()
    )]
    Other {
        path: PathBuf,
        /// Run of the checkpoint, shortened.
        theirs: String,
        /// This run, shortened.
        ours: String,
    },
}

/// Hashes the bytes that it passes on.
struct Hashing<T>(T, blake3::Hasher);

impl<T: Write> Write for Hashing<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.0.write(bytes)?;
        self.1.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl<T: Read> Read for Hashing<T> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read(bytes)?;
        self.1.update(&bytes[..count]);
        Ok(count)
    }
}

impl State<'_> {
    /// Writes the checkpoint under another name, flushes it to the disk and renames it.
    pub(crate) fn write(&self, path: &Path) -> Result<(), CheckpointError> {
        put(path, |file| self.put(file)).map_err(|source| CheckpointError::Write {
            path: path.to_owned(),
            source,
        })
    }

    fn put(&self, file: &mut dyn Write) -> io::Result<()> {
        let mut to = Hashing(file, blake3::Hasher::new());
        let tensors = self.parameters.tensors();
        let header = Header {
            run: self.run.to_hex().to_string(),
            class: self.class.to_owned(),
            progress: self.progress.clone(),
            tensors: tensors
                .iter()
                .map(|tensor| (tensor.name.clone(), tensor.rows, tensor.columns))
                .collect(),
            has_best: self.best.is_some(),
            roots: self.roots.len(),
        };
        let header = serde_json::to_vec(&header).expect("names and numbers");
        to.write_all(MAGIC)?;
        to.write_all(&(header.len() as u64).to_le_bytes())?;
        to.write_all(&header)?;
        for (index, tensor) in tensors.iter().enumerate() {
            for numbers in [tensor.values(), &self.moments.first[index], &self.moments.second[index]] {
                put_singles(&mut to, numbers)?;
            }
        }
        self.best
            .iter()
            .flat_map(|best| best.iter())
            .try_for_each(|best| put_singles(&mut to, best))?;
        self.roots.iter().try_for_each(|root| to.write_all(root.as_bytes()))?;
        let hash = to.1.finalize();
        to.0.write_all(hash.as_bytes())
    }
}

/// Writes a file completely or not at all.
pub(crate) fn put(path: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".unfinished");
    let unfinished = path.with_file_name(name);
    let written = (|| {
        let mut file = io::BufWriter::with_capacity(1 << 20, File::create(&unfinished)?);
        fill(&mut file)?;
        file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        fs::rename(&unfinished, path)?;
        File::open(
            path.parent()
                .filter(|dir| !dir.as_os_str().is_empty())
                .unwrap_or(Path::new(".")),
        )?
        .sync_all()
    })();
    if written.is_err() {
        // The first error is the one to report.
        let _ = fs::remove_file(&unfinished);
    }
    written
}

fn put_singles(to: &mut impl Write, numbers: &[f32]) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(4 * numbers.len().min(1 << 16));
    for part in numbers.chunks(1 << 16) {
        bytes.clear();
        bytes.extend(part.iter().flat_map(|number| number.to_le_bytes()));
        to.write_all(&bytes)?;
    }
    Ok(())
}

/// Reads and verifies a checkpoint of this run.
pub(crate) fn read(
    path: &Path,
    run: blake3::Hash,
    class: &str,
    parameters: &Parameters,
) -> Result<Restored, CheckpointError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::UnexpectedEof => damaged(path, "it ends too early"),
        _ => CheckpointError::Read {
            path: path.to_owned(),
            source,
        },
    };
    let file = File::open(path).map_err(failed)?;
    let mut from = Hashing(io::BufReader::with_capacity(1 << 20, file), blake3::Hasher::new());
    let mut start = [0; 16];
    from.read_exact(&mut start).map_err(failed)?;
    let length = u64::from_le_bytes(start[8..].try_into().expect("eight bytes"));
    if &start[..8] != MAGIC || length > HEADER_BYTES_MAX {
        return Err(damaged(path, "it does not begin like one of this version"));
    }
    let mut header = vec![0; usize::try_from(length).expect("just bounded")];
    from.read_exact(&mut header).map_err(failed)?;
    let header: Header = serde_json::from_slice(&header).map_err(|error| damaged(path, &error.to_string()))?;
    if header.class != class {
        return Err(CheckpointError::Class {
            path: path.to_owned(),
            device: if header.class == PROCESSOR { "cpu" } else { "cuda" },
            theirs: header.class,
            ours: class.to_owned(),
        });
    }
    if header.run != run.to_hex().as_str() {
        return Err(CheckpointError::Other {
            path: path.to_owned(),
            theirs: header.run.chars().take(16).collect(),
            ours: run.to_hex().chars().take(16).collect(),
        });
    }
    let ours = parameters
        .tensors()
        .iter()
        .map(|tensor| (&tensor.name, tensor.rows, tensor.columns));
    if !header
        .tensors
        .iter()
        .map(|(name, rows, columns)| (name, *rows, *columns))
        .eq(ours)
    {
        return Err(damaged(path, "its tensors are not those of its run"));
    }
    if header.roots as u64 != header.progress.step {
        return Err(damaged(path, "it has not one root for each step"));
    }
    let counts: Vec<usize> = parameters
        .tensors()
        .iter()
        .map(|tensor| tensor.values().len())
        .collect();
    let (mut values, mut first, mut second) = (Vec::new(), Vec::new(), Vec::new());
    for count in &counts {
        for list in [&mut values, &mut first, &mut second] {
            list.push(get_singles(&mut from, *count).map_err(failed)?);
        }
    }
    let best = match header.has_best {
        false => None,
        true => {
            let best = counts.iter().map(|count| get_singles(&mut from, *count));
            Some(best.collect::<io::Result<_>>().map_err(failed)?)
        }
    };
    let mut roots = Vec::new();
    for _ in 0..header.roots {
        let mut root = [0; 32];
        from.read_exact(&mut root).map_err(failed)?;
        roots.push(blake3::Hash::from_bytes(root));
    }
    let hash = from.1.finalize();
    let mut stored = [0; 32];
    from.0.read_exact(&mut stored).map_err(failed)?;
    if hash != blake3::Hash::from_bytes(stored) {
        return Err(damaged(path, "its hash is not that of its content"));
    }
    Ok(Restored {
        progress: header.progress,
        values,
        moments: Moments { first, second },
        best,
        roots,
    })
}

fn damaged(path: &Path, why: &str) -> CheckpointError {
    CheckpointError::Damaged {
        path: path.to_owned(),
        why: why.to_owned(),
    }
}

fn get_singles(from: &mut impl Read, count: usize) -> io::Result<Vec<f32>> {
    let mut numbers = Vec::with_capacity(count);
    let mut bytes = vec![0; 4 * count.min(1 << 16)];
    while numbers.len() < count {
        let part = &mut bytes[..4 * (count - numbers.len()).min(1 << 16)];
        from.read_exact(part)?;
        numbers.extend(part.as_chunks().0.iter().map(|chunk| f32::from_le_bytes(*chunk)));
    }
    Ok(numbers)
}
