//! Applies final blocks from a peer. Each is checked against its certificate, executed and logged; the log is
//! synced once per batch.

use protocol::{
    NodeId, Time, codec,
    event::Event,
    message::chain::{BLOCKS_MAX, BODY_MAX, Body, Entry},
};

use super::{Effect, Fault, Node};
use crate::execution::{Execution, ExecutionError};

impl<X: Execution> Node<X> {
    /// Applies final blocks in order, up to the first invalid one.
    pub(super) fn catch_up(
        &mut self,
        now: Time,
        from: NodeId,
        entries: &[Vec<u8>],
        todo: &mut Vec<Effect>,
    ) -> Result<(), ExecutionError> {
        let start = self.tip.height;
        for bytes in entries.iter().take(BLOCKS_MAX as usize) {
            let entry = codec::decode::<Entry>(bytes, BODY_MAX).map_err(|error| error.to_string());
            let applied = match entry {
                Ok(entry) if entry.certificate.height <= self.tip.height => continue,
                Ok(entry) => self.apply_entry(now, entry, todo)?,
                Err(error) => Err(error),
            };
            if let Err(why) = applied {
                tracing::debug!(%from, why, "a peer sent a block that does not follow");
                self.sync.lower_tip(from, self.tip.height);
                todo.push(Effect::Blame(from, Fault::NotFinal));
                break;
            }
        }
        // A reply without progress: ask another peer next time.
        if self.tip.height == start {
            self.sync.lower_tip(from, start);
            return Ok(());
        }
        todo.push(Effect::LogSync);
        self.publish_commit(todo);
        todo.push(Effect::Event(Event::CaughtUp {
            height: self.tip.height,
            from,
        }));
        self.replay_early(now, todo)
    }

    /// Applies one final block. `Ok(Err(_))` means that the peer sent an invalid one.
    fn apply_entry(
        &mut self,
        now: Time,
        entry: Entry,
        todo: &mut Vec<Effect>,
    ) -> Result<Result<(), String>, ExecutionError> {
        let height = self.tip.height.next();
        let certificate = entry.certificate;
        if certificate.height != height {
            return Ok(Err(format!("block {} where {height} comes next", certificate.height)));
        }
        if let Err(error) = self.voting.check(&certificate, &self.params.domain) {
            return Ok(Err(error.to_string()));
        }
        let named = self.exec.header_claim(&entry.block);
        if named.is_none_or(|named| {
            named.hash != certificate.block || named.parent_certificate != entry.parent_certificate.digest()
        }) {
            return Ok(Err("the certificate is for another block".to_owned()));
        }
        // Only evidence that proves an offence is kept: a peer may not slander a validator.
        let domain = self.params.domain;
        let evidence = entry
            .evidence
            .into_iter()
            .filter(|evidence| evidence.proves(&domain))
            .collect();
        let (round, block, parent_certificate) = (certificate.round, entry.block, entry.parent_certificate);
        let body = Body {
            height,
            round,
            block,
            parent_certificate,
        };
        // A quorum accepted the block's timestamp. A node whose clock is behind must be able to follow.
        if let Some(why) = self.check_body(Time(u64::MAX), &body)? {
            return Ok(Err(why));
        }
        self.commit(now, body, certificate, evidence, todo)?;
        Ok(Ok(()))
    }
}
