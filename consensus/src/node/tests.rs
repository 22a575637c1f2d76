//! Several nodes over a network in memory, with an execution that only counts blocks. The simulator in `tests` does the
//! same with real blocks; here each test shows one thing.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use protocol::{
    Account, Amount, BlockHash, Height, NodeId, Time, TxHash, codec,
    crypto::{Domain, SecretKey, digest},
    message::{
        chain::{ChainReply, Entry, Gossip},
        vote::{Certificate, Vote, VoteKind},
    },
};

use super::*;
use crate::{
    bft::Timeouts,
    execution::{AccountState, Built, Committed, Epoch, HeaderClaim, Refusal, Staker, Tip},
    mempool::Limits,
};

/// A block: height, parent, parent certificate, beneficiary, transactions, whether it keeps the rules.
type ToyBlock = (u64, [u8; 32], [u8; 32], [u8; 20], Vec<Vec<u8>>, bool);

#[derive(Clone)]
struct Toy {
    tip: Tip,
    stakers: Vec<Staker>,
    pending: BTreeMap<BlockHash, Vec<u8>>,
    valid: bool,
}

fn toy_name(block: &[u8]) -> BlockHash {
    BlockHash(digest("toy", &[block]))
}

impl Toy {
    fn new(stakers: Vec<Staker>) -> Self {
        let tip = Tip {
            height: Height(0),
            hash: BlockHash([0; 32]),
            timestamp_s: 0,
            next_base_fee: 0,
        };
        Self {
            tip,
            stakers,
            pending: BTreeMap::new(),
            valid: true,
        }
    }
}

impl Execution for Toy {
    fn tip(&self) -> Tip {
        self.tip
    }

    fn build(&mut self, slot: &BlockContext, offered: &[Arc<[u8]>]) -> Result<Built, ExecutionError> {
        let transactions: Vec<_> = offered.iter().map(|raw| raw.to_vec()).collect();
        let (parent, by) = (self.tip.hash.0, slot.proposer.0);
        let block: ToyBlock = (
            slot.height.0,
            parent,
            slot.parent_certificate,
            by,
            transactions,
            self.valid,
        );
        let block = codec::encode(&block);
        let hash = toy_name(&block);
        self.pending.insert(hash, block.clone());
        Ok(Built {
            hash,
            block,
            rejected: Vec::new(),
        })
    }

    fn verify(
        &mut self,
        block: &[u8],
        height: Height,
        _: Time,
        parent_certificate: [u8; 32],
        proposers: &[Account],
    ) -> Result<Result<BlockHash, Refusal>, ExecutionError> {
        let (at, parent, certificate, by, _, valid): ToyBlock = codec::decode(block, 1 << 20).expect("named before");
        let rules = at == height.0
            && parent == self.tip.hash.0
            && certificate == parent_certificate
            && proposers.contains(&Account(by))
            && valid;
        if !rules {
            return Ok(Err(Refusal("it breaks a rule".into())));
        }
        self.pending.insert(toy_name(block), block.to_vec());
        Ok(Ok(toy_name(block)))
    }

    fn commit(&mut self, hash: BlockHash) -> Result<Committed, ExecutionError> {
        let block = self.pending.remove(&hash).expect("executed before it is committed");
        let block: ToyBlock = codec::decode(&block, 1 << 20).expect("executed before");
        self.pending.clear();
        self.tip = Tip {
            height: self.tip.height.next(),
            hash,
            ..self.tip
        };
        let included = block
            .4
            .iter()
            .map(|raw| (TxHash(digest("test", &[raw])), Account([raw[0]; 20]), 1))
            .collect();
        let transactions = block.4.len();
        Ok(Committed {
            tip: self.tip,
            state_root: hash.0,
            included,
            transactions,
            next_validators: None,
        })
    }

    fn pending_block(&self, hash: BlockHash) -> Option<&[u8]> {
        self.pending.get(&hash).map(Vec::as_slice)
    }

    fn account(&self, _: Account) -> Result<AccountState, ExecutionError> {
        Ok(AccountState {
            nonce: 0,
            balance: Amount::open(1),
        })
    }

    fn epoch(&self) -> Result<Epoch, ExecutionError> {
        Ok(Epoch {
            voting: self.stakers.clone(),
            previous: self.stakers.clone(),
        })
    }

    fn header_claim(&self, block: &[u8]) -> Option<HeaderClaim> {
        let decoded: ToyBlock = codec::decode(block, 1 << 20).ok()?;
        Some(HeaderClaim {
            hash: toy_name(block),
            parent_certificate: decoded.2,
        })
    }
}

const DOMAIN: Domain = Domain {
    chain_id: 7,
    genesis: [0; 32],
};

fn params() -> Params {
    let ms = Duration::from_millis;
    let timeouts = Timeouts {
        propose: ms(500),
        propose_delta: ms(100),
        prevote: ms(100),
        prevote_delta: ms(50),
        precommit: ms(100),
        precommit_delta: ms(50),
        rebroadcast: ms(500),
        max_timeout: ms(5000),
    };
    Params {
        domain: DOMAIN,
        timeouts,
        heartbeat_ms: 1000,
        interval_min_ms: 10,
        block_bytes_max: 1 << 20,
        block_gas: 30_000_000,
        pool: Limits::default(),
    }
}

fn seed(i: usize) -> [u8; 32] {
    [u8::try_from(i).unwrap() + 1; 32]
}

fn stakers(n: usize) -> Vec<Staker> {
    (0..n)
        .map(|i| Staker {
            key: SecretKey::from_seed(seed(i)).validator(),
            account: Account([u8::try_from(i).unwrap(); 20]),
            stake: Amount::open(10),
        })
        .collect()
}

/// One node and the disk under it.
struct Host {
    node: Option<Node<Toy>>,
    exec: Toy,
    journal: (Height, Vec<Vec<u8>>),
    log: Vec<Vec<u8>>,
}

/// Nodes on a network that loses nothing and takes a millisecond per message.
struct Cluster {
    now: Time,
    hosts: Vec<Host>,
    wire: Vec<(Time, usize, Input)>,
    cut: Vec<usize>,
    happened: Vec<(usize, Event)>,
}

fn name(i: usize) -> NodeId {
    NodeId(seed(i))
}

impl Cluster {
    fn new(n: usize) -> Self {
        let host = |_| Host {
            node: None,
            exec: Toy::new(stakers(n)),
            journal: (Height(0), Vec::new()),
            log: Vec::new(),
        };
        let hosts = (0..n).map(host).collect();
        let mut cluster = Self {
            now: Time(0),
            hosts,
            wire: Vec::new(),
            cut: Vec::new(),
            happened: Vec::new(),
        };
        (0..n).for_each(|i| cluster.up(i));
        cluster
    }

    fn up(&mut self, i: usize) {
        let host = &mut self.hosts[i];
        let last = host
            .log
            .last()
            .map_or(Certificate::genesis(BlockHash([0; 32])), |bytes| {
                codec::decode::<Entry>(bytes, 1 << 20).unwrap().certificate
            });
        let journal = match &host.journal {
            (Height(0), _) => JournalState::Missing,
            (height, records) => JournalState::At(*height, records.clone()),
        };
        let mut todo = Vec::new();
        let key = Some(SecretKey::from_seed(seed(i)));
        let node = Node::recover(params(), key, host.exec.clone(), last, &journal, self.now, &mut todo);
        host.node = Some(node.unwrap());
        self.perform(i, todo);
        for peer in (0..self.hosts.len()).filter(|peer| *peer != i) {
            self.feed(i, Input::Connected(name(peer)));
            self.feed(peer, Input::Connected(name(i)));
        }
    }

    fn kill(&mut self, i: usize) {
        self.hosts[i].node = None;
        self.wire.retain(|(_, to, _)| *to != i);
    }

    fn feed(&mut self, i: usize, input: Input) {
        let mut todo = Vec::new();
        if let Some(node) = &mut self.hosts[i].node {
            node.step(self.now, input, &mut todo).unwrap();
        }
        self.perform(i, todo);
    }

    fn send(&mut self, from: usize, to: usize, input: Input) {
        if !self.cut.contains(&from) && !self.cut.contains(&to) {
            self.wire.push((self.now.after_ms(1), to, input));
        }
    }

    fn perform(&mut self, i: usize, todo: Vec<Effect>) {
        let from = name(i);
        for effect in todo {
            let host = &mut self.hosts[i];
            match effect {
                Effect::Journal(record) => host.journal.1.push(record),
                Effect::JournalStart(height) => host.journal = (height, Vec::new()),
                Effect::Log { height, entry } => {
                    assert_eq!(height.0, host.log.len() as u64 + 1);
                    host.log.push(entry);
                }
                Effect::Committed(_) => host.exec = host.node.as_ref().unwrap().exec.clone(),
                Effect::Gossip(bytes) => (0..self.hosts.len()).filter(|to| *to != i).for_each(|to| {
                    self.send(
                        i,
                        to,
                        Input::Gossip {
                            id: 0,
                            from,
                            bytes: bytes.clone(),
                        },
                    );
                }),
                Effect::SendAll(bytes) => (0..self.hosts.len()).filter(|to| *to != i).for_each(|to| {
                    self.send(
                        i,
                        to,
                        Input::Direct {
                            from,
                            bytes: bytes.clone(),
                        },
                    );
                }),
                Effect::Send(to, bytes) => self.send(i, usize::from(to.0[0]) - 1, Input::Direct { from, bytes }),
                Effect::Request { request_id, to, bytes } => {
                    let request_id = request_id << 8 | i as u64;
                    self.send(
                        i,
                        usize::from(to.0[0]) - 1,
                        Input::Request {
                            request_id,
                            from,
                            bytes,
                        },
                    );
                }
                Effect::Reply(request_id, bytes) => {
                    let bytes = Some(bytes);
                    self.send(
                        i,
                        (request_id & 255) as usize,
                        Input::Reply {
                            request_id: request_id >> 8,
                            from,
                            bytes,
                        },
                    );
                }
                Effect::ReplyBlocks {
                    request_id,
                    from: first,
                    count,
                } => {
                    let blocks = host
                        .log
                        .iter()
                        .skip(usize::try_from(first.0).unwrap() - 1)
                        .take(count as usize)
                        .cloned()
                        .collect();
                    let bytes = Some(codec::encode(&ChainReply::Blocks(blocks)));
                    self.send(
                        i,
                        (request_id & 255) as usize,
                        Input::Reply {
                            request_id: request_id >> 8,
                            from,
                            bytes,
                        },
                    );
                }
                Effect::Blame(who, why) => panic!("node {i} blames {who:#}: {why}"),
                Effect::Event(event) => self.happened.push((i, event)),
                Effect::JournalSync | Effect::LogSync | Effect::Verdict(..) | Effect::GossipTransactions(_) => (),
            }
        }
    }

    /// Runs until `done`, or fails at `until`.
    fn run(&mut self, until: Time, what: &str, done: impl Fn(&Self) -> bool) {
        while !done(self) {
            assert!(
                self.now < until,
                "{what} did not happen until {until:?}: tips {:?}",
                self.tips()
            );
            let deadlines = self
                .hosts
                .iter()
                .filter_map(|host| host.node.as_ref().map(Node::deadline));
            let next = self
                .wire
                .iter()
                .map(|(at, ..)| *at)
                .chain(deadlines)
                .min()
                .expect("a node has a deadline");
            self.now = self.now.max(next);
            match self.wire.iter().position(|(at, ..)| *at <= self.now) {
                Some(at) => {
                    let (_, to, input) = self.wire.remove(at);
                    self.feed(to, input);
                }
                None => (0..self.hosts.len()).for_each(|i| self.feed(i, Input::Tick)),
            }
        }
    }

    fn tips(&self) -> Vec<u64> {
        self.hosts.iter().map(|host| host.log.len() as u64).collect()
    }

    fn all_at(&self, height: u64) -> bool {
        self.tips().iter().all(|tip| *tip >= height)
    }

    fn agree(&self) {
        for host in &self.hosts {
            for (at, entry) in host.log.iter().enumerate() {
                let block = |bytes: &[u8]| codec::decode::<Entry>(bytes, 1 << 20).unwrap().block;
                let other = self.hosts.iter().find_map(|host| host.log.get(at)).unwrap();
                assert_eq!(block(entry), block(other), "height {}", at + 1);
            }
        }
    }
}

#[test]
fn four_nodes_decide_the_same_blocks_on_the_heartbeat() {
    let mut cluster = Cluster::new(4);
    cluster.run(Time::from_secs(30), "ten blocks", |c| c.all_at(10));
    cluster.agree();
    assert!(
        cluster.now >= Time::from_secs(9),
        "an idle chain keeps to its heartbeat, it is {:?}",
        cluster.now
    );
}

#[test]
fn a_pending_transaction_is_included_at_once_on_every_node() {
    let mut cluster = Cluster::new(4);
    cluster.run(Time::from_secs(9), "a block", |c| c.all_at(1));
    let (before, sender) = (cluster.now, 3);
    let tx = PooledTransaction {
        hash: TxHash(digest("test", &[&[9, 9]])),
        sender: Account([9; 20]),
        nonce: 0,
        gas_limit: 21_000,
        fee_cap: 1,
        tip_cap: 1,
        cost: Amount(1),
        raw: Arc::from([9, 9]),
    };
    for i in 0..4 {
        let mut todo = Vec::new();
        let node = cluster.hosts[i].node.as_mut().unwrap();
        assert_eq!(
            node.submit(vec![tx.clone()], i == sender, &mut todo).unwrap(),
            [Ok(tx.hash)]
        );
        assert_eq!(
            todo.iter()
                .any(|effect| matches!(effect, Effect::GossipTransactions(_))),
            i == sender
        );
    }
    cluster.run(Time::from_secs(9), "its block", |c| c.all_at(2));
    assert!(cluster.now.since(before) < Duration::from_millis(100));
    let with = |(_, event): &&(usize, Event)| matches!(event, Event::Committed { transactions: 1, .. });
    assert_eq!(cluster.happened.iter().filter(with).count(), 4);
    assert!(
        cluster
            .hosts
            .iter()
            .all(|host| host.node.as_ref().unwrap().pool.is_empty())
    );
}

#[test]
fn a_node_that_was_down_catches_up() {
    let mut cluster = Cluster::new(4);
    cluster.kill(3);
    cluster.run(Time::from_secs(60), "twenty blocks without it", |c| {
        c.tips()[..3].iter().all(|tip| *tip >= 20)
    });
    cluster.up(3);
    cluster.run(Time::from_secs(70), "the fourth at the tip", |c| c.all_at(20));
    cluster.agree();
    let caught = |(i, event): &(usize, Event)| *i == 3 && matches!(event, Event::CaughtUp { .. });
    assert!(cluster.happened.iter().any(caught));
}

#[test]
fn nodes_killed_together_continue_where_they_stopped() {
    for events in [5, 12, 19, 26, 33, 40, 57, 64, 71, 88] {
        let mut cluster = Cluster::new(4);
        let mut left = events;
        // Stop somewhere in the middle of a height: after so many messages.
        while left > 0 {
            let deadlines = cluster
                .hosts
                .iter()
                .filter_map(|host| host.node.as_ref().map(Node::deadline));
            cluster.now = cluster
                .wire
                .iter()
                .map(|(at, ..)| *at)
                .chain(deadlines)
                .min()
                .unwrap()
                .max(cluster.now);
            match cluster.wire.iter().position(|(at, ..)| *at <= cluster.now) {
                Some(at) => {
                    let (_, to, input) = cluster.wire.remove(at);
                    cluster.feed(to, input);
                }
                None => (0..4).for_each(|i| cluster.feed(i, Input::Tick)),
            }
            left -= 1;
        }
        let before = cluster.tips().into_iter().max().unwrap();
        (0..4).for_each(|i| cluster.kill(i));
        (0..4).for_each(|i| cluster.up(i));
        let until = cluster.now.after_ms(30_000);
        cluster.run(until, "going on", |c| c.all_at(before + 2));
        cluster.agree();
    }
}

#[test]
fn a_block_that_breaks_a_rule_is_never_decided() {
    let mut cluster = Cluster::new(4);
    cluster.hosts[2].node.as_mut().unwrap().exec.valid = false;
    cluster.hosts[2].exec.valid = false;
    cluster.run(Time::from_secs(60), "ten blocks", |c| c.all_at(10));
    cluster.agree();
    for entry in &cluster.hosts[0].log {
        let block: ToyBlock = codec::decode(&codec::decode::<Entry>(entry, 1 << 20).unwrap().block, 1 << 20).unwrap();
        assert!(block.5, "a refused block became final");
    }
    assert!(
        cluster
            .happened
            .iter()
            .any(|(_, event)| matches!(event, Event::Refused { .. }))
    );
}

#[test]
fn two_votes_of_one_validator_are_logged_as_evidence() {
    let mut cluster = Cluster::new(4);
    cluster.cut.push(3);
    let equivocator = SecretKey::from_seed(seed(3));
    let vote = |block| Vote {
        kind: VoteKind::Prevote,
        height: Height(1),
        round: 0,
        block,
        validator: equivocator.validator(),
    };
    for block in [None, Some(BlockHash([7; 32]))] {
        let message = Gossip::Vote(protocol::crypto::Signed::new(vote(block), &equivocator, &DOMAIN));
        let bytes = codec::encode(&message);
        (0..3).for_each(|i| {
            cluster.feed(
                i,
                Input::Gossip {
                    id: 1,
                    from: name(3),
                    bytes: bytes.clone(),
                },
            )
        });
    }
    cluster.run(Time::from_secs(30), "a block", |c| {
        c.tips()[..3].iter().all(|tip| *tip >= 1)
    });
    let entry: Entry = codec::decode(&cluster.hosts[0].log[0], 1 << 20).unwrap();
    assert_eq!(entry.evidence.len(), 1);
    assert!(entry.evidence[0].proves(&DOMAIN));
    assert_eq!(entry.evidence[0].offender(), equivocator.validator());
}

#[test]
fn a_node_without_its_journal_signs_nothing_at_the_next_height() {
    let mut cluster = Cluster::new(4);
    cluster.run(Time::from_secs(30), "five blocks", |c| c.all_at(5));
    cluster.kill(0);
    cluster.hosts[0].journal = (Height(0), Vec::new());
    cluster.up(0);
    assert!(matches!(
        cluster.hosts[0].node.as_ref().unwrap().signing(),
        Signing::After(_)
    ));
    let next = cluster.tips()[0] + 1;
    let until = cluster.now.after_ms(20_000);
    cluster.run(until, "three more", |c| c.all_at(next + 3));
    let signed = |at: u64| {
        let entry: Entry = codec::decode(&cluster.hosts[1].log[usize::try_from(at).unwrap() - 1], 1 << 20).unwrap();
        entry
            .certificate
            .signatures
            .iter()
            .any(|(key, _)| *key == SecretKey::from_seed(seed(0)).validator())
    };
    assert!(!signed(next));
}

#[test]
fn a_journal_ahead_of_the_log_is_never_contradicted() {
    let mut cluster = Cluster::new(4);
    cluster.run(Time::from_secs(30), "five blocks", |c| c.all_at(5));
    cluster.kill(0);
    // The disk lost the last two blocks, but not the journal of the height after them.
    let host = &mut cluster.hosts[0];
    let journal = host.journal.0;
    host.log.truncate(3);
    host.exec = {
        let mut exec = Toy::new(stakers(4));
        for entry in &host.log {
            let entry: Entry = codec::decode(entry, 1 << 20).unwrap();
            exec.pending.insert(entry.certificate.block, entry.block);
            exec.commit(entry.certificate.block).unwrap();
        }
        exec
    };
    cluster.up(0);
    assert_eq!(
        cluster.hosts[0].node.as_ref().unwrap().signing(),
        &Signing::After(journal)
    );
    let until = cluster.now.after_ms(20_000);
    cluster.run(until, "catching up", |c| c.all_at(journal.0 + 3));
    cluster.agree();
}
