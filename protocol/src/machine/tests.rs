//! What each machine does alone. What they do together, over a bad network, is in `world`.

mod world;

use super::*;
use crate::{
    Account, Amount, BlobHash, NodeId, Time,
    crypto::{Domain, SecretKey, Signed},
    proof::{Beacon, Bundle, Proof, Shard},
    receipt::{Answer, FalseProof, NoEvidence, Outcome, Retrieved, StorageReceipt},
};

const HERE: Domain = Domain {
    chain_id: 7,
    genesis: [9; 32],
};
const FETCH_MS: u64 = 60_000;
const ANSWER_MS: u64 = 20_000;

fn key(of: u8) -> SecretKey {
    SecretKey::from_seed([of; 32])
}

fn node(of: u8) -> NodeId {
    NodeId(key(of).public())
}

/// The bytes of two shards, one smaller than a chunk.
fn data() -> [Vec<u8>; 2] {
    let mut long = vec![0; 70_000];
    blake3::Hasher::new().update(b"data").finalize_xof().fill(&mut long);
    [long, b"short".to_vec()]
}

fn deal(copies: u16) -> Deal {
    Deal {
        owner: node(200),
        account: Account([1; 20]),
        nonce: 0,
        set: BlobHash([3; 32]),
        shards: data().iter().map(|bytes| Shard::of(bytes)).collect(),
        copies,
        until: Time::from_secs(100_000),
        price: Amount(10),
        escrow: Amount(10_000),
        challenges: 8,
        fetch_within_ms: FETCH_MS,
        answer_within_ms: ANSWER_MS,
    }
}

fn beacon(epoch: u64) -> Beacon {
    Beacon {
        epoch,
        value: *blake3::hash(&epoch.to_be_bytes()).as_bytes(),
    }
}

/// The proofs of these chunks, as an honest host makes them.
fn prove(chunks: &[(usize, u64)]) -> Bundle {
    let data = data();
    let prove = |(shard, chunk): &(usize, u64)| Proof::of_bytes(&data[*shard], *chunk).unwrap();
    Bundle {
        proofs: chunks.iter().map(prove).collect(),
    }
}

fn answer(deal: &Deal, of: u8, beacon: Beacon, bundle: &Bundle) -> Signed<Answer> {
    let said = Answer {
        deal: deal.id(),
        host: node(of),
        beacon,
        bundle: bundle.hash(),
    };
    Signed::new(said, &key(of), &HERE)
}

fn drawn(deal: &Deal, of: u8, beacon: &Beacon) -> Vec<(usize, u64)> {
    deal.sample(&deal.id(), node(of), beacon).draw()
}

fn steps(pin: &mut Pin, now: Time, inputs: impl IntoIterator<Item = PinInput>) -> Vec<PinEffect> {
    let mut todo = Vec::new();
    for input in inputs {
        pin.step(now, input, &mut todo);
    }
    todo
}

/// A pin of one copy whose only host holds it.
fn held() -> Pin {
    let mut pin = Pin::new(deal(1));
    let registered = prove(&pin.deal().registration());
    let inputs = [
        PinInput::Candidate(node(1)),
        PinInput::Accepted(node(1)),
        PinInput::Registered(node(1), registered),
    ];
    steps(&mut pin, Time(1), inputs);
    assert!(pin.holding().eq([node(1)]));
    pin
}

fn audited(epoch: u64, outcome: Outcome) -> PinInput {
    PinInput::Audited {
        host: node(1),
        epoch,
        outcome,
    }
}

#[test]
fn asks_only_as_many_hosts_as_are_missing() {
    let mut pin = Pin::new(deal(2));
    let candidates = (1..=5).map(|of| PinInput::Candidate(NodeId([of; 32])));
    let todo = steps(&mut pin, Time(1), candidates);
    let (one, two) = (NodeId([1; 32]), NodeId([2; 32]));
    assert_eq!(
        todo,
        [PinEffect::Ask(one), PinEffect::Seek { missing: 1 }, PinEffect::Ask(two)]
    );
    let todo = steps(&mut pin, Time(2), [PinInput::Declined(one)]);
    assert_eq!(
        todo,
        [PinEffect::Drop(one, Dropped::Declined), PinEffect::Ask(NodeId([3; 32]))]
    );
}

#[test]
fn a_host_that_is_late_makes_room_for_another() {
    let mut pin = Pin::new(deal(1));
    steps(
        &mut pin,
        Time(0),
        [PinInput::Candidate(node(1)), PinInput::Accepted(node(1))],
    );
    steps(&mut pin, Time(0), [PinInput::Candidate(node(2))]);
    assert_eq!(pin.deadline(), Some(Time(0).after_ms(FETCH_MS)));
    let todo = steps(&mut pin, Time(0).after_ms(FETCH_MS), [PinInput::Tick]);
    assert_eq!(
        todo,
        [PinEffect::Drop(node(1), Dropped::NotFetched), PinEffect::Ask(node(2))]
    );
    // The one that failed is not asked again.
    let todo = steps(
        &mut pin,
        Time(0).after_ms(FETCH_MS),
        [PinInput::Candidate(node(1)), PinInput::Declined(node(2))],
    );
    assert!(!todo.contains(&PinEffect::Ask(node(1))), "{todo:?}");
}

#[test]
fn a_registration_needs_the_true_end_of_every_shard() {
    for spoil in [
        |bundle: &mut Bundle| bundle.proofs[0].chunk[0] ^= 1,
        |bundle: &mut Bundle| drop(bundle.proofs.pop()),
    ] {
        let mut pin = Pin::new(deal(1));
        let mut bundle = prove(&pin.deal().registration());
        spoil(&mut bundle);
        steps(
            &mut pin,
            Time(1),
            [PinInput::Candidate(node(1)), PinInput::Accepted(node(1))],
        );
        let todo = steps(&mut pin, Time(2), [PinInput::Registered(node(1), bundle)]);
        assert_eq!(todo[0], PinEffect::Drop(node(1), Dropped::BadRegistration));
        assert_eq!(pin.holding().count(), 0);
    }
}

#[test]
fn a_miss_warns_and_pays_nothing_and_three_in_a_row_lose_the_deal() {
    let mut pin = held();
    let warn = |misses| PinEffect::Warn { host: node(1), misses };
    let pay = |epoch| PinEffect::Pay {
        host: node(1),
        epoch,
        amount: Amount(10),
    };
    let two = [audited(1, Outcome::Missed), audited(2, Outcome::Missed)];
    assert_eq!(steps(&mut pin, Time(3), two), [warn(1), warn(2)]);
    assert_eq!(steps(&mut pin, Time(4), [audited(3, Outcome::Held)]), [pay(3)]);
    let three = (4..=6).map(|epoch| audited(epoch, Outcome::Missed));
    let todo = steps(&mut pin, Time(5), three);
    assert_eq!(
        todo[..4],
        [warn(1), warn(2), warn(3), PinEffect::Drop(node(1), Dropped::Missed)]
    );
    assert_eq!(pin.spent(), Amount(10));
}

#[test]
fn a_verdict_counts_once() {
    let mut pin = held();
    let todo = steps(
        &mut pin,
        Time(3),
        [
            audited(1, Outcome::Held),
            audited(1, Outcome::Held),
            audited(0, Outcome::Held),
        ],
    );
    assert_eq!(todo.len(), 1, "{todo:?}");
    let todo = steps(
        &mut pin,
        Time(4),
        [audited(1, Outcome::Missed), audited(1, Outcome::False)],
    );
    assert_eq!(
        todo[0],
        PinEffect::Drop(node(1), Dropped::Lied),
        "a lie counts whenever it comes out"
    );
}

#[test]
fn nothing_is_paid_beyond_what_was_set_aside() {
    let mut pin = held();
    let todo = steps(&mut pin, Time(3), (0..1_001).map(|epoch| audited(epoch, Outcome::Held)));
    assert_eq!(pin.spent(), Amount(10_000));
    assert_eq!(todo.last(), Some(&PinEffect::Over));
    assert_eq!(pin.deadline(), None);
}

#[test]
fn a_deal_ends_when_it_says_and_a_renewal_moves_that() {
    let mut pin = held();
    let end = pin.deal().until;
    assert_eq!(pin.deadline(), Some(end));
    let renewed = PinInput::Renewed {
        until: end.after_ms(1_000),
        escrow: Amount(20_000),
    };
    steps(&mut pin, Time(3), [renewed]);
    assert_eq!(steps(&mut pin, end, [PinInput::Tick]), []);
    assert_eq!(
        steps(&mut pin, end.after_ms(1_000), [PinInput::Tick]),
        [PinEffect::Over]
    );
}

#[test]
fn a_host_weighs_room_price_speed_and_terms() {
    let appetite = Appetite {
        free: 70_005,
        price_per_gib: Amount(10),
        answer_within_ms: 5_000,
    };
    let now = Time(0);
    assert_eq!(appetite.weigh(&deal(1), now), Ok(()));
    let full = Appetite {
        free: 70_004,
        ..appetite
    };
    assert_eq!(
        full.weigh(&deal(1), now),
        Err(Decline::Full {
            need: 70_005,
            free: 70_004
        })
    );
    let dear = Appetite {
        price_per_gib: Amount(11),
        ..appetite
    };
    assert!(matches!(dear.weigh(&deal(1), now), Err(Decline::Price { .. })));
    let slow = Appetite {
        answer_within_ms: ANSWER_MS + 1,
        ..appetite
    };
    assert!(matches!(slow.weigh(&deal(1), now), Err(Decline::Hasty { .. })));
    assert!(matches!(
        appetite.weigh(&Deal { copies: 0, ..deal(1) }, now),
        Err(Decline::Terms(_))
    ));
    assert_eq!(
        appetite.weigh(
            &Deal {
                until: Time(5),
                ..deal(1)
            },
            now
        ),
        Err(Decline::Late)
    );
}

/// A host that registered, and what it did.
fn hosting() -> (Hosting, Vec<HostEffect>) {
    let mut todo = Vec::new();
    let mut host = Hosting::take(deal(1), node(1), Time(0), &mut todo);
    host.step(Time(1), HostInput::Fetched, &mut todo);
    let registration = prove(&deal(1).registration());
    host.step(Time(2), HostInput::Proven(registration), &mut todo);
    (host, todo)
}

#[test]
fn a_host_fetches_registers_answers_and_forgets() {
    let (mut host, todo) = hosting();
    let registration = prove(&deal(1).registration());
    let said = [
        HostEffect::Fetch,
        HostEffect::Prove(deal(1).registration()),
        HostEffect::Register(registration.clone()),
    ];
    assert_eq!(todo, said);
    // Again until it was heard.
    let mut todo = Vec::new();
    host.step(Time(2).after_ms(AGAIN_MS), HostInput::Tick, &mut todo);
    assert_eq!(todo, [HostEffect::Register(registration)]);
    host.step(Time(3).after_ms(AGAIN_MS), HostInput::Registered, &mut todo);
    assert_eq!(host.deadline(), Some(deal(1).until));

    let chunks = drawn(&deal(1), 1, &beacon(4));
    let mut todo = Vec::new();
    for _ in 0..2 {
        host.step(Time(9), HostInput::Challenged(beacon(4)), &mut todo);
    }
    assert_eq!(todo, [HostEffect::Prove(chunks.clone())], "asked twice, worked once");
    todo.clear();
    host.step(Time(9), HostInput::Proven(prove(&chunks)), &mut todo);
    assert_eq!(todo, [HostEffect::Answer(beacon(4), prove(&chunks))]);
    todo.clear();
    host.step(deal(1).until, HostInput::Tick, &mut todo);
    assert_eq!(todo, [HostEffect::Forget(Forgotten::Expired)]);
    assert!(host.is_over() && host.deadline().is_none());
}

#[test]
fn a_host_never_signs_what_does_not_verify() {
    let (mut host, _) = hosting();
    let mut todo = Vec::new();
    host.step(Time(3), HostInput::Registered, &mut todo);
    host.step(Time(4), HostInput::Challenged(beacon(1)), &mut todo);
    todo.clear();
    let mut bundle = prove(&drawn(&deal(1), 1, &beacon(1)));
    bundle.proofs[3].chunk[0] ^= 1;
    host.step(Time(5), HostInput::Proven(bundle), &mut todo);
    assert_eq!(todo, []);
    host.step(Time(6), HostInput::Damaged, &mut todo);
    assert_eq!(todo, [HostEffect::Fetch], "it heals, and misses meanwhile");
}

fn audit(input: impl FnOnce(&mut Audit, &mut Vec<AuditEffect>)) -> Vec<AuditEffect> {
    let mut audit = Audit::new(deal(1), node(1), node(100), HERE);
    let mut todo = Vec::new();
    audit.step(Time(0), AuditInput::Epoch(beacon(1)), &mut todo);
    assert_eq!(todo, [AuditEffect::Challenge(beacon(1))]);
    todo.clear();
    input(&mut audit, &mut todo);
    todo
}

fn outcomes(todo: &[AuditEffect]) -> Vec<Outcome> {
    let outcome = |effect: &AuditEffect| match effect {
        AuditEffect::Verdict(receipt) => Some(receipt.outcome),
        AuditEffect::Challenge(_) | AuditEffect::Accuse(_) => None,
    };
    todo.iter().filter_map(outcome).collect()
}

#[test]
fn proofs_in_time_are_held_and_later_ones_are_missed() {
    let bundle = prove(&drawn(&deal(1), 1, &beacon(1)));
    let given = |at: Time| {
        audit(|audit, todo| {
            let answered = AuditInput::Answered(answer(&deal(1), 1, beacon(1), &bundle), bundle.clone());
            audit.step(at, answered, todo);
            audit.step(Time(0).after_ms(ANSWER_MS), AuditInput::Tick, todo);
        })
    };
    assert_eq!(outcomes(&given(Time(1))), [Outcome::Held]);
    assert_eq!(outcomes(&given(Time(0).after_ms(ANSWER_MS))), [Outcome::Missed]);
}

#[test]
fn what_the_host_did_not_sign_is_as_good_as_nothing() {
    let todo = audit(|audit, todo| {
        let mut rubbish = prove(&drawn(&deal(1), 1, &beacon(1)));
        rubbish.proofs[0].chunk[0] ^= 1;
        let mut forged = answer(&deal(1), 2, beacon(1), &rubbish);
        forged.message.host = node(1);
        audit.step(Time(1), AuditInput::Answered(forged, rubbish.clone()), todo);
        // The host's own signature, over other proofs than these.
        let honest = prove(&drawn(&deal(1), 1, &beacon(1)));
        audit.step(
            Time(1),
            AuditInput::Answered(answer(&deal(1), 1, beacon(1), &honest), rubbish),
            todo,
        );
        audit.step(Time(0).after_ms(AGAIN_MS), AuditInput::Tick, todo);
    });
    assert_eq!(todo, [AuditEffect::Challenge(beacon(1))], "asked again, judged nothing");
}

#[test]
fn a_signed_lie_convinces_everyone_and_nothing_else_does() {
    let mut lie = prove(&drawn(&deal(1), 1, &beacon(1)));
    lie.proofs[5].chunk[0] ^= 1;
    let signed = answer(&deal(1), 1, beacon(1), &lie);
    let todo = audit(|audit, todo| audit.step(Time(1), AuditInput::Answered(signed, lie.clone()), todo));
    assert_eq!(outcomes(&todo), [Outcome::False]);
    let Some(AuditEffect::Accuse(evidence)) = todo.last() else {
        panic!("{todo:?}")
    };
    assert!(evidence.proves(&deal(1), &beacon(1), &HERE).is_ok());

    // The honest answer to a beacon that somebody made up frames nobody.
    let no = |evidence: &FalseProof, deal: &Deal, beacon| evidence.proves(deal, &beacon, &HERE).unwrap_err();
    assert_eq!(no(evidence, &deal(1), beacon(2)), NoEvidence::Beacon);
    assert_eq!(
        no(evidence, &Deal { nonce: 1, ..deal(1) }, beacon(1)),
        NoEvidence::Other
    );
    let truth = prove(&drawn(&deal(1), 1, &beacon(1)));
    let honest = FalseProof {
        answer: answer(&deal(1), 1, beacon(1), &truth),
        bundle: truth,
    };
    assert_eq!(no(&honest, &deal(1), beacon(1)), NoEvidence::True);
    let exchanged = FalseProof {
        bundle: lie,
        ..honest.clone()
    };
    assert_eq!(no(&exchanged, &deal(1), beacon(1)), NoEvidence::Other);
    let mut forged = FalseProof::clone(evidence);
    forged.answer.signature = honest.answer.signature;
    assert_eq!(no(&forged, &deal(1), beacon(1)), NoEvidence::NotSigned);
}

#[test]
fn a_peer_reports_what_a_provider_served() {
    let bytes = &data()[0];
    let reported = |input: Option<ProbeInput>| {
        let mut probe = Probe::new(Shard::of(bytes), node(1), node(50));
        let mut todo = Vec::new();
        probe.step(Time(0), ProbeInput::Epoch(beacon(1)), &mut todo);
        let ProbeEffect::Ask(chunk) = todo[0] else {
            panic!("{todo:?}")
        };
        let served = ProbeInput::Served(Proof::of_bytes(bytes, chunk).unwrap());
        let due = probe.deadline().unwrap();
        match input {
            Some(ProbeInput::Tick) => probe.step(due, ProbeInput::Tick, &mut todo),
            Some(input) => probe.step(Time(7_000), input, &mut todo),
            None => probe.step(Time(7_000), served, &mut todo),
        }
        assert_eq!(probe.deadline(), None);
        match todo.pop() {
            Some(ProbeEffect::Report(receipt)) => (receipt.retrieved, receipt.took_ms),
            other => panic!("{other:?}"),
        }
    };
    let wrong = Proof {
        chunk: vec![0; 1024],
        siblings: vec![[0; 32]; 7],
    };
    assert_eq!(reported(None), (Retrieved::Served, 7));
    assert_eq!(reported(Some(ProbeInput::Served(wrong))), (Retrieved::Wrong, 7));
    assert_eq!(reported(Some(ProbeInput::Refused)), (Retrieved::Refused, 7));
    assert_eq!(reported(Some(ProbeInput::Tick)), (Retrieved::Silent, 5_000));
}

#[test]
fn a_deal_that_cannot_be_kept_says_why() {
    let bad = |deal: Deal| deal.check().unwrap_err();
    assert_eq!(deal(1).check(), Ok(()));
    assert_eq!(
        bad(Deal {
            shards: Vec::new(),
            ..deal(1)
        }),
        DealError::Shards(0)
    );
    assert_eq!(bad(Deal { copies: 0, ..deal(1) }), DealError::Copies);
    assert_eq!(
        bad(Deal {
            challenges: 0,
            ..deal(1)
        }),
        DealError::Challenges(0)
    );
    assert_eq!(
        bad(Deal {
            answer_within_ms: 0,
            ..deal(1)
        }),
        DealError::Deadlines
    );
    let endless = Shard {
        size: u64::MAX,
        ..deal(1).shards[0]
    };
    assert!(matches!(
        bad(Deal {
            shards: vec![endless],
            ..deal(1)
        }),
        DealError::Size { position: 0, .. }
    ));
    // Golden: deals keep their names in every version.
    assert_eq!(
        deal(3).id().to_string(),
        "0xf44e55c7c013345a2d19ba21dde3d5ca74ab00136a590cc4091f9d4929d2d71c"
    );
}
