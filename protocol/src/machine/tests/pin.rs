//! The owner's machine.

use super::*;

fn steps(pin: &mut Pin, now: Time, inputs: impl IntoIterator<Item = PinInput>) -> Vec<PinEffect> {
    let mut todo = Vec::new();
    for input in inputs {
        pin.step(now, input, &mut todo);
    }
    todo
}

/// A pin of one copy, held by its only host.
fn held() -> Pin {
    let mut pin = Pin::new(deal(1));
    let registered = prove(&pin.deal().registration(0));
    let inputs = [
        PinInput::Candidate(node(1)),
        PinInput::Accepted(node(1)),
        registered_in(0, registered),
    ];
    steps(&mut pin, Time(1), inputs);
    assert!(pin.holding().eq([node(1)]));
    pin
}

fn registered_in(part: u32, bundle: Bundle) -> PinInput {
    let host = node(1);
    PinInput::Registered { host, part, bundle }
}

fn audited(epoch: u64, outcome: Outcome) -> PinInput {
    PinInput::Audited {
        host: node(1),
        epoch,
        outcome,
    }
}

#[test]
fn a_pin_asks_only_as_many_hosts_as_are_missing() {
    let mut pin = Pin::new(deal(2));
    let candidates = (1..=5).map(|of| PinInput::Candidate(NodeId([of; 32])));
    let todo = steps(&mut pin, Time(1), candidates);
    let (one, two) = (NodeId([1; 32]), NodeId([2; 32]));
    assert_eq!(
        todo,
        [
            PinEffect::Offer(one),
            PinEffect::Seek { missing: 1 },
            PinEffect::Offer(two)
        ]
    );
    let todo = steps(&mut pin, Time(2), [PinInput::Declined(one)]);
    assert_eq!(
        todo,
        [
            PinEffect::Drop(one, Dropped::Declined),
            PinEffect::Offer(NodeId([3; 32]))
        ]
    );
}

#[test]
fn a_late_host_is_replaced() {
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
        [PinEffect::Drop(node(1), Dropped::NotFetched), PinEffect::Offer(node(2))]
    );
    // The failed host is not asked again.
    let todo = steps(
        &mut pin,
        Time(0).after_ms(FETCH_MS),
        [PinInput::Candidate(node(1)), PinInput::Declined(node(2))],
    );
    assert!(!todo.contains(&PinEffect::Offer(node(1))), "{todo:?}");
}

#[test]
fn a_registration_must_prove_the_end_of_every_shard() {
    for spoil in [
        |bundle: &mut Bundle| bundle.proofs[0].chunk[0] ^= 1,
        |bundle: &mut Bundle| drop(bundle.proofs.pop()),
    ] {
        let mut pin = Pin::new(deal(1));
        let mut bundle = prove(&pin.deal().registration(0));
        spoil(&mut bundle);
        steps(
            &mut pin,
            Time(1),
            [PinInput::Candidate(node(1)), PinInput::Accepted(node(1))],
        );
        let todo = steps(&mut pin, Time(2), [registered_in(0, bundle)]);
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
fn payments_never_exceed_the_escrow() {
    let mut pin = held();
    let todo = steps(&mut pin, Time(3), (0..1_001).map(|epoch| audited(epoch, Outcome::Held)));
    assert_eq!(pin.spent(), Amount(10_000));
    assert_eq!(todo.last(), Some(&PinEffect::Ended));
    assert_eq!(pin.deadline(), None);
}

#[test]
fn a_deal_ends_on_time_and_a_renewal_moves_the_end() {
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
        [PinEffect::Ended]
    );
}

#[test]
fn a_large_deal_is_registered_in_parts() {
    let large = large();
    let mut pin = Pin::new(large.clone());
    let inputs = [PinInput::Candidate(node(1)), PinInput::Accepted(node(1))];
    steps(&mut pin, Time(1), inputs);
    let part = |part| registered_in(part, prove_small(&large.registration(part)));
    let heard = |part| PinEffect::Acknowledge { host: node(1), part };
    assert_eq!(large.parts(), 3);
    // A part that overtook an earlier one is ignored; a repeated one is acknowledged again.
    for (said, expect) in [
        (1, vec![]),
        (0, vec![heard(0)]),
        (0, vec![heard(0)]),
        (1, vec![heard(1)]),
    ] {
        assert_eq!(steps(&mut pin, Time(2), [part(said)]), expect, "part {said}");
        assert_eq!(pin.holding().count(), 0);
    }
    assert_eq!(
        steps(&mut pin, Time(3), [part(2)]),
        [PinEffect::Registered(node(1)), heard(2)]
    );
    assert!(pin.holding().eq([node(1)]));
    let mut pin = Pin::new(large.clone());
    steps(
        &mut pin,
        Time(1),
        [PinInput::Candidate(node(1)), PinInput::Accepted(node(1))],
    );
    steps(&mut pin, Time(2), [part(0)]);
    let short = registered_in(1, prove_small(&large.registration(2)));
    let todo = steps(&mut pin, Time(2), [short]);
    assert_eq!(todo[0], PinEffect::Drop(node(1), Dropped::BadRegistration));
}
