//! The auditor's machine, and the probe.

use super::*;

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
fn an_unsigned_reply_is_ignored() {
    let todo = audit(|audit, todo| {
        let mut rubbish = prove(&drawn(&deal(1), 1, &beacon(1)));
        rubbish.proofs[0].chunk[0] ^= 1;
        let mut forged = answer(&deal(1), 2, beacon(1), &rubbish);
        forged.message.host = node(1);
        audit.step(Time(1), AuditInput::Answered(forged, rubbish.clone()), todo);
        // The host's signature over other proofs than these.
        let honest = prove(&drawn(&deal(1), 1, &beacon(1)));
        audit.step(
            Time(1),
            AuditInput::Answered(answer(&deal(1), 1, beacon(1), &honest), rubbish),
            todo,
        );
        audit.step(Time(0).after_ms(RESEND_MS), AuditInput::Tick, todo);
    });
    assert_eq!(todo, [AuditEffect::Challenge(beacon(1))], "asked again, judged nothing");
}

#[test]
fn only_a_signed_false_proof_is_evidence() {
    let mut lie = prove(&drawn(&deal(1), 1, &beacon(1)));
    lie.proofs[5].chunk[0] ^= 1;
    let signed = answer(&deal(1), 1, beacon(1), &lie);
    let todo = audit(|audit, todo| audit.step(Time(1), AuditInput::Answered(signed, lie.clone()), todo));
    assert_eq!(outcomes(&todo), [Outcome::False]);
    let Some(AuditEffect::Accuse(evidence)) = todo.last() else {
        panic!("{todo:?}")
    };
    assert!(evidence.proves(&deal(1), &beacon(1), &HERE).is_ok());

    // An honest reply to a made-up beacon is no evidence against the host.
    let no = |evidence: &FalseProof, deal: &Deal, beacon| evidence.proves(deal, &beacon, &HERE).unwrap_err();
    assert_eq!(no(evidence, &deal(1), beacon(2)), EvidenceError::Beacon);
    assert_eq!(
        no(evidence, &Deal { nonce: 1, ..deal(1) }, beacon(1)),
        EvidenceError::Other
    );
    let truth = prove(&drawn(&deal(1), 1, &beacon(1)));
    let honest = FalseProof {
        answer: answer(&deal(1), 1, beacon(1), &truth),
        bundle: truth,
    };
    assert_eq!(no(&honest, &deal(1), beacon(1)), EvidenceError::True);
    let exchanged = FalseProof {
        bundle: lie,
        ..honest.clone()
    };
    assert_eq!(no(&exchanged, &deal(1), beacon(1)), EvidenceError::Other);
    let mut forged = FalseProof::clone(evidence);
    forged.answer.signature = honest.answer.signature;
    assert_eq!(no(&forged, &deal(1), beacon(1)), EvidenceError::NotSigned);
}

#[test]
fn a_peer_reports_what_a_provider_served() {
    let bytes = &data()[0];
    let reported = |input: Option<ProbeInput>| {
        let mut probe = Probe::new(Shard::of(bytes), node(1), node(50));
        let mut todo = Vec::new();
        probe.step(Time(0), ProbeInput::Epoch(beacon(1)), &mut todo);
        let ProbeEffect::Request(chunk) = todo[0] else {
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
    assert_eq!(reported(Some(ProbeInput::Tick)), (Retrieved::TimedOut, 5_000));
}
