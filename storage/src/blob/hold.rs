//! What is in use, and what waits while a collection deletes.
//!
//! A collection decides what to delete from one look at the holds. So while it deletes, no new hold is given: whoever
//! wants one waits until it is over. That closes the races between listing, marking and deleting by construction.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::task::{AbortHandle, JoinHandle};

use super::reason::{Content, Format};

/// Who holds what, and how much room is promised.
#[derive(Debug, Default)]
pub(super) struct Holds {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    held: BTreeMap<Content, usize>,
    reserved: u64,
}

/// Keeps a blob, or a sequence and its children, complete or not, for as long as it lives. Not across a restart: what
/// must outlive the process has a pin.
#[derive(Debug)]
pub struct Hold {
    holds: Arc<Holds>,
    content: Content,
    /// Gives the promised room back when the hold ends.
    _reserved: Reserved,
    /// Sees to it that the first bytes of a download are found again after a crash.
    watch: Option<AbortHandle>,
}

/// Room that is promised to an import or a download.
#[derive(Debug)]
pub(super) struct Reserved {
    holds: Arc<Holds>,
    bytes: u64,
}

impl Holds {
    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is one assignment: a panic elsewhere leaves nothing half done here.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn reserved(&self) -> u64 {
        self.state().reserved
    }

    /// Everything that is held now.
    pub(super) fn held(&self) -> Vec<Content> {
        self.state().held.keys().copied().collect()
    }

    /// Asks `admit` about what is promised already, and promises `bytes` more if it agrees.
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

    /// Holds `content`. The caller sees to it that no collection is deleting.
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
    /// The same hold, with a task that ends with it.
    pub(super) fn watched(mut self, watch: JoinHandle<()>) -> Self {
        self.watch = Some(watch.abort_handle());
        self
    }

    /// What is held.
    pub fn content(&self) -> Content {
        self.content
    }

    /// Whether the children of a sequence are held with it.
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
    fn what_two_hold_is_held_until_both_let_go() {
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
