//! Holds: content that is in use in this process, and space reserved for it.
//!
//! A collection decides from one snapshot of the holds. While it deletes, no new hold is given: [`super::BlobStore::hold`]
//! waits. This excludes races between listing, marking and deleting.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::task::{AbortHandle, JoinHandle};

use super::reason::{Content, Format};

/// The holds and the reserved space of one store.
#[derive(Debug, Default)]
pub(super) struct Holds {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    held: BTreeMap<Content, usize>,
    reserved: u64,
}

/// Keeps a blob, or a sequence and its children, complete or not, until dropped. Does not survive a restart: use a pin
/// for that.
#[derive(Debug)]
pub struct Hold {
    holds: Arc<Holds>,
    content: Content,
    /// Releases the reserved space on drop.
    _reserved: Reserved,
    /// A task that makes the first bytes of a download findable after a crash.
    watch: Option<AbortHandle>,
}

/// Disk space reserved for an import or a download, released on drop.
#[derive(Debug)]
pub(super) struct Reserved {
    holds: Arc<Holds>,
    bytes: u64,
}

impl Holds {
    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is one assignment, so a panic elsewhere leaves the state consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn reserved(&self) -> u64 {
        self.state().reserved
    }

    /// Returns everything that is held now.
    pub(super) fn held(&self) -> Vec<Content> {
        self.state().held.keys().copied().collect()
    }

    /// Passes the reserved bytes to `admit`, and reserves `bytes` more if it agrees.
    pub(super) fn reserve<E>(
        self: &Arc<Self>,
        bytes: u64,
        admit: impl FnOnce(u64) -> Result<(), E>,
    ) -> Result<Reserved, E> {
        let mut state = self.state();
        admit(state.reserved)?;
        state.reserved += bytes;
        let holds = self.clone();
        Ok(Reserved { holds, bytes })
    }

    /// Holds `content`. The caller makes sure that no collection is deleting.
    pub(super) fn hold(self: &Arc<Self>, content: Content, reserved: Reserved) -> Hold {
        *self.state().held.entry(content).or_default() += 1;
        Hold {
            holds: self.clone(),
            content,
            _reserved: reserved,
            watch: None,
        }
    }
}

impl Hold {
    /// Ties a task to the hold: it is aborted on drop.
    pub(super) fn watched(mut self, watch: JoinHandle<()>) -> Self {
        self.watch = Some(watch.abort_handle());
        self
    }

    /// Returns the held content.
    pub fn content(&self) -> Content {
        self.content
    }

    /// Returns true if the hold covers a sequence with its children.
    pub fn is_sequence(&self) -> bool {
        self.content.format == Format::Sequence
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(watch) = &self.watch {
            watch.abort();
        }
        let mut state = self.holds.state();
        if let Some(count) = state.held.get_mut(&self.content) {
            *count -= 1;
            if *count == 0 {
                state.held.remove(&self.content);
            }
        }
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.holds.state().reserved -= self.bytes;
    }
}

#[cfg(test)]
mod tests {
    use protocol::BlobHash;

    use super::*;

    #[test]
    fn content_is_held_until_its_last_hold_is_dropped() {
        let holds = Arc::new(Holds::default());
        let content = Content::blob(BlobHash([1; 32]));
        let free = |_| Ok::<(), ()>(());
        let first = holds.hold(content, holds.reserve(5, free).expect("free"));
        let second = holds.hold(content, holds.reserve(7, free).expect("free"));
        assert_eq!((holds.held(), holds.reserved()), (vec![content], 12));
        drop(first);
        assert_eq!((holds.held(), holds.reserved()), (vec![content], 7));
        drop(second);
        assert_eq!((holds.held(), holds.reserved()), (vec![], 0));
    }
}
