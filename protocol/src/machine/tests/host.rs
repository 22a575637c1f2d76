//! The host's machine.

use super::*;

#[test]
fn a_host_checks_space_price_answer_time_and_terms() {
    let appetite = HostTerms {
        free: 70_005,
        price_per_gib: Amount(10),
        answer_within_ms: 5_000,
    };
    let now = Time(0);
    assert_eq!(appetite.check(&deal(1), now), Ok(()));
    let full = HostTerms {
        free: 70_004,
        ..appetite
    };
    assert_eq!(
        full.check(&deal(1), now),
        Err(Decline::Full {
            need: 70_005,
            free: 70_004
        })
    );
    let dear = HostTerms {
        price_per_gib: Amount(11),
        ..appetite
    };
    assert!(matches!(dear.check(&deal(1), now), Err(Decline::Price { .. })));
    let slow = HostTerms {
        answer_within_ms: ANSWER_MS + 1,
        ..appetite
    };
    assert!(matches!(slow.check(&deal(1), now), Err(Decline::AnswerTime { .. })));
    assert!(matches!(
        appetite.check(&Deal { copies: 0, ..deal(1) }, now),
        Err(Decline::Terms(_))
    ));
    assert_eq!(
        appetite.check(
            &Deal {
                until: Time(5),
                ..deal(1)
            },
            now
        ),
        Err(Decline::TooLate)
    );
}

/// A registered host, and its effects.
fn hosting() -> (Hosting, Vec<HostEffect>) {
    let mut todo = Vec::new();
    let mut host = Hosting::take(deal(1), node(1), Time(0), &mut todo);
    host.step(Time(1), HostInput::Fetched, &mut todo);
    let registration = prove(&deal(1).registration(0));
    host.step(Time(2), HostInput::Proven(registration), &mut todo);
    (host, todo)
}

#[test]
fn a_host_fetches_registers_answers_and_unpins() {
    let (mut host, todo) = hosting();
    let registration = prove(&deal(1).registration(0));
    let said = [
        HostEffect::Fetch,
        HostEffect::Prove(deal(1).registration(0)),
        HostEffect::Register {
            part: 0,
            bundle: registration.clone(),
        },
    ];
    assert_eq!(todo, said);
    // Sent again until it is acknowledged.
    let mut todo = Vec::new();
    host.step(Time(2).after_ms(RESEND_MS), HostInput::Tick, &mut todo);
    let (part, bundle) = (0, registration);
    assert_eq!(todo, [HostEffect::Register { part, bundle }]);
    host.step(
        Time(3).after_ms(RESEND_MS),
        HostInput::Registered { part: 0 },
        &mut todo,
    );
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
    assert_eq!(todo, [HostEffect::Unpin(UnpinReason::Expired)]);
    assert!(host.is_over() && host.deadline().is_none());
}

#[test]
fn a_host_never_registers_with_what_does_not_verify() {
    let mut todo = Vec::new();
    let mut host = Hosting::take(deal(1), node(1), Time(0), &mut todo);
    host.step(Time(1), HostInput::Fetched, &mut todo);
    todo.clear();
    let mut registration = prove(&deal(1).registration(0));
    registration.proofs[1].chunk[0] ^= 1;
    host.step(Time(2), HostInput::Proven(registration), &mut todo);
    assert_eq!(todo, []);
}

#[test]
fn a_host_never_signs_what_does_not_verify() {
    let (mut host, _) = hosting();
    let mut todo = Vec::new();
    host.step(Time(3), HostInput::Registered { part: 0 }, &mut todo);
    host.step(Time(4), HostInput::Challenged(beacon(1)), &mut todo);
    todo.clear();
    let mut bundle = prove(&drawn(&deal(1), 1, &beacon(1)));
    bundle.proofs[3].chunk[0] ^= 1;
    host.step(Time(5), HostInput::Proven(bundle), &mut todo);
    assert_eq!(todo, []);
    host.step(Time(6), HostInput::Damaged, &mut todo);
    assert_eq!(todo, [HostEffect::Fetch], "it heals, and misses meanwhile");
}

#[test]
fn a_host_registers_a_large_deal_part_by_part() {
    let (large, mut todo) = (large(), Vec::new());
    let mut host = Hosting::take(large.clone(), node(1), Time(0), &mut todo);
    host.step(Time(1), HostInput::Fetched, &mut todo);
    for part in 0..large.parts() {
        assert_eq!(todo.pop(), Some(HostEffect::Prove(large.registration(part))));
        let bundle = prove_small(&large.registration(part));
        host.step(Time(2), HostInput::Proven(bundle.clone()), &mut todo);
        assert_eq!(todo.pop(), Some(HostEffect::Register { part, bundle }));
        assert!(!host.is_registered());
        host.step(Time(3), HostInput::Registered { part }, &mut todo);
        // A repeated acknowledgement has no effect.
        host.step(Time(3), HostInput::Registered { part: 0 }, &mut todo);
    }
    assert!(host.is_registered());
}

#[test]
fn a_challenge_acknowledges_the_registration() {
    let (large, mut todo) = (large(), Vec::new());
    let mut host = Hosting::take(large.clone(), node(1), Time(0), &mut todo);
    host.step(Time(1), HostInput::Fetched, &mut todo);
    host.step(
        Time(2),
        HostInput::Proven(prove_small(&large.registration(0))),
        &mut todo,
    );
    let last = large.parts() - 1;
    host.step(Time(3), HostInput::Registered { part: last }, &mut todo);
    assert!(host.is_registered());
}
