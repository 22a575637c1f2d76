use super::{super::*, device::Device, *};

/// One who is answered for long, and what its steps took from the time on when eleven others ask, `percent` being allowed.
fn beside_a_crowd(percent: u32) -> Vec<u64> {
    let limits = Limits {
        step_stretch_percent: percent,
        ..limits()
    };
    let mut device = Device::new(limits, SHAPE);
    device.takes_us = |tokens| 1000 + 100 * tokens as u64;
    device.submit(ScheduleRequest {
        tokens_max: 50,
        ..for_tenant("b", 100)
    });
    (0..5).for_each(|_| device.tick());
    (1..=11).for_each(|request| {
        device.submit(ScheduleRequest {
            tokens_max: 1,
            prompt: vec![u32::try_from(request).expect("small"); 8],
            ..plain(request)
        });
    });
    let before = device.steps;
    device.until_idle();
    assert_eq!(device.answer(100).len(), 50);
    device.took_us.split_off(before)
}

#[test]
fn prompts_lengthen_the_steps_of_who_is_answered_by_no_more_than_they_may() {
    let most = |percent| beside_a_crowd(percent).split_off(4).into_iter().max();
    assert!(most(30) <= Some(1500), "{:?}", most(30));
    assert!(most(1000) >= Some(1900), "as many as a step holds: {:?}", most(1000));
}

#[test]
fn a_prompt_gets_on_however_little_it_may_and_faster_when_that_takes_long() {
    let steps = |unit: fn(usize) -> u64| {
        let mut device = Device::new(limits(), SHAPE);
        device.takes_us = unit;
        device.submit(ScheduleRequest {
            tokens_max: 55,
            ..for_tenant("b", 100)
        });
        (0..4).for_each(|_| device.tick());
        let before = device.steps;
        device.submit(ScheduleRequest {
            prompt: (1..=50).collect(),
            tokens_max: 1,
            ..plain(1)
        });
        device.until(|device| device.finished.contains_key(&RequestId(1)));
        device.steps - before
    };
    let (short, long) = (
        steps(|tokens| 1000 + 100 * tokens as u64),
        steps(|tokens| 1_000_000 + 100_000 * tokens as u64),
    );
    assert!((20..=30).contains(&short), "two at a time: {short} steps");
    assert!(long <= 15, "{long} steps of a second each");
}
