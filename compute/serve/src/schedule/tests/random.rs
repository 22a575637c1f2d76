use proptest::prelude::*;

use super::{super::*, device::Device, *};

#[derive(Clone, Debug)]
enum Act {
    Submit {
        tenant: u8,
        adapters: Vec<(u64, f32)>,
        prompt: Vec<u32>,
        tokens_max: u32,
        kind: u8,
    },
    Cancel(u64),
    Stopped(u64),
    Ticks(u8),
    Give(usize),
    Fail(usize),
    Break,
    Misfit(u64),
}

fn act() -> impl Strategy<Value = Act> {
    let weight = prop_oneof![Just(1.0f32), Just(0.5)];
    let asks = (
        0..3u8,
        prop::collection::vec((0..6u64, weight), 0..3),
        prop::collection::vec(0..2u32, 1..20),
        0..12u32,
        0..8u8,
    );
    prop_oneof![
        8 => asks.prop_map(|(tenant, adapters, prompt, tokens_max, kind)| Act::Submit { tenant, adapters, prompt, tokens_max, kind }),
        2 => (0..40u64).prop_map(Act::Cancel),
        1 => (0..40u64).prop_map(Act::Stopped),
        8 => (1..6u8).prop_map(Act::Ticks),
        6 => (0..4usize).prop_map(Act::Give),
        1 => (0..4usize).prop_map(Act::Fail),
        1 => Just(Act::Break),
        1 => (0..6u64).prop_map(Act::Misfit),
    ]
}

fn shapes() -> impl Strategy<Value = (Limits, Shape)> {
    (2..=4usize, 6..24u32, 2..5u32, 2..6usize, 2..4usize, 20..60u64).prop_map(
        |(rows_max, pages, slots, step_adapters, fetched_max, slot_bytes)| {
            let limits = Limits {
                rows_max,
                step_adapters,
                fetched_max,
                slot_bytes,
                step_rank_tokens: 90,
                ..limits()
            };
            (limits, Shape { pages, slots, ..SHAPE })
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_request_gets_what_it_would_get_alone_whatever_happens((limits, shape) in shapes(), acts in prop::collection::vec(act(), 1..120)) {
        let mut device = Device::new(limits, shape);
        device.fetch_by_hand = true;
        let (mut asks, mut given) = (Vec::<ScheduleRequest>::new(), 0);
        let mut act_on = |device: &mut Device, asks: &mut Vec<ScheduleRequest>, act: Act| match act {
            Act::Submit { tenant, adapters, prompt, tokens_max, kind } => {
                let one = ScheduleRequest {
                    adapters: adapters.into_iter().map(|(key, weight)| (AdapterKey(key), weight)).collect(),
                    prompt,
                    tokens_max,
                    score_prompt: kind == 0,
                    verified: kind == 1,
                    ..for_tenant(&tenant.to_string(), asks.len() as u64)
                };
                asks.push(one.clone());
                device.submit(one);
            }
            Act::Cancel(request) => device.input(Input::Cancel(RequestId(request))),
            Act::Stopped(request) => device.input(Input::Stopped(RequestId(request))),
            Act::Ticks(count) => (0..count).for_each(|_| device.tick()),
            Act::Give(count) | Act::Fail(count) => {
                for _ in 0..count {
                    let Some(adapter) = device.asked_for.get(given).copied() else {
                        break;
                    };
                    given += 1;
                    let result = match act {
                        Act::Fail(_) => Err("gone".to_owned()),
                        _ => Ok(info(adapter)),
                    };
                    device.give(adapter, result);
                }
            }
            Act::Break => {
                device.break_next = true;
                device.tick();
            }
            Act::Misfit(adapter) => {
                device.misfits.clear();
                device.misfits.insert(AdapterKey(adapter));
            }
        };
        for act in acts {
            act_on(&mut device, &mut asks, act);
        }
        device.break_next = false;
        for _ in 0..5000 {
            if device.scheduler.is_idle() {
                break;
            }
            act_on(&mut device, &mut asks, Act::Give(3));
            device.tick();
        }
        prop_assert!(device.scheduler.is_idle(), "{:?}", device.scheduler.occupancy());
        // Everything that was asked for comes to memory, is used, and leaves it.
        act_on(&mut device, &mut asks, Act::Give(usize::MAX));
        prop_assert!(device.memory_is_empty());
        let occupancy = device.scheduler.occupancy();
        prop_assert_eq!(occupancy.pages_free + occupancy.pages_kept, shape.pages as usize);
        for asked in &asks {
            let request = asked.id;
            let Some((finish, _)) = device.finished.get(&request) else {
                prop_assert!(device.refused.contains_key(&request));
                continue;
            };
            let (said, alone) = (&device.answers[&request], device.alone(asked));
            prop_assert!(alone.starts_with(said));
            prop_assert!(*finish != Finish::Length || *said == alone);
        }
    }
}
