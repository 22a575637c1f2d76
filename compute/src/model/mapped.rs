//! Model files in memory: mapped, and watched.
//!
//! What is mapped is read as memory, so a file that is cut short would end whoever reads it. The store's files are nobody
//! else's, but a disk that fails, a backup that is put back in place and a slip of the hand do not ask. So a place that is
//! gone reads as zeros, and whoever computed asks afterwards whether the files are what they were ([`Mapped::changed`]):
//! numbers that came of other files are never told. What a program that maps the file itself writes through its map is
//! seen once the system puts a time on it, which may be later.

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

/// Files that may be mapped at once: several models of as many shards as one may have.
const FILES_MAX: usize = 4096;

/// Where a file is mapped, for the signal.
struct Place {
    start: AtomicUsize,
    /// 0 where there is none.
    end: AtomicUsize,
    /// A part of it was gone when it was read.
    lost: AtomicBool,
}

static PLACES: [Place; FILES_MAX] = [const {
    Place {
        start: AtomicUsize::new(0),
        end: AtomicUsize::new(0),
        lost: AtomicBool::new(false),
    }
}; FILES_MAX];

/// Held while places are given out and taken back. The signal does not wait for it.
static GIVING: Mutex<()> = Mutex::new(());

/// What was called at the signal before us.
static BEFORE: AtomicUsize = AtomicUsize::new(libc::SIG_DFL);
static BEFORE_FLAGS: AtomicI32 = AtomicI32::new(0);

/// Bytes of a page of memory, known before the signal needs it.
static PAGE: AtomicUsize = AtomicUsize::new(0);

/// A file in memory.
pub(crate) struct Mapped {
    map: memmap2::Mmap,
    place: usize,
    file: File,
    path: PathBuf,
    /// What it was when it was mapped.
    then: Stamp,
}

/// How long a file is, and when it was last written.
type Stamp = (u64, Option<SystemTime>);

fn stamp(file: &File) -> io::Result<Stamp> {
    let meta = file.metadata()?;
    Ok((meta.len(), meta.modified().ok()))
}

impl Mapped {
    /// Maps a file of the private store.
    pub(crate) fn new(file: File, path: &Path) -> io::Result<Self> {
        static WATCH: Once = Once::new();
        WATCH.call_once(watch);
        let then = stamp(&file)?;
        // SAFETY: nobody else writes files of the store. If somebody does, its bytes change while they are read as
        // numbers, which are wrong then and never told; if it is cut, the signal puts zeros there.
        let map = unsafe { memmap2::Mmap::map(&file) }?;
        let _giving = giving();
        let place = PLACES.iter().position(|place| place.end.load(Relaxed) == 0);
        let place =
            place.ok_or_else(|| io::Error::other(format!("{FILES_MAX} files are mapped, and no more can be")))?;
        let start = map.as_ptr().addr();
        PLACES[place].lost.store(false, Relaxed);
        PLACES[place].start.store(start, Relaxed);
        PLACES[place].end.store(start + map.len(), Release);
        Ok(Self {
            map,
            place,
            file,
            path: shown(path),
            then,
        })
    }

    /// Whether what was read here may be something else than what was mapped.
    pub(crate) fn changed(&self) -> bool {
        PLACES[self.place].lost.load(Acquire) || stamp(&self.file).ok() != Some(self.then)
    }

    /// Which file it is: its name and its directory's.
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
        let _giving = giving();
        PLACES[self.place].end.store(0, Release);
    }
}

/// What clients may be told of a file's path: they need not know where the store is.
pub(super) fn shown(path: &Path) -> PathBuf {
    let dir = path.parent().and_then(Path::file_name).unwrap_or_default();
    Path::new(dir).join(path.file_name().unwrap_or_default())
}

fn giving() -> MutexGuard<'static, ()> {
    GIVING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sees to it that reading what is gone from a file ends nothing.
fn watch() {
    // SAFETY: `sysconf` and `sigaction` read and write what they are given here, which is valid: zeros are an action.
    // What is installed touches atomics and maps memory, both of which a signal may do.
    unsafe {
        let page = libc::sysconf(libc::_SC_PAGESIZE);
        PAGE.store(usize::try_from(page).unwrap_or(4096), Relaxed);
        let mut before: libc::sigaction = std::mem::zeroed();
        // Known before the first signal can come. Where it fails nothing is changed, and reading what is gone ends us.
        if libc::sigaction(libc::SIGBUS, ptr::null(), &raw mut before) != 0 {
            return;
        }
        BEFORE.store(before.sa_sigaction, Relaxed);
        BEFORE_FLAGS.store(before.sa_flags, Release);
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = fault as extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        libc::sigemptyset(&raw mut action.sa_mask);
        libc::sigaction(libc::SIGBUS, &raw const action, ptr::null_mut());
    }
}

extern "C" fn fault(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the system gives the information of this signal.
    let at = unsafe { (*info).si_addr() }.addr();
    for place in &PLACES {
        let (end, start) = (place.end.load(Acquire), place.start.load(Relaxed));
        if (start..end).contains(&at) && fill(at & !(PAGE.load(Relaxed) - 1), end) {
            place.lost.store(true, Release);
            return;
        }
    }
    pass_on(signal, info, context);
}

/// Puts zeros into the pages from `start` to `end`, all of which are one map's.
fn fill(start: usize, end: usize) -> bool {
    let (protection, flags) = (
        libc::PROT_READ,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED,
    );
    let start = ptr::with_exposed_provenance_mut::<c_void>(start);
    // SAFETY: these pages belong to a map of ours that is alive, since it is being read, and nothing else lies there: a
    // map has whole pages.
    unsafe { libc::mmap(start, end - start.addr(), protection, flags, -1, 0) != libc::MAP_FAILED }
}

/// What would have happened without us.
fn pass_on(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let before = BEFORE.load(Relaxed);
    let informed = BEFORE_FLAGS.load(Acquire) & libc::SA_SIGINFO != 0;
    // SAFETY: what was installed before us is called as it was installed to be. Without anything, the signal comes again
    // at the same instruction and does what it does by itself.
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
        // From the end, so that one place after another is found to be gone.
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
