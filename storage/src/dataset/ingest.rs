//! The import: reads each file once, record by record, and stores shards and manifest.

use std::{fs, ops::ControlFlow, path::PathBuf};

use protocol::{
    BlobHash,
    duplicate::{Entry, Similarity, Sketch, cluster},
    manifest::{FieldKind, MANIFEST_VERSION, Manifest, SchemaInference},
};

use super::{
    error::{At, FileFault, IngestError},
    open::{BLOCK, Open},
    options::{About, Options},
    parquet::Rows,
    shard_writer::{self, ShardWriter},
    store::ShardSink,
    walk::{self, Format, Found},
};

/// Progress of an import, passed to its callback.
#[derive(Clone, Debug)]
pub struct Progress<'a> {
    /// The file being read.
    pub file: &'a str,
    pub files_done: usize,
    /// Number of files to read.
    pub files: usize,
    pub bytes_done: u64,
    /// Total size of the files when they were listed.
    pub bytes: u64,
    pub records: u64,
}

/// The result of an import.
#[derive(Clone, Debug)]
pub struct Ingested {
    /// The dataset's id.
    pub root: BlobHash,
    /// The manifest; the sink has it as a blob too.
    pub manifest: Manifest,
    pub skipped: Vec<Skipped>,
    /// Records that duplicate an earlier one.
    pub duplicates: Vec<DuplicateRecord>,
    /// Records that were compared; at most [`Options::compare_records_max`].
    pub compared: u64,
    /// Sketches of the compared records.
    pub entries: Vec<Entry>,
}

/// A file that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Its name in the dataset.
    pub name: String,
    pub why: &'static str,
}

/// A record that duplicates an earlier one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DuplicateRecord {
    /// Position in the dataset.
    pub record: u64,
    pub of: DuplicateOf,
    pub likeness: Similarity,
}

/// The record that is duplicated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DuplicateOf {
    /// A record of the same dataset, by position.
    Record(u64),
    /// A record known before.
    Known {
        /// Its digest.
        record: [u8; 32],
        /// Its rank in the order of commitments, as [`super::Known`] gave it.
        committed: u64,
    },
}

/// Imports the files under `paths` and stores shards, manifest and hash sequence in `sink`.
///
/// After an error, shards may be in the sink, but no manifest: the sink's own collection removes them. The sink's earlier
/// content is not affected.
///
/// ```
/// use std::ops::ControlFlow;
/// use storage::dataset::{About, Folder, Options, ingest};
///
/// let home = tempfile::tempdir().unwrap();
/// let file = home.path().join("plants.jsonl");
/// std::fs::write(&file, "{\"text\":\"fern\"}\n{\"text\":\"moss\"}\n").unwrap();
/// let about = About {
///     name: "plants".to_owned(),
///     datanet: None,
///     licence: "CC0-1.0".parse().unwrap(),
///     contributors: Vec::new(),
///     previous: None,
///     created_ms: 0,
/// };
/// let mut blobs = Folder::open(&home.path().join("blobs")).unwrap();
/// let done = ingest(&[file], &about, &Options::default(), &mut blobs, &mut |_| ControlFlow::Continue(())).unwrap();
/// assert_eq!(done.manifest.records, 2);
/// ```
pub fn ingest(
    paths: &[PathBuf],
    about: &About,
    options: &Options,
    sink: &mut dyn ShardSink,
    progress: &mut dyn FnMut(&Progress<'_>) -> ControlFlow<()>,
) -> Result<Ingested, IngestError> {
    options
        .check()
        .map_err(|(option, what)| IngestError::Option { option, what })?;
    let (found, skipped) = walk::walk(paths, options)?;
    let sizes = found
        .iter()
        .map(|file| fs::metadata(&file.path).map_or(0, |data| data.len()));
    let mut import = Import {
        options,
        writer: ShardWriter::new(options.shard_bytes, sink),
        kinds: SchemaInference::default(),
        entries: Vec::new(),
        skipped,
        bytes: sizes.sum(),
        files: found.len(),
        files_done: 0,
        reported: 0,
        progress,
    };
    let mut at = 0;
    while at < found.len() {
        // Sidecars follow the image or the sound that they belong to.
        let sidecars = found[at + 1..]
            .iter()
            .take_while(|file| file.format == Format::Sidecar)
            .count();
        let group = &found[at..=at + sidecars];
        import.report(&group[0].name)?;
        import.import_group(group)?;
        at += group.len();
        import.files_done = at;
    }
    let csv_only = found.iter().all(|file| matches!(file.format, Format::Csv(_)));
    import.finish(about, csv_only)
}

pub(super) struct Import<'a, 'b> {
    pub(super) options: &'a Options,
    pub(super) writer: ShardWriter<'b>,
    kinds: SchemaInference,
    entries: Vec<Entry>,
    skipped: Vec<Skipped>,
    bytes: u64,
    files: usize,
    files_done: usize,
    reported: u64,
    progress: &'a mut dyn FnMut(&Progress<'_>) -> ControlFlow<()>,
}

impl Import<'_, '_> {
    /// Imports one file, or an image or a sound with its sidecars.
    fn import_group(&mut self, group: &[Found]) -> Result<(), IngestError> {
        let open = Open::new(&group[0])?;
        if open.before.len() == 0 {
            return self.skip_or_fail(&open, FileFault::Empty, "empty");
        }
        if let Format::Media(class) = group[0].format {
            return self.media(&open, &group[1..], class);
        }
        if !self.options.skip_unusable {
            return self.import_file(&open);
        }
        // Whether a file has records is known only at its end, so look for one before taking its bytes.
        match self.has_records(&open)? {
            true => self.import_file(&open),
            false => self.skip_or_fail(&open, FileFault::NoRecords, "no record in it"),
        }
    }

    fn skip_or_fail(&mut self, open: &Open<'_>, fault: FileFault, why: &'static str) -> Result<(), IngestError> {
        if !self.options.skip_unusable {
            return Err(open.fault(fault));
        }
        self.skipped.push(Skipped {
            name: open.found.name.clone(),
            why,
        });
        Ok(())
    }

    fn has_records(&self, open: &Open<'_>) -> Result<bool, IngestError> {
        let again = Open::new(open.found)?;
        let wanted = match open.found.format {
            Format::Csv(_) if self.options.csv_header => 2,
            Format::Parquet => {
                let file = again.file.try_clone().map_err(|error| again.unreadable(error))?;
                return Ok(Rows::open(file).map_or(true, |rows| rows.count > 0));
            }
            _ => 1,
        };
        let mut lines = again.lines(self.options.record_bytes_max)?;
        let (mut line, mut filled) = (Vec::new(), 0);
        while filled < wanted {
            line.clear();
            let read = lines.append(&mut line).map_err(|error| again.unreadable(error))?;
            match read {
                Ok(false) => return Ok(false),
                Ok(true) => filled += usize::from(!line.trim_ascii().is_empty()),
                Err(_) => return Ok(true),
            }
        }
        Ok(true)
    }

    /// Checks that a record fits the schema; extends an inferred schema.
    pub(super) fn check_schema(
        &mut self,
        open: &Open<'_>,
        at: At,
        kinds: &std::collections::BTreeMap<String, FieldKind>,
    ) -> Result<(), IngestError> {
        let fits = match &self.options.schema {
            Some(schema) => schema.fits(kinds),
            None => self.kinds.add(kinds),
        };
        fits.map_err(|error| open.record(at, error))
    }

    /// Keeps the sketch of a record, up to the configured number.
    pub(super) fn sketch(&mut self, record: [u8; 32], sketch: impl FnOnce() -> Sketch) {
        if self.entries.len() < self.options.compare_records_max {
            self.entries.push(Entry {
                record,
                committed: u64::MAX,
                sketch: sketch(),
            });
        }
    }

    /// Reports progress, about once per block.
    pub(super) fn tick(&mut self, open: &Open<'_>) -> Result<(), IngestError> {
        if self.writer.end - self.reported < BLOCK as u64 {
            return Ok(());
        }
        self.report(&open.found.name)
    }

    fn report(&mut self, file: &str) -> Result<(), IngestError> {
        self.reported = self.writer.end;
        let told = (self.progress)(&Progress {
            file,
            files_done: self.files_done,
            files: self.files,
            bytes_done: self.writer.end,
            bytes: self.bytes,
            records: self.writer.records,
        });
        match told {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(IngestError::Cancelled),
        }
    }

    fn finish(self, about: &About, csv_only: bool) -> Result<Ingested, IngestError> {
        let mut schema = self.options.schema.clone().unwrap_or_else(|| self.kinds.schema());
        if csv_only && self.options.schema.is_none() {
            // Cells are text before their kind is guessed, so a column of several kinds is text.
            for field in schema.fields.iter_mut().filter(|field| field.kind == FieldKind::Any) {
                field.kind = FieldKind::Text;
            }
        }
        let (bytes, records, sources) = (self.writer.end, self.writer.records, self.writer.files);
        if sources == 0 {
            return Err(IngestError::NoFiles("these paths that has a record".to_owned()));
        }
        let duplicates = duplicates(&self.options.known.beside(&self.entries), &self.entries);
        let (shards, sink) = self.writer.finish()?;
        let manifest = Manifest {
            version: MANIFEST_VERSION,
            name: about.name.clone(),
            datanet: about.datanet,
            licence: about.licence.clone(),
            schema,
            contributors: about.contributors.clone(),
            previous: about.previous,
            created_ms: about.created_ms,
            sources,
            records,
            bytes,
            shards,
        };
        manifest.check()?;
        shard_writer::put(sink, &manifest.encode(), None)?;
        let root = shard_writer::put(sink, &manifest.sequence(), None)?;
        assert_eq!(root, manifest.root());
        Ok(Ingested {
            root,
            manifest,
            skipped: self.skipped,
            duplicates,
            compared: self.entries.len() as u64,
            entries: self.entries,
        })
    }
}

/// Returns the new records that duplicate a known or an earlier new one.
fn duplicates(known: &[Entry], new: &[Entry]) -> Vec<DuplicateRecord> {
    let report = cluster(known.iter().chain(new));
    let position = |at: usize| at.checked_sub(known.len()).map(|at| at as u64);
    let mut found = Vec::new();
    for group in &report.clusters {
        let of = match position(group.canonical) {
            Some(record) => DuplicateOf::Record(record),
            None => DuplicateOf::Known {
                record: known[group.canonical].record,
                committed: known[group.canonical].committed,
            },
        };
        let new = group.members.iter().filter_map(|member| {
            let record = position(member.record)?;
            Some(DuplicateRecord {
                record,
                of,
                likeness: member.likeness,
            })
        });
        found.extend(new);
    }
    found.sort_by_key(|duplicate| duplicate.record);
    found
}
