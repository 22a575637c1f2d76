use proptest::prelude::*;

use super::{
    text::{Added, Detokenize, TextStream},
    *,
};

fn choose(params: &Params, logits: &[f32], index: u32) -> u32 {
    let position = Position { index, barred: &[] };
    Sampler::new(params.clone(), &[])
        .choose(&mut logits.to_vec(), position)
        .token
}

fn warm() -> Params {
    Params {
        temperature: 1.0,
        ..Params::default()
    }
}

#[test]
fn greedy_takes_the_likeliest_and_of_equals_the_lowest() {
    assert_eq!(choose(&Params::default(), &[0.0, 2.0, 1.0, 2.0], 0), 1);
    assert_eq!(choose(&Params::default(), &[f32::NAN, 2.0], 0), 1);
}

#[test]
fn draws_follow_the_probabilities() {
    let logits = [0.0f32, 1.0, 2.0].map(|logit| logit * std::f32::consts::LN_2);
    let mut counts = [0u32; 3];
    for index in 0..7000 {
        counts[choose(&warm(), &logits, index) as usize] += 1;
    }
    // 1 : 2 : 4 of 7000, and four standard deviations.
    for (count, expected) in counts.iter().zip([1000u32, 2000, 4000]) {
        assert!(count.abs_diff(expected) < 170, "{counts:?}");
    }
}

#[test]
fn a_seed_and_a_place_give_one_draw_and_other_seeds_give_others() {
    let logits = [0.5; 64];
    let draws = |seed| -> Vec<u32> {
        let params = Params { seed, ..warm() };
        (0..32).map(|index| choose(&params, &logits, index)).collect()
    };
    assert_eq!(draws(1), draws(1));
    assert_ne!(draws(1), draws(2));
}

#[test]
fn filters_leave_only_what_they_say() {
    let logits = [0.0f32, 1.0, 2.0, 3.0];
    let seen = |params: &Params| {
        let mut seen: Vec<u32> = (0..400).map(|index| choose(params, &logits, index)).collect();
        seen.sort_unstable();
        seen.dedup();
        seen
    };
    assert_eq!(seen(&warm()), [0, 1, 2, 3]);
    assert_eq!(seen(&Params { top_k: 2, ..warm() }), [2, 3]);
    // Probabilities are 0.032, 0.087, 0.237, 0.644.
    assert_eq!(seen(&Params { top_p: 0.64, ..warm() }), [3]);
    assert_eq!(seen(&Params { top_p: 0.8, ..warm() }), [2, 3]);
    // Shares of the likeliest are 0.050, 0.135, 0.368, 1.
    assert_eq!(seen(&Params { min_p: 0.1, ..warm() }), [1, 2, 3]);
}

#[test]
fn penalties_and_bias_and_bars_move_what_they_name() {
    let logits = [1.0f32, 1.1, 1.2, -1.0];
    let twice = |params: Params, prompt: &[u32]| {
        let mut sampler = Sampler::new(params, prompt);
        [0, 1].map(|index| {
            sampler
                .choose(&mut logits.to_vec(), Position { index, barred: &[] })
                .token
        })
    };
    let plain = Params::default();
    assert_eq!(twice(plain.clone(), &[2]), [2, 2]);
    assert_eq!(
        twice(
            Params {
                presence_penalty: 0.15,
                ..plain.clone()
            },
            &[2]
        ),
        [2, 1]
    );
    assert_eq!(
        twice(
            Params {
                repetition_penalty: 2.0,
                ..plain.clone()
            },
            &[2]
        ),
        [1, 0]
    );
    assert_eq!(
        twice(
            Params {
                logit_bias: vec![(3, 9.0)],
                ..plain.clone()
            },
            &[]
        ),
        [3, 3]
    );
    let mut sampler = Sampler::new(plain, &[]);
    let position = Position { index: 0, barred: &[2] };
    assert_eq!(sampler.choose(&mut logits.to_vec(), position).token, 1);
}

#[test]
fn logprobs_are_those_of_the_model_whatever_is_bent() {
    let params = Params {
        logprobs: Some(2),
        logit_bias: vec![(0, 50.0)],
        ..Params::default()
    };
    let logits = [0.0f32, 1.0, 2.0, 3.0];
    let position = Position { index: 0, barred: &[] };
    let chosen = Sampler::new(params, &[]).choose(&mut logits.to_vec(), position);
    let logprobs = chosen.logprobs.expect("asked for");
    let total = logits.iter().map(|logit| logit.exp()).sum::<f32>().ln();
    assert_eq!(chosen.token, 0);
    assert!((logprobs.token + total).abs() < 1e-5);
    assert_eq!(logprobs.top.iter().map(|(token, _)| *token).collect::<Vec<_>>(), [3, 2]);
    assert_eq!(score(&logits, 0, 2), logprobs);
}

#[test]
fn absurd_parameters_are_refused_by_name() {
    let check = |params: Params, field: &str| {
        assert_eq!(params.check(10).expect_err(field).field, field);
    };
    let plain = Params::default();
    assert_eq!(plain.check(10), Ok(()));
    check(
        Params {
            temperature: f32::NAN,
            ..plain.clone()
        },
        "temperature",
    );
    check(
        Params {
            top_p: 0.0,
            ..plain.clone()
        },
        "top_p",
    );
    check(
        Params {
            min_p: -0.1,
            ..plain.clone()
        },
        "min_p",
    );
    check(
        Params {
            repetition_penalty: 0.0,
            ..plain.clone()
        },
        "repetition_penalty",
    );
    check(
        Params {
            presence_penalty: 3.0,
            ..plain.clone()
        },
        "presence_penalty",
    );
    check(
        Params {
            frequency_penalty: f32::INFINITY,
            ..plain.clone()
        },
        "frequency_penalty",
    );
    check(
        Params {
            logprobs: Some(21),
            ..plain.clone()
        },
        "top_logprobs",
    );
    check(
        Params {
            logit_bias: vec![(10, 1.0)],
            ..plain
        },
        "logit_bias",
    );
}

#[test]
fn our_exponential_is_within_two_units_in_the_last_place() {
    for step in 0..=870_000u32 {
        let x = -(step as f32) / 10_000.0;
        let (ours, exact) = (math::exp(x), f64::from(x).exp());
        assert!((f64::from(ours) / exact - 1.0).abs() < 2.5e-7, "exp({x}) = {ours}");
    }
    assert_eq!((math::exp(-90.0), math::exp(f32::NAN)), (0.0, 0.0));
}

/// Bytes as tokens, like the byte fallback of real tokenizers; 256 is special.
struct Bytes;

impl Detokenize for Bytes {
    fn decode(&self, tokens: &[u32]) -> String {
        let bytes: Vec<u8> = tokens.iter().filter_map(|token| u8::try_from(*token).ok()).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

fn pieces(stops: &[&str], keep: bool, said: &str) -> (Vec<String>, bool) {
    let mut text = TextStream::new(stops.iter().map(|stop| (*stop).to_owned()).collect(), keep);
    let mut pieces = Vec::new();
    for byte in said.bytes() {
        let Added { text, stopped } = text.push(byte.into(), &Bytes);
        pieces.push(text);
        if stopped {
            return (pieces, true);
        }
    }
    let Added { text, stopped } = text.finish(&Bytes);
    pieces.push(text);
    (pieces, stopped)
}

#[test]
fn a_character_comes_whole() {
    let (pieces, _) = pieces(&[], false, "aé🦀z");
    assert_eq!(pieces, ["a", "", "é", "", "", "", "🦀", "z", ""]);
}

#[test]
fn what_may_become_a_stop_string_is_held_back_and_shown_if_it_does_not() {
    assert_eq!(
        pieces(&["END"], false, "xENDy"),
        (["x", "", "", ""].map(str::to_owned).into(), true)
    );
    assert_eq!(pieces(&["END"], true, "xEND").0.concat(), "xEND");
    assert_eq!(
        pieces(&["END"], false, "xENE").0,
        ["x", "", "", "EN", "E"].map(str::to_owned)
    );
    assert_eq!(pieces(&["END"], false, "xEN").0, ["x", "", "", "EN"].map(str::to_owned));
}

#[test]
fn tokens_without_text_add_nothing_and_cost_no_more_each_time() {
    let mut text = TextStream::new(Vec::new(), false);
    for _ in 0..100 {
        assert_eq!(text.push(256, &Bytes), Added::default());
    }
    assert_eq!(text.push(u32::from(b'a'), &Bytes).text, "a");
}

proptest! {
    #[test]
    fn pieces_add_up_to_the_text_before_the_first_stop_string(
        said in "[abé🦀]{0,24}", stops in prop::collection::vec("[abé🦀]{1,4}", 0..3)
    ) {
        let stops: Vec<&str> = stops.iter().map(String::as_str).collect();
        // The stop string that is complete first is the one that stops.
        let end = stops.iter().filter_map(|stop| Some(said.find(stop)? + stop.len())).min();
        let expected = match end {
            None => said.clone(),
            Some(end) => {
                let start = stops.iter().filter(|stop| said[..end].ends_with(**stop)).map(|stop| end - stop.len()).min();
                said[..start.expect("one ends here")].to_owned()
            }
        };
        let (pieces, stopped) = pieces(&stops, false, &said);
        prop_assert_eq!(pieces.concat(), expected);
        prop_assert_eq!(stopped, end.is_some());
    }

    #[test]
    fn any_bytes_come_out_as_they_would_at_once(said in prop::collection::vec(0..257u32, 0..40)) {
        let mut text = TextStream::new(Vec::new(), false);
        let mut shown = String::new();
        for token in &said {
            shown.push_str(&text.push(*token, &Bytes).text);
        }
        shown.push_str(&text.finish(&Bytes).text);
        // Only a long run of broken bytes may be shown otherwise than at once.
        prop_assert!(said.iter().any(|token| *token > 127) || shown == Bytes.decode(&said));
    }
}
