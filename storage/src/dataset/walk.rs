//! The files of an import with their names and order: the same on every machine.
//!
//! Hidden files and links inside the folder are left out and reported. A link that leads out of the folder is refused, since
//! its target was not meant to be published. Sidecars of an image or a sound (`cat.jpg`, `cat.txt`) follow it directly.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use protocol::manifest::check_path;

use super::{
    error::{FileFault, IngestError},
    ingest::Skipped,
    media,
    options::Options,
};

/// Deepest nesting of folders.
const DEPTH_MAX: usize = 64;

/// A file to read.
pub(super) struct Found {
    /// Its name in the dataset.
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) format: Format,
}

/// The format of a file, by its extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Jsonl,
    Csv(u8),
    Parquet,
    Text,
    Markdown,
    Media(&'static str),
    /// Text or JSON that belongs to the image or sound before it.
    Sidecar,
}

struct Walk<'a> {
    options: &'a Options,
    found: BTreeMap<String, PathBuf>,
    skipped: Vec<Skipped>,
}

/// Returns the files under `paths` in dataset order, and the skipped ones.
pub(super) fn walk(paths: &[PathBuf], options: &Options) -> Result<(Vec<Found>, Vec<Skipped>), IngestError> {
    let mut walk = Walk {
        options,
        found: BTreeMap::new(),
        skipped: Vec::new(),
    };
    for path in paths {
        // A path given by the user may be a link; a link below it must not lead out.
        let root = fs::canonicalize(path).map_err(|error| fault(path, FileFault::Unreadable, Some(error)))?;
        let own = root.file_name().and_then(|name| name.to_str());
        if root.is_dir() {
            let prefix = match paths.len() {
                1 => String::new(),
                _ => own.ok_or_else(|| fault(path, FileFault::Name, None))?.to_owned(),
            };
            walk.folder(&root, &root, &prefix, 0)?;
        } else {
            let name = own.ok_or_else(|| fault(path, FileFault::Name, None))?;
            walk.file(&root, name.to_owned())?;
        }
    }
    if walk.found.is_empty() {
        let named: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
        return Err(IngestError::NoFiles(named.join(", ")));
    }
    Ok((arrange(walk.found, &mut walk.skipped, options)?, walk.skipped))
}

impl Walk<'_> {
    fn folder(&mut self, root: &Path, folder: &Path, prefix: &str, depth: usize) -> Result<(), IngestError> {
        if depth > DEPTH_MAX {
            return Err(fault(folder, FileFault::Deep, None));
        }
        let unreadable = |error| fault(folder, FileFault::Unreadable, Some(error));
        for entry in fs::read_dir(folder).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let path = entry.path();
            let Some(own) = entry.file_name().to_str().map(str::to_owned) else {
                return Err(fault(&path, FileFault::Name, None));
            };
            let name = if prefix.is_empty() {
                own.clone()
            } else {
                format!("{prefix}/{own}")
            };
            let kind = entry.file_type().map_err(unreadable)?;
            if own.starts_with('.') {
                self.skip(name, "hidden");
            } else if kind.is_symlink() {
                let to = fs::canonicalize(&path).map_err(|error| fault(&path, FileFault::Unreadable, Some(error)))?;
                if !to.starts_with(root) {
                    return Err(fault(&path, FileFault::LinkOut(to.display().to_string()), None));
                }
                self.skip(name, "a link to what is in the folder anyway");
            } else if kind.is_dir() {
                self.folder(root, &path, &name, depth + 1)?;
            } else {
                self.file(&path, name)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, name: String) -> Result<(), IngestError> {
        if !path.is_file() {
            return Err(fault(path, FileFault::NotAFile, None));
        }
        check_path(&name)?;
        if self.found.len() == self.options.files_max {
            return Err(IngestError::TooManyFiles(self.options.files_max));
        }
        if let Some(first) = self.found.insert(name.clone(), path.to_owned()) {
            return Err(IngestError::Twice {
                name,
                first: first.display().to_string(),
                second: path.display().to_string(),
            });
        }
        Ok(())
    }

    fn skip(&mut self, name: String, why: &'static str) {
        self.skipped.push(Skipped { name, why });
    }
}

/// Assigns formats, and puts sidecars after the files they belong to.
fn arrange(
    found: BTreeMap<String, PathBuf>,
    skipped: &mut Vec<Skipped>,
    options: &Options,
) -> Result<Vec<Found>, IngestError> {
    let is_media = |name: &str| media::class(&extension(name)).is_some();
    // Two images with one stem cannot share a sidecar: it belongs to the first.
    let mut owners: BTreeMap<&str, &str> = BTreeMap::new();
    for name in found.keys().filter(|name| is_media(name)) {
        owners.entry(stem(name)).or_insert(name);
    }
    let mut order: Vec<(&str, bool, &str, Format)> = Vec::with_capacity(found.len());
    for (name, path) in &found {
        let ending = extension(name);
        let owner = owners
            .get(stem(name))
            .filter(|_| matches!(ending.as_str(), "txt" | "json"));
        let format = match ending.as_str() {
            _ if owner.is_some() => Format::Sidecar,
            "jsonl" | "ndjson" => Format::Jsonl,
            "csv" => Format::Csv(options.csv_delimiter.unwrap_or(b',')),
            "tsv" => Format::Csv(options.csv_delimiter.unwrap_or(b'\t')),
            "parquet" => Format::Parquet,
            "txt" | "text" => Format::Text,
            "md" | "markdown" => Format::Markdown,
            other => match media::class(other) {
                Some(class) => Format::Media(class),
                None if options.skip_unusable => {
                    skipped.push(Skipped {
                        name: name.clone(),
                        why: "no reader is for this kind of file",
                    });
                    continue;
                }
                None => return Err(fault(path, FileFault::Unknown, None)),
            },
        };
        order.push((owner.copied().unwrap_or(name), owner.is_some(), name, format));
    }
    order.sort_by_key(|&(after, sidecar, name, _)| (after, sidecar, name));
    let found = |(_, _, name, format): (&str, bool, &str, Format)| Found {
        name: name.to_owned(),
        path: found[name].clone(),
        format,
    };
    Ok(order.into_iter().map(found).collect())
}

/// Returns the extension in lower case; empty if there is none.
pub(super) fn extension(name: &str) -> String {
    let own = name.rsplit('/').next().unwrap_or(name);
    own.rsplit_once('.')
        .map_or(String::new(), |(_, ending)| ending.to_ascii_lowercase())
}

fn stem(name: &str) -> &str {
    match name.rsplit_once('.') {
        Some((stem, ending)) if !ending.contains('/') => stem,
        _ => name,
    }
}

pub(super) fn fault(path: &Path, fault: FileFault, source: Option<io::Error>) -> IngestError {
    IngestError::File {
        file: path.display().to_string(),
        fault,
        source,
    }
}
