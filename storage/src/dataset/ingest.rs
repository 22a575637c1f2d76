//! The import itself: file by file, record by record, once.

use std::{fs, ops::ControlFlow, path::PathBuf};

use protocol::{
    BlobHash,
    duplicate::{Entry, Likeness, Sketch, cluster},
    manifest::{FieldKind, Kinds, MANIFEST_VERSION, Manifest},
};

use super::{
    cut::{self, Cutter},
    error::{At, FileFault, IngestError},
    open::{BLOCK, Open},
    options::{About, Options},
    parquet::Rows,
    store::ShardSink,
    walk::{self, Format, Found},
};

/// How far an import is.
#[derive(Clone, Debug)]
pub struct Progress<'a> {
    /// The file that is being read.
    pub file: &'a str,
    /// Files that were read.
    pub files_done: usize,
    /// Files in all.
    pub files: usize,
    /// Bytes that were read.
    pub bytes_done: u64,
    /// Bytes in all, as the files were when they were found.
    pub bytes: u64,
    /// Records so far.
    pub records: u64,
}

/// What was imported.
#[derive(Clone, Debug)]
pub struct Ingested {
    /// The name of the dataset.
    pub root: BlobHash,
    /// What describes it; the sink has it as a blob.
    pub manifest: Manifest,
    /// Files that were left out.
    pub skipped: Vec<Skipped>,
    /// Records that say what an earlier record says.
    pub duplicates: Vec<DuplicateRecord>,
    /// Records that were compared; the others are beyond [`Options::compare_records_max`].
    pub compared: u64,
    /// What is known of its records from now on.
    pub entries: Vec<Entry>,
}

/// A file that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// What it would have been called.
    pub name: String,
    /// Why.
    pub why: &'static str,
}

/// A record that is not new.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DuplicateRecord {
    /// Its position in the dataset.
    pub record: u64,
    /// What it duplicates.
    pub of: DuplicateOf,
    /// How alike they are.
    pub likeness: Likeness,
}

/// What a record duplicates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DuplicateOf {
    /// A record of the same dataset, by its position.
    Record(u64),
    /// A record that was known.
    Known {
        /// Its digest.
        record: [u8; 32],
        /// Its place in the order of commitments, as [`super::Known`] gave it.
        committed: u64,
    },
}

/// Imports the files under `paths`.
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
        cutter: Cutter::new(options.shard_bytes, sink),
        kinds: Kinds::default(),
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
        // Notes stand behind the image or the sound that they belong to.
        let notes = found[at + 1..]
            .iter()
            .take_while(|file| file.format == Format::Sidecar)
            .count();
        let group = &found[at..=at + notes];
        import.tell(&group[0].name)?;
        import.group(group)?;
        at += group.len();
        import.files_done = at;
    }
    let csv_only = found.iter().all(|file| matches!(file.format, Format::Csv(_)));
    import.finish(about, csv_only)
}

pub(super) struct Import<'a, 'b> {
    pub(super) options: &'a Options,
    pub(super) cutter: Cutter<'b>,
    kinds: Kinds,
    entries: Vec<Entry>,
    skipped: Vec<Skipped>,
    bytes: u64,
    files: usize,
    files_done: usize,
    reported: u64,
    progress: &'a mut dyn FnMut(&Progress<'_>) -> ControlFlow<()>,
}

impl Import<'_, '_> {
    /// Reads one file, or an image or a sound with its notes.
    fn group(&mut self, group: &[Found]) -> Result<(), IngestError> {
        let open = Open::new(&group[0])?;
        if open.before.len() == 0 {
            return self.unusable(&open, FileFault::Empty, "empty");
        }
        if let Format::Media(class) = group[0].format {
            return self.media(&open, &group[1..], class);
        }
        if !self.options.skip_unusable {
            return self.one(&open);
        }
        // Whether a file has records is known only at its end, so it is looked for before its bytes are taken.
        match self.has_records(&open)? {
            true => self.one(&open),
            false => self.unusable(&open, FileFault::NoRecords, "no record in it"),
        }
    }

    fn unusable(&mut self, open: &Open<'_>, fault: FileFault, why: &'static str) -> Result<(), IngestError> {
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

    /// Whether a record fits; inferred schemas grow by it.
    pub(super) fn fits(
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

    /// Remembers what a record says, while there is room for more.
    pub(super) fn sketch(&mut self, record: [u8; 32], sketch: impl FnOnce() -> Sketch) {
        if self.entries.len() < self.options.compare_records_max {
            self.entries.push(Entry {
                record,
                committed: u64::MAX,
                sketch: sketch(),
            });
        }
    }

    /// Tells how far the import is, about once per block.
    pub(super) fn tick(&mut self, open: &Open<'_>) -> Result<(), IngestError> {
        if self.cutter.end - self.reported < BLOCK as u64 {
            return Ok(());
        }
        self.tell(&open.found.name)
    }

    fn tell(&mut self, file: &str) -> Result<(), IngestError> {
        self.reported = self.cutter.end;
        let told = (self.progress)(&Progress {
            file,
            files_done: self.files_done,
            files: self.files,
            bytes_done: self.cutter.end,
            bytes: self.bytes,
            records: self.cutter.records,
        });
        match told {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(IngestError::Cancelled),
        }
    }

    fn finish(self, about: &About, csv_only: bool) -> Result<Ingested, IngestError> {
        let mut schema = self.options.schema.clone().unwrap_or_else(|| self.kinds.schema());
        if csv_only && self.options.schema.is_none() {
            // Every cell was text before it looked like something, so a column of both is text.
            for field in schema.fields.iter_mut().filter(|field| field.kind == FieldKind::Any) {
                field.kind = FieldKind::Text;
            }
        }
        let (bytes, records, sources) = (self.cutter.end, self.cutter.records, self.cutter.files);
        if sources == 0 {
            return Err(IngestError::Nothing("these paths that has a record".to_owned()));
        }
        let duplicates = duplicates(&self.options.known.beside(&self.entries), &self.entries);
        let (shards, sink) = self.cutter.finish()?;
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
        cut::put(sink, &manifest.encode(), None)?;
        let root = cut::put(sink, &manifest.sequence(), None)?;
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

/// The new records that say what a known or another new one says.
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
