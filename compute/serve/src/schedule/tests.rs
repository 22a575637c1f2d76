mod device;
mod fairness;
mod random;
mod step_time;

use compute::lora::AdapterHash;
use device::Device;

use super::*;

pub(super) const SHAPE: Shape = Shape {
    vocabulary: 97,
    context_tokens_max: 64,
    page_tokens: 4,
    pages: 64,
    slots: 4,
};

pub(super) fn limits() -> Limits {
    Limits {
        step_tokens: 32,
        step_prompt_tokens: 8,
        step_stretch_percent: 15,
        rows_max: 4,
        rows_spare: 0,
        step_adapters: 4,
        step_rank_tokens: 1000,
        step_loads: 1,
        mix_max: 2,
        slot_bytes: 100,
        fetched_max: 3,
        waiting_max: 50,
        waiting_per_tenant_max: 20,
        waiting_ms_max: 10_000,
    }
}

pub(super) fn plain(number: u64) -> ScheduleRequest {
    ScheduleRequest {
        id: RequestId(number),
        tenant: Tenant("a".into()),
        adapters: Vec::new(),
        prompt: (1..=6).collect(),
        tokens_max: 4,
        tokens_min: 0,
        stop_tokens: Vec::new(),
        ignore_eos: false,
        score_prompt: false,
        verified: false,
        barred: Vec::new(),
    }
}

pub(super) fn info(adapter: AdapterKey) -> AdapterInfo {
    let mut hash = [0; 32];
    hash[..8].copy_from_slice(&adapter.0.to_be_bytes());
    AdapterInfo {
        hash: AdapterHash(protocol::BlobHash(hash)),
        rank: 8,
        bytes: 10,
    }
}

pub(super) fn for_tenant(tenant: &str, request: u64) -> ScheduleRequest {
    ScheduleRequest {
        tenant: Tenant(tenant.into()),
        ..plain(request)
    }
}

pub(super) fn with_adapter(adapter: u64, request: u64) -> ScheduleRequest {
    ScheduleRequest {
        adapters: vec![(AdapterKey(adapter), 1.0)],
        ..plain(request)
    }
}

#[test]
fn an_adapter_that_is_in_memory_is_there_for_the_next_step() {
    let mut device = Device::new(limits(), SHAPE);
    device.submit(with_adapter(1, 1));
    assert_eq!(device.scheduler.occupancy().ready, 1, "before any step was planned");
    device.tick();
    assert_eq!(device.scheduler.occupancy().running, 1);
    device.until_idle();
}

#[test]
fn an_answer_is_what_the_model_says_alone() {
    let mut device = Device::new(limits(), SHAPE);
    device.submit(plain(1));
    device.until_idle();
    assert_eq!(device.answer(1), device.alone(&plain(1)));
    assert_eq!(device.finish(1), Finish::Length);
}

#[test]
fn a_cold_adapter_holds_up_nobody_else() {
    let mut device = Device::new(limits(), SHAPE);
    device.fetch_by_hand = true;
    device.submit(with_adapter(7, 1));
    device.submit(plain(2));
    device.until(|device| device.finished.contains_key(&RequestId(2)));
    assert!(!device.finished.contains_key(&RequestId(1)));
    assert_eq!(device.asked_for, [AdapterKey(7)]);
    device.give(AdapterKey(7), Ok(info(AdapterKey(7))));
    device.until_idle();
    assert_eq!(device.answer(1), device.alone(&with_adapter(7, 1)));
}

#[test]
fn an_adapter_is_fetched_once_for_all_who_wait_and_refused_to_all_if_it_fails() {
    let mut device = Device::new(limits(), SHAPE);
    device.fetch_by_hand = true;
    (1..=3).for_each(|request| device.submit(with_adapter(7, request)));
    device.tick();
    assert_eq!(device.asked_for, [AdapterKey(7)]);
    device.give(AdapterKey(7), Err("no such file".to_owned()));
    assert_eq!(device.refused.len(), 3);
    assert!(device.scheduler.is_idle());
}

#[test]
fn no_more_adapters_are_held_for_those_who_wait_than_allowed() {
    let mut device = Device::new(limits(), SHAPE);
    device.fetch_by_hand = true;
    (1..=9).for_each(|request| device.submit(with_adapter(request, request)));
    device.tick();
    assert_eq!(device.asked_for.len(), 3);
    device.give(AdapterKey(1), Ok(info(AdapterKey(1))));
    device.until(|device| device.asked_for.len() == 4);
    for next in 2..=9 {
        device.until(|device| device.asked_for.contains(&AdapterKey(next)));
        device.give(AdapterKey(next), Ok(info(AdapterKey(next))));
    }
    device.until_idle();
    assert_eq!(device.answers.len(), 9);
    assert!(device.memory_is_empty());
}

#[test]
fn one_step_brings_in_no_more_adapters_than_allowed() {
    let mut device = Device::new(limits(), SHAPE);
    (1..=3).for_each(|request| device.submit(with_adapter(request, request)));
    while !device.scheduler.is_idle() {
        let before = device.loads;
        device.tick();
        assert!(device.loads - before <= 1);
    }
    assert_eq!(device.loads, 3);
}

#[test]
fn a_mix_comes_in_at_once_and_has_an_order_of_its_own() {
    let mix = |request, adapters: [(u64, f32); 2]| ScheduleRequest {
        adapters: adapters.map(|(key, weight)| (AdapterKey(key), weight)).to_vec(),
        ..plain(request)
    };
    let mut device = Device::new(limits(), SHAPE);
    device.submit(mix(1, [(5, 0.5), (6, 2.0)]));
    device.until_idle();
    device.submit(mix(2, [(6, 2.0), (5, 0.5)]));
    device.until_idle();
    assert_eq!(device.answer(1), device.answer(2));
    assert_eq!(device.usage(2).cached, 5, "the same content, whatever the order");
}

#[test]
fn adapters_that_together_are_too_large_are_refused() {
    let mut device = Device::new(
        Limits {
            slot_bytes: 15,
            ..limits()
        },
        SHAPE,
    );
    device.submit(ScheduleRequest {
        adapters: vec![(AdapterKey(1), 1.0), (AdapterKey(2), 1.0)],
        ..plain(1)
    });
    device.until_idle();
    assert!(matches!(device.refused[&RequestId(1)], Refusal::Adapter(_)));
}

#[test]
fn who_asks_for_what_can_never_be_is_told_at_once() {
    let mut device = Device::new(limits(), SHAPE);
    let refusal = |device: &mut Device, request: ScheduleRequest| {
        let id = request.id;
        device.submit(request);
        device.refused[&id].clone()
    };
    let long = ScheduleRequest {
        prompt: vec![1; 64],
        ..plain(1)
    };
    assert_eq!(
        refusal(&mut device, long),
        Refusal::PromptTooLong { tokens: 64, most: 63 }
    );
    let empty = ScheduleRequest {
        prompt: Vec::new(),
        ..plain(2)
    };
    assert_eq!(refusal(&mut device, empty), Refusal::EmptyPrompt);
    let many = ScheduleRequest {
        adapters: vec![(AdapterKey(1), 1.0); 3],
        ..plain(3)
    };
    assert_eq!(refusal(&mut device, many), Refusal::TooManyAdapters { most: 2 });
}

#[test]
fn a_full_queue_refuses_with_a_time_to_ask_again() {
    let mut device = Device::new(limits(), SHAPE);
    (1..=21).for_each(|request| device.submit(plain(request)));
    assert!(matches!(
        device.refused[&RequestId(21)],
        Refusal::Full {
            waiting: 20,
            retry_after_ms: 250..
        }
    ));
    device.submit(for_tenant("b", 22));
    assert!(!device.refused.contains_key(&RequestId(22)), "another tenant has room");
}

#[test]
fn who_waits_too_long_is_refused_and_who_runs_is_not() {
    let mut device = Device::new(
        Limits {
            rows_max: 1,
            ..limits()
        },
        SHAPE,
    );
    device.submit(ScheduleRequest {
        tokens_max: 50,
        ..plain(1)
    });
    device.submit(plain(2));
    device.tick();
    device.now = device.now.after_ms(10_000);
    device.tick();
    assert!(matches!(
        device.refused[&RequestId(2)],
        Refusal::Waited { waited_ms: 10_000.. }
    ));
    device.until_idle();
    assert_eq!(device.finish(1), Finish::Length);
}

#[test]
fn an_answer_ends_at_an_end_token_unless_told_otherwise() {
    let plain = ScheduleRequest {
        tokens_max: 40,
        ..plain(1)
    };
    let mut device = Device::new(limits(), SHAPE);
    let said = device.alone(&ScheduleRequest {
        ignore_eos: true,
        ..plain.clone()
    });
    device.scheduler.ends = vec![said[5]];
    let first = said.iter().position(|token| *token == said[5]).expect("said");
    device.submit(plain.clone());
    device.submit(ScheduleRequest {
        ignore_eos: true,
        id: RequestId(2),
        ..plain.clone()
    });
    device.submit(ScheduleRequest {
        ignore_eos: true,
        stop_tokens: vec![said[3]],
        id: RequestId(3),
        ..plain.clone()
    });
    device.until_idle();
    assert_eq!(
        (device.answer(1), device.finish(1)),
        (said[..first].to_vec(), Finish::Stop)
    );
    assert_eq!((device.answer(2), device.finish(2)), (said.clone(), Finish::Length));
    assert_eq!(
        device.usage(1).completion,
        first + 1,
        "the token that ends it was computed too"
    );
    assert!(device.answer(3).len() <= 3);
}

#[test]
fn an_answer_that_must_be_longer_is_told_what_may_not_come() {
    let mut device = Device::new(limits(), SHAPE);
    device.scheduler.ends = vec![42];
    device.submit(ScheduleRequest {
        tokens_min: 2,
        stop_tokens: vec![43],
        ..plain(1)
    });
    device.tick();
    assert_eq!(device.scheduler.next_position(RequestId(1)), (1, &[42, 43][..]));
    device.tick();
    assert_eq!(device.scheduler.next_position(RequestId(1)), (2, &[][..]));
}

#[test]
fn a_prompt_alone_is_computed_with_all_its_logits() {
    let mut device = Device::new(limits(), SHAPE);
    device.submit(plain(1));
    device.until_idle();
    device.submit(ScheduleRequest {
        tokens_max: 0,
        score_prompt: true,
        ..plain(2)
    });
    device.until_idle();
    assert_eq!(device.scored, 6, "every position, although the prompt was known");
    assert_eq!((device.answer(2), device.finish(2)), (vec![], Finish::Length));
}

#[test]
fn whoever_goes_leaves_room() {
    let mut device = Device::new(limits(), SHAPE);
    (1..=8).for_each(|request| device.submit(with_adapter(request, request)));
    device.tick();
    (1..=8).for_each(|request| device.input(Input::Cancel(RequestId(request))));
    device.until_idle();
    assert!((1..=8).all(|request| device.finish(request) == Finish::Cancelled));
    assert!(device.memory_is_empty());
    let occupancy = device.scheduler.occupancy();
    assert_eq!(occupancy.pages_free + occupancy.pages_kept, 64);
}

#[test]
fn an_adapter_that_does_not_fit_fails_its_own_requests_alone() {
    let mut device = Device::new(limits(), SHAPE);
    device.misfits.insert(AdapterKey(9));
    device.submit(with_adapter(9, 1));
    device.submit(with_adapter(8, 2));
    device.submit(plain(3));
    device.until_idle();
    assert!(matches!(device.finish(1), Finish::Failed(_)));
    assert_eq!(device.answer(2), device.alone(&with_adapter(8, 2)));
    assert_eq!(device.answer(3), device.alone(&plain(3)));
}

#[test]
fn a_broken_step_fails_those_in_it_and_the_others_start_over() {
    let mut device = Device::new(
        Limits {
            step_adapters: 2,
            ..limits()
        },
        SHAPE,
    );
    let long = |request| ScheduleRequest {
        tokens_max: 20,
        ..with_adapter(request, request)
    };
    (1..=4).for_each(|request| device.submit(long(request)));
    device.until(|device| device.scheduler.occupancy().running == 4);
    device.break_next = true;
    device.tick();
    let failed = device.finished.len();
    assert!((1..4).contains(&failed));
    device.until_idle();
    for request in 1..=4 {
        match device.finish(request) {
            Finish::Failed(_) => (),
            _ => assert_eq!(device.answer(request), device.alone(&long(request))),
        }
    }
    let whole = device.finished.values().filter(|(finish, _)| *finish == Finish::Length);
    assert_eq!(whole.count(), 4 - failed);
}

#[test]
fn steps_keep_within_their_bounds_of_adapters_and_ranks() {
    let tight = Limits {
        step_adapters: 2,
        step_rank_tokens: 8 * 6,
        ..limits()
    };
    let mut device = Device::new(tight, SHAPE);
    (1..=12).for_each(|request| device.submit(with_adapter(request, request)));
    device.until_idle();
    assert!(device.adapters_seen_max <= 2 && device.rank_tokens_seen_max <= 48);
    assert_eq!(device.answers.len(), 12);
}

#[test]
fn scarce_pages_are_taken_back_and_nothing_is_lost() {
    let shape = Shape { pages: 8, ..SHAPE };
    let mut device = Device::new(limits(), shape);
    let long = |request: u64| ScheduleRequest {
        prompt: vec![u32::try_from(request).expect("small"); 5],
        tokens_max: 14,
        ..plain(request)
    };
    (1..=4).for_each(|request| device.submit(long(request)));
    device.until_idle();
    assert!(device.scheduler.occupancy().preempted > 0);
    for request in 1..=4 {
        assert_eq!(device.answer(request), device.alone(&long(request)));
    }
}
