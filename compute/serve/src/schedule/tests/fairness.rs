use super::{super::*, device::Device, *};

/// Steps from asking to the end, of `count` requests that tenant `b` asks for one after another.
fn waits(device: &mut Device, count: u64) -> Vec<usize> {
    let wait = |number: u64| {
        let before = device.steps;
        device.submit(ScheduleRequest {
            prompt: vec![u32::try_from(number).expect("small"); 6],
            ..for_tenant("b", 10_000 + number)
        });
        device.until(|device| device.finished.contains_key(&RequestId(10_000 + number)));
        device.steps - before
    };
    (1..=count).map(wait).collect()
}

#[test]
fn a_tenant_that_floods_hardly_delays_another() {
    let quiet = waits(&mut Device::new(limits(), SHAPE), 20);
    let mut device = Device::new(limits(), SHAPE);
    (1..=20).for_each(|request| {
        device.submit(ScheduleRequest {
            tokens_max: 50,
            prompt: vec![u32::try_from(request).expect("small"); 12],
            ..plain(request)
        });
    });
    device.tick();
    let flooded = waits(&mut device, 20);
    assert!(!device.scheduler.is_idle(), "the flood still goes on");
    let (quiet, flooded) = (quiet.iter().max(), flooded.iter().max());
    assert!(
        flooded.expect("some") <= &(quiet.expect("some") * 3 / 2),
        "{flooded:?} beside {quiet:?} steps"
    );
}

#[test]
fn tenants_that_all_want_more_get_the_same() {
    let mut device = Device::new(
        Limits {
            rows_max: 3,
            ..limits()
        },
        SHAPE,
    );
    for number in 0..20 {
        for (at, tenant) in ["a", "b", "c"].iter().enumerate() {
            // Tenant c asks for three times as much each time.
            let tokens_max = if *tenant == "c" { 36 } else { 12 };
            let prompt = vec![u32::try_from(number * 3 + at).expect("small"); 4];
            device.submit(ScheduleRequest {
                tokens_max,
                prompt,
                ..for_tenant(tenant, (number * 3 + at) as u64)
            });
        }
    }
    for _ in 0..200 {
        device.tick();
    }
    let served: Vec<usize> = (0..3)
        .map(|tenant| (0..20).map(|number| device.answer(number * 3 + tenant).len()).sum())
        .collect();
    let (least, most) = (served.iter().min().expect("three"), served.iter().max().expect("three"));
    assert!(most - least <= 36, "{served:?}");
}

#[test]
fn who_pauses_saves_nothing_up_and_owes_what_it_took() {
    let mut device = Device::new(limits(), SHAPE);
    (1..=4).for_each(|request| {
        device.submit(ScheduleRequest {
            tokens_max: 40,
            ..plain(request)
        })
    });
    device.until_idle();
    let tenants = &mut device.scheduler.tenants;
    let (early, late) = (Tenant("a".into()), Tenant("z".into()));
    tenants.enqueue(&late, 100, RequestId(100), true);
    tenants.enqueue(&early, 101, RequestId(101), true);
    assert!(tenants.served(&early) > tenants.served(&late));
}

#[test]
fn rows_are_shared_among_those_who_are_there_unless_there_are_spare_ones() {
    for (rows_spare, expected) in [(0, 2), (9, 3)] {
        let mut device = Device::new(Limits { rows_spare, ..limits() }, SHAPE);
        for request in 1..=6 {
            device.submit(ScheduleRequest {
                tokens_max: 40,
                prompt: vec![u32::try_from(request).expect("small"); 4],
                ..plain(request)
            });
            // One after another, so that it was seen what fewer take.
            (0..4).for_each(|_| device.tick());
        }
        let running = |device: &Device| device.scheduler.tenants.running(&Tenant("a".into()));
        assert_eq!(running(&device), 4, "nobody else is there");
        device.submit(ScheduleRequest {
            tokens_max: 20,
            prompt: vec![90; 4],
            ..for_tenant("b", 100)
        });
        (0..6).for_each(|_| device.tick());
        assert_eq!(running(&device), expected);
        device.until_idle();
        assert!((1..=6).all(|request| device.answer(request).len() == 40));
    }
}

#[test]
fn rows_that_make_steps_longer_are_for_those_who_are_alone_or_as_many_as_the_others() {
    type TakesUs = fn(usize) -> u64;
    let rows = |takes_us: TakesUs, others: u64| {
        let mut device = Device::new(limits(), SHAPE);
        device.takes_us = takes_us;
        let mut wants = |tenant: &str, number: u64| {
            device.submit(ScheduleRequest {
                tokens_max: 40,
                prompt: vec![u32::try_from(number).expect("small"); 4],
                ..for_tenant(tenant, number)
            });
            (0..6).for_each(|_| device.tick());
        };
        (1..=6).for_each(|number| wants("a", number));
        (1..=others).for_each(|number| wants("b", 100 + number));
        let rows = device.scheduler.tenants.running(&Tenant("a".into()));
        device.until_idle();
        assert!((1..=6).all(|number| device.answer(number).len() == 40));
        rows
    };
    let (cheap, dear): (TakesUs, TakesUs) = (|_| 1000, |tokens| 1000 * tokens as u64);
    assert_eq!((rows(cheap, 0), rows(dear, 0)), (4, 4), "nobody else is there");
    assert_eq!((rows(cheap, 1), rows(dear, 1)), (2, 1));
    assert_eq!((rows(cheap, 6), rows(dear, 6)), (2, 2), "both want more");
}

#[test]
fn a_flood_of_prompts_takes_its_part_of_the_time_and_no_more_however_long_it_waits() {
    const EACH_US: u64 = 100_000;
    let patient = Limits {
        waiting_ms_max: 1_000_000,
        ..limits()
    };
    let mut device = Device::new(patient, SHAPE);
    device.takes_us = |tokens| EACH_US * tokens as u64;
    for tenant in ["b", "c", "d"] {
        let number = u64::from(tenant.as_bytes()[0]);
        device.submit(ScheduleRequest {
            tokens_max: 120,
            ..for_tenant(tenant, number)
        });
        (0..6).for_each(|_| device.tick());
    }
    let began = device.took_us.len();
    for number in 0..20u32 {
        device.submit(ScheduleRequest {
            tokens_max: 1,
            prompt: vec![number; 20],
            ..for_tenant("a", 200 + u64::from(number))
        });
    }
    device.until(|device| device.finished.contains_key(&RequestId(u64::from(b'b'))));
    // Three answers, and the least of a prompt that there is always room for.
    let longest = device.took_us[began..].iter().max().expect("steps");
    assert!(*longest <= 5 * EACH_US, "{longest}");
}
