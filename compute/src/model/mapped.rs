//! Memory-mapped model files that are watched for changes.
//!
//! Reading a mapped page that a truncation removed raises SIGBUS, which ends the process. Nobody else writes the
//! store's files, but a failing disk, a restored backup or a mistaken command does. So a handler of SIGBUS maps zeros
//! over the pages that are gone, and users of a model ask after each step if the files are still the same
//! ([`Mapped::changed`]): results from changed files are not given out.
//!
//! A program that writes the file through a map of its own is noticed only once the system updates the file's time.

#![allow(
    unsafe_code,
    reason = "a map of a file, and the signal that says that a part of it is gone"
)]

use std::{
    ffi::{c_int, c_void},
    fs::File,
    io,
    path::{Path, PathBuf},
    ptr,
    sync::{
        Mutex, MutexGuard, Once, PoisonError,
        atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering::*},
    },
    time::SystemTime,
};

/// Most files mapped at once: several models of as many shards as one may have.
const FILES_MAX: usize = 4096;

/// Address range of a mapped file, for the signal handler.
struct MappedRange {
    start: AtomicUsize,
    /// 0 if the entry is free.
    end: AtomicUsize,
    /// True once a page of it was gone when it was read.
    lost: AtomicBool,
}

static RANGES: [MappedRange; FILES_MAX] = [const {
    MappedRange {
        start: AtomicUsize::new(0),
        end: AtomicUsize::new(0),
        lost: AtomicBool::new(false),
    }
}; FILES_MAX];

/// Held while entries are given out and taken back. The signal handler does not wait for it.
static TABLE_LOCK: Mutex<()> = Mutex::new(());

/// The handler that was installed before this one.
static PREVIOUS: AtomicUsize = AtomicUsize::new(libc::SIG_DFL);
static PREVIOUS_FLAGS: AtomicI32 = AtomicI32::new(0);

/// Size of a page of memory, stored before the handler can need it.
static PAGE: AtomicUsize = AtomicUsize::new(0);

/// A mapped file of the private store.
pub(crate) struct Mapped {
    map: memmap2::Mmap,
    range: usize,
    file: File,
    path: PathBuf,
    /// Length and time of modification when it was mapped.
    mapped_stamp: Stamp,
}

/// Length and time of modification of a file.
type Stamp = (u64, Option<SystemTime>);

fn stamp(file: &File) -> io::Result<Stamp> {
    let meta = file.metadata()?;
    Ok((meta.len(), meta.modified().ok()))
}

impl Mapped {
    /// Maps a file, installing the signal handler the first time.
    pub(crate) fn new(file: File, path: &Path) -> io::Result<Self> {
        static INSTALL: Once = Once::new();
        INSTALL.call_once(install_handler);
        let mapped_stamp = stamp(&file)?;
        // SAFETY: only the store writes its files. If another program does, bytes change while they are read as
        // numbers;
        // `changed` reports it and the results are dropped. If the file is truncated, the signal handler maps zeros.
        let map = unsafe { memmap2::Mmap::map(&file) }?;
        let _table = lock_table();
        let range = RANGES.iter().position(|range| range.end.load(Relaxed) == 0);
        let range =
            range.ok_or_else(|| io::Error::other(format!("{FILES_MAX} files are mapped, and no more can be")))?;
        let start = map.as_ptr().addr();
        RANGES[range].lost.store(false, Relaxed);
        RANGES[range].start.store(start, Relaxed);
        RANGES[range].end.store(start + map.len(), Release);
        Ok(Self {
            map,
            range,
            file,
            path: shown(path),
            mapped_stamp,
        })
    }

    /// True if the file is not what it was when it was mapped, or a page of it was gone.
    pub(crate) fn changed(&self) -> bool {
        RANGES[self.range].lost.load(Acquire) || stamp(&self.file).ok() != Some(self.mapped_stamp)
    }

    /// Returns the file's name with its directory's, which may be shown to clients.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        &self.map
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        let _table = lock_table();
        RANGES[self.range].end.store(0, Release);
    }
}

/// Shortens a path to the file and its directory, so that clients do not learn where the store is.
pub(super) fn shown(path: &Path) -> PathBuf {
    let dir = path.parent().and_then(Path::file_name).unwrap_or_default();
    Path::new(dir).join(path.file_name().unwrap_or_default())
}

fn lock_table() -> MutexGuard<'static, ()> {
    TABLE_LOCK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Installs the handler of SIGBUS.
fn install_handler() {
    // SAFETY: `sysconf` and `sigaction` read and write what they are given here, which is valid: zeros are an action.
    // What is installed touches atomics and maps memory, both of which a signal may do.
    unsafe {
        let page = libc::sysconf(libc::_SC_PAGESIZE);
        PAGE.store(usize::try_from(page).unwrap_or(4096), Relaxed);
        let mut before: libc::sigaction = std::mem::zeroed();
        // Read before the first signal can come. If it fails nothing is installed, and SIGBUS ends the process as
        // before.
        if libc::sigaction(libc::SIGBUS, ptr::null(), &raw mut before) != 0 {
            return;
        }
        PREVIOUS.store(before.sa_sigaction, Relaxed);
        PREVIOUS_FLAGS.store(before.sa_flags, Release);
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_sigbus as extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        libc::sigemptyset(&raw mut action.sa_mask);
        libc::sigaction(libc::SIGBUS, &raw const action, ptr::null_mut());
    }
}

extern "C" fn on_sigbus(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the system gives the information of this signal.
    let at = unsafe { (*info).si_addr() }.addr();
    for range in &RANGES {
        let (end, start) = (range.end.load(Acquire), range.start.load(Relaxed));
        if (start..end).contains(&at) && map_zeros(at & !(PAGE.load(Relaxed) - 1), end) {
            range.lost.store(true, Release);
            return;
        }
    }
    call_previous(signal, info, context);
}

/// Maps zeros over the pages from `start` to `end`, which belong to one map.
fn map_zeros(start: usize, end: usize) -> bool {
    let (protection, flags) = (
        libc::PROT_READ,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED,
    );
    let start = ptr::with_exposed_provenance_mut::<c_void>(start);
    // SAFETY: the pages belong to a live map of this module, since it is being read, and maps consist of whole pages,
    // so nothing else lies there.
    unsafe { libc::mmap(start, end - start.addr(), protection, flags, -1, 0) != libc::MAP_FAILED }
}

/// Calls the handler that was there before, or restores the default action.
fn call_previous(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let before = PREVIOUS.load(Relaxed);
    let informed = PREVIOUS_FLAGS.load(Acquire) & libc::SA_SIGINFO != 0;
    // SAFETY: the earlier handler is called in the form it was installed with. Without one, the signal comes again at
    // the
    // same instruction and takes its default action.
    unsafe {
        match before {
            libc::SIG_DFL | libc::SIG_IGN => drop(libc::signal(signal, libc::SIG_DFL)),
            before if informed => {
                let before: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = std::mem::transmute(before);
                before(signal, info, context);
            }
            before => {
                let before: extern "C" fn(c_int) = std::mem::transmute(before);
                before(signal);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn file(dir: &Path) -> PathBuf {
        let path = dir.join("model.safetensors");
        File::create(&path)
            .and_then(|mut file| file.write_all(&vec![7; 1 << 20]))
            .expect("written");
        path
    }

    fn mapped(path: &Path) -> Mapped {
        Mapped::new(File::open(path).expect("it is there"), path).expect("mapped")
    }

    #[test]
    fn a_file_that_is_cut_reads_as_zeros_and_is_known_to_have_changed() {
        let home = tempfile::tempdir().expect("tempdir");
        let path = file(home.path());
        let (cut, whole) = (
            mapped(&path),
            mapped(&file(tempfile::tempdir().expect("tempdir").path())),
        );
        assert!(!cut.changed() && cut.as_ref().iter().all(|byte| *byte == 7));
        let open = File::options().write(true).open(&path).expect("opened");
        open.set_len(5000).expect("cut");
        // From the end, so that one range after another is found to be gone.
        let left = cut.as_ref().iter().rev().filter(|byte| **byte == 7).count();
        assert_eq!(left, 5000);
        assert!(cut.changed());
        assert!(!whole.changed() && whole.as_ref().iter().all(|byte| *byte == 7));
    }

    #[test]
    fn a_file_that_is_written_to_is_known_to_have_changed() {
        let home = tempfile::tempdir().expect("tempdir");
        let path = file(home.path());
        let mapped = mapped(&path);
        let before = File::open(&path).and_then(|file| file.metadata()).expect("it is there");
        let mut open = File::options().write(true).open(&path).expect("opened");
        // Clocks of file systems are coarse: until this one has gone on.
        while open.metadata().and_then(|now| now.modified()).expect("told") == before.modified().expect("told") {
            open.write_all(b"x").expect("written");
        }
        assert!(mapped.changed());
    }
}
