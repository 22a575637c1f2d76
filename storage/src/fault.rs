//! A simulated disk that loses power, for the simulator and the property tests.
//!
//! It separates synced from unsynced changes. [`FaultDisk::crash`] drops or tears any part of the unsynced ones, decided by a
//! seed alone. It can also fail after a number of changes. Bit rot is not modelled: tests flip bits with
//! [`FaultDisk::corrupt`].

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
};

use crate::disk::{Disk, File};

/// The way in which the disk fails after its allowed changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Changes fail with `ENOSPC`; a write may leave its first half.
    NoSpace,
    /// Changes fail with `EIO`.
    Io,
    /// Every operation fails, reads included, until [`FaultDisk::crash`].
    PowerCut,
}

/// A disk in memory. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct FaultDisk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    files: Vec<Inode>,
    names: BTreeMap<PathBuf, usize>,
    synced_names: BTreeMap<PathBuf, usize>,
    /// Name changes since the directory was synced, oldest first.
    renames: Vec<NameChange>,
    /// Handles opened before a crash belong to a process that is gone.
    generation: u64,
    changes: u64,
    fault: Option<(u64, Fault)>,
    nonce: u64,
}

#[derive(Debug, Default)]
struct Inode {
    now: Vec<u8>,
    synced: Vec<u8>,
    unsynced: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Grow(usize),
}

#[derive(Clone, Debug)]
enum NameChange {
    Set(PathBuf, usize),
    Move(PathBuf, PathBuf),
    Remove(PathBuf),
}

impl FaultDisk {
    /// Creates an empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets `count` more changes (writes, syncs, names) pass, then fails those after.
    pub fn fail_after(&self, count: u64, fault: Fault) {
        let mut state = self.state();
        let at = state.changes + count;
        state.fault = Some((at, fault));
    }

    /// Ends the fault, as when space was freed.
    pub fn heal(&self) {
        self.state().fault = None;
    }

    /// Returns the number of changes attempted so far.
    pub fn changes(&self) -> u64 {
        self.state().changes
    }

    /// Simulates a power failure: parts of the unsynced changes, chosen by `seed`, are lost or torn. Open files stop
    /// working.
    pub fn crash(&self, seed: u64) {
        let mut dice = Dice(seed);
        let mut state = self.state();
        let mut names = std::mem::take(&mut state.synced_names);
        let renames = std::mem::take(&mut state.renames);
        // A file system that journals names loses the newest changes first.
        let kept = dice.below(renames.len() + 1);
        renames.iter().take(kept).for_each(|change| change.apply(&mut names));
        state.names.clone_from(&names);
        state.synced_names = names;
        for file in &mut state.files {
            for change in std::mem::take(&mut file.unsynced) {
                change.tear(&mut dice, &mut file.synced);
            }
            file.now.clone_from(&file.synced);
        }
        let named: BTreeSet<usize> = state.names.values().copied().collect();
        // Otherwise a long simulation would keep the bytes of every removed file.
        for (_, file) in state.files.iter_mut().enumerate().filter(|(id, _)| !named.contains(id)) {
            *file = Inode::default();
        }
        state.generation += 1;
        state.fault = None;
    }

    /// Simulates a killed process: all writes stay, synced or not. Open files stop working.
    pub fn kill(&self) {
        let mut state = self.state();
        state.generation += 1;
        state.fault = None;
    }

    /// Flips bits of one byte, durably, as a failing disk does.
    pub fn corrupt(&self, path: &Path, offset: usize, flip: u8) {
        let mut state = self.state();
        let id = state.names[path];
        let file = &mut state.files[id];
        file.now[offset] ^= flip;
        if let Some(byte) = file.synced.get_mut(offset) {
            *byte ^= flip;
        }
    }

    /// Returns the current bytes of a file.
    pub fn bytes(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state();
        state.names.get(path).map(|&id| state.files[id].now.clone())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no operation panics while it holds the state")
    }
}

impl State {
    /// Counts one change and checks that it may happen.
    fn change(&mut self) -> io::Result<()> {
        self.changes += 1;
        match self.fault {
            Some((at, fault)) if self.changes > at => Err(fault.error()),
            _ => Ok(()),
        }
    }

    fn check_readable(&self) -> io::Result<()> {
        match self.fault {
            Some((at, Fault::PowerCut)) if self.changes > at => Err(Fault::PowerCut.error()),
            _ => Ok(()),
        }
    }

    fn rename(&mut self, change: NameChange) -> io::Result<()> {
        self.change()?;
        change.apply(&mut self.names);
        self.renames.push(change);
        Ok(())
    }
}

impl Fault {
    fn error(self) -> io::Error {
        match self {
            Self::NoSpace => io::Error::new(io::ErrorKind::StorageFull, "no space left on the simulated disk"),
            Self::Io => io::Error::other("the simulated disk failed"),
            Self::PowerCut => io::Error::other("the simulated power is out"),
        }
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Self::Set(path, id) => {
                names.insert(path.clone(), *id);
            }
            Self::Move(from, to) => {
                if let Some(id) = names.remove(from) {
                    names.insert(to.clone(), id);
                }
            }
            Self::Remove(path) => {
                names.remove(path);
            }
        }
    }

    fn is_in(&self, dir: &Path) -> bool {
        let (Self::Set(path, _) | Self::Move(_, path) | Self::Remove(path)) = self;
        path.parent() == Some(dir)
    }
}

impl Change {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Self::Write { offset, bytes } => {
                if to.len() < offset + bytes.len() {
                    to.resize(offset + bytes.len(), 0);
                }
                to[*offset..offset + bytes.len()].copy_from_slice(bytes);
            }
            Self::Grow(len) => to.resize((*len).max(to.len()), 0),
        }
    }

    /// Applies a part of the change: each 512-byte sector that it touches is kept, dropped, or torn at some byte.
    fn tear(self, dice: &mut Dice, to: &mut Vec<u8>) {
        let Self::Write { offset, bytes } = self else {
            if dice.below(2) == 0 {
                self.apply(to);
            }
            return;
        };
        // Half of the writes are complete or absent, so that both likely and unlikely histories occur.
        let fate = dice.below(4);
        let mut done = 0;
        while done < bytes.len() {
            let sector = (512 - (offset + done) % 512).min(bytes.len() - done);
            let kept = match (fate, dice.below(3)) {
                (0, _) | (2 | 3, 0) => sector,
                (1, _) | (2 | 3, 1) => 0,
                _ => dice.below(sector),
            };
            if kept > 0 {
                let part = Self::Write {
                    offset: offset + done,
                    bytes: bytes[done..done + kept].to_vec(),
                };
                part.apply(to);
            }
            done += sector;
        }
    }
}

impl Disk for FaultDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let state = self.state();
        state.check_readable()?;
        let id = *state.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(Handle {
            disk: self.clone(),
            id,
            generation: state.generation,
        }))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let mut state = self.state();
        if state.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let id = state.files.len();
        state.rename(NameChange::Set(path.to_owned(), id))?;
        state.files.push(Inode::default());
        Ok(Arc::new(Handle {
            disk: self.clone(),
            id,
            generation: state.generation,
        }))
    }

    fn create_dir(&self, _dir: &Path) -> io::Result<()> {
        self.state().check_readable()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        if !state.names.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.rename(NameChange::Move(from.to_owned(), to.to_owned()))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        if !state.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.rename(NameChange::Remove(path.to_owned()))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let state = self.state();
        state.check_readable()?;
        Ok(state
            .names
            .keys()
            .filter(|path| path.parent() == Some(dir))
            .cloned()
            .collect())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.change()?;
        let (now, later): (Vec<_>, Vec<_>) = std::mem::take(&mut state.renames)
            .into_iter()
            .partition(|c| c.is_in(dir));
        now.iter().for_each(|change| change.apply(&mut state.synced_names));
        state.renames = later;
        Ok(())
    }

    fn nonce(&self) -> u64 {
        let mut state = self.state();
        state.nonce += 1;
        Dice(state.nonce).next()
    }
}

struct Handle {
    disk: FaultDisk,
    id: usize,
    generation: u64,
}

impl Handle {
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.state();
        if state.generation == self.generation {
            Ok(state)
        } else {
            Err(Fault::PowerCut.error())
        }
    }

    fn change(&self, change: Change) -> io::Result<()> {
        let mut state = self.state()?;
        let passed = state.change();
        let change = match (&passed, state.fault, change) {
            (Ok(()), _, change) => change,
            (Err(_), Some((_, Fault::NoSpace)), Change::Write { offset, mut bytes }) => {
                bytes.truncate(bytes.len() / 2);
                Change::Write { offset, bytes }
            }
            (Err(_), ..) => return passed,
        };
        let file = &mut state.files[self.id];
        change.apply(&mut file.now);
        file.unsynced.push(change);
        passed
    }
}

impl File for Handle {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.state()?;
        state.check_readable()?;
        let bytes = &state.files[self.id].now;
        let from = position(offset).min(bytes.len());
        let len = buf.len().min(bytes.len() - from);
        buf[..len].copy_from_slice(&bytes[from..from + len]);
        Ok(len)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.change(Change::Write {
            offset: position(offset),
            bytes: bytes.to_vec(),
        })
    }

    fn len(&self) -> io::Result<u64> {
        let state = self.state()?;
        state.check_readable()?;
        Ok(state.files[self.id].now.len() as u64)
    }

    fn preallocate(&self, len: u64) -> io::Result<()> {
        self.change(Change::Grow(position(len)))
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.state()?;
        state.change()?;
        let file = &mut state.files[self.id];
        for change in std::mem::take(&mut file.unsynced) {
            change.apply(&mut file.synced);
        }
        debug_assert_eq!(file.synced.len(), file.now.len());
        Ok(())
    }
}

fn position(offset: u64) -> usize {
    usize::try_from(offset).expect("simulated files fit in memory")
}

/// A small random number generator (splitmix64), so that a seed replays a run.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end.max(1) as u64).expect("below a usize")
    }
}

#[cfg(test)]
mod tests;
