//! A malicious peer that announces data it does not have and serves wrong bytes, over the real network.

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use net::{
    ChainTag, Net, NetConfig, NetHandle,
    data::{Alpn, ByteStream, DataConfig, DataPlane, StreamHandler},
};
use protocol::{
    BlobHash, NodeId,
    crypto::{SecretKey, Signed},
    message::announce::{Announcement, Claim, Dataset, Term},
};

use crate::cluster::Failure;

/// Validity of its announcements.
const LIFE_MS: u64 = 600_000;
/// Longest request that it reads, in bytes.
const QUESTION_MAX: usize = 1 << 20;

/// A running malicious peer.
pub struct Liar {
    net: NetHandle,
    plane: DataPlane,
    key: SecretKey,
    chain: ChainTag,
}

impl Liar {
    /// Joins `chain` through `peer`.
    pub async fn start(seed: u8, chain: ChainTag, peer: &str) -> Result<Self, Failure> {
        let plane = DataPlane::start(DataConfig::new([seed; 32])).await;
        let plane = plane.map_err(|error| error.to_string())?;
        plane.accept(Alpn::public(), Arc::new(Lies));
        let started = Net::start(NetConfig {
            bootstrap: vec![peer.to_owned()],
            data: Some(plane.addresses()),
            ..NetConfig::new([seed; 32], chain)
        });
        let (net, mut events) = started.await.map_err(|error| error.to_string())?;
        tokio::spawn(async move { while events.recv().await.is_some() {} });
        let key = SecretKey::from_seed([seed; 32]);
        let until = tokio::time::Instant::now() + Duration::from_secs(20);
        while net.peers().is_empty() {
            if tokio::time::Instant::now() > until {
                return Err("the liar found no peer".to_owned());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(Self { net, plane, key, chain })
    }

    /// The node id of the peer.
    pub fn id(&self) -> NodeId {
        self.net.id()
    }

    /// Announces a dataset that it does not have.
    pub fn announce(&self, root: BlobHash, now: protocol::Time) {
        let term = Term::starting(now, LIFE_MS);
        let domain = self.chain.domain();
        let claim = Claim {
            datanet: None,
            root,
            provider: self.id(),
            term,
        };
        self.net.provide(Signed::new(claim, &self.key, &domain));
        let dataset = Dataset {
            datanet: None,
            root,
            bytes: 1 << 20,
            shards: 1,
            provider: self.id(),
            term,
        };
        self.net
            .announce(Announcement::Dataset(Signed::new(dataset, &self.key, &domain)));
    }

    /// Shuts the peer down.
    pub async fn stop(self) {
        self.plane.shutdown().await;
        self.net.shutdown().await;
    }
}

struct Lies;

impl StreamHandler for Lies {
    fn may_connect(&self, _node: NodeId) -> bool {
        true
    }

    fn handle(&self, mut stream: ByteStream) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            // A megabyte of wrong bytes, whatever was requested.
            drop(stream.recv.read_to_end(QUESTION_MAX).await);
            let mut answer = (1u64 << 20).to_le_bytes().to_vec();
            answer.resize(1 << 20, 0x5a);
            drop(stream.send.write_all(&answer).await);
            drop(stream.finish().await);
        })
    }
}
