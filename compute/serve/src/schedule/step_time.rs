//! An estimate of how long steps take, learnt from those that ran: it bounds by how much prompts delay the next tokens of
//! running completions.
//!
//! A step that decodes for *n* sequences takes about as long as the last such steps; each prompt token, and each byte of
//! an adapter that only prompts use, adds to that. All three are tracked by normalised least mean squares (Widrow and
//! Hoff, Adaptive Switching Circuits, 1960): the error of the estimate is distributed over what was in the step.
//!
//! A burst of prompts passes, and running completions should hardly notice it. Sustained load does not pass: if prompts
//! kept getting too short_since time, all would wait for their first token. So the allowance of prompts grows after a while,
//! until it is enough.

#![allow(
    clippy::float_arithmetic,
    reason = "what is learnt is a rate; what follows from it is a number of tokens"
)]

use std::time::Duration;

use protocol::Time;

/// Step size of the filter: the fraction of an error that is corrected at once.
const LEARNING_RATE: f64 = 0.3;
/// Weight of the decoding rows in distributing an error: small once they were seen alone, and growing by this factor with
/// every step that has more in it.
const ROW_WEIGHT_MIN: f64 = 0.02;
const ROW_WEIGHT_GROWTH: f64 = 1.02;
/// Decay per step of the estimate for more decoding rows than this step had: it is recent_tokens again now and then.
const MORE_ROWS_DECAY: f64 = 0.999;
/// Prompt tokens, and adapter bytes, that weigh as much in the filter as the decoding rows of a step.
const TOKENS_UNIT: f64 = 8.0;
const BYTES_UNIT: f64 = 32e6;
/// The next step tries at most this many times the prompt tokens of recent steps, and by how much "recent" decays per step:
/// one token teaches short_since, and a wrong guess with fifty delays everyone.
const TOKENS_GROWTH: f64 = 2.0;
const RECENT_DECAY: f64 = 0.8;

/// How long prompts get too short_since time before their allowance grows.
const BURST: Duration = Duration::from_secs(3);
/// After this long without a shortage, the next one counts as another burst.
const BURST_GAP: Duration = Duration::from_millis(500);
/// Seconds in which the allowance doubles during a shortage, and halves without one.
const DOUBLES_S: f64 = 1.0;
const HALVES_S: f64 = 8.0;
/// Largest factor of the allowance.
const LENIENCY_MAX: f64 = 1000.0;
/// Longest time between two plans that counts; a longer gap was a pause.
const GAP_MAX: Duration = Duration::from_secs(1);

/// The load of a step.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct StepLoad {
    /// Sequences that decode, one token each.
    pub decoding: usize,
    /// Prompt tokens.
    pub tokens: usize,
    /// Bytes of adapters that only prompts use.
    pub bytes: u64,
}

/// Estimated time of a step with a certain number of decoding rows.
#[derive(Clone, Copy, Debug)]
struct Estimate {
    us: f64,
    /// Weight of the rows in distributing an error, 0 to 1: 1 if they were never seen without prompts.
    weight: f64,
}

/// The estimates so far. All times are in microseconds.
#[derive(Debug)]
pub(super) struct StepTimeModel {
    /// Time of a step that decodes for one sequence, for two, and so on.
    decoding: Vec<Option<Estimate>>,
    /// Added time of `TOKENS_UNIT` prompt tokens; `None` before any were seen.
    tokens: Option<f64>,
    /// Added time of `BYTES_UNIT` adapter bytes.
    bytes: f64,
    /// Prompt tokens of recent steps that also decoded: a maximum that decays.
    recent_tokens: f64,
    /// The load of the running step, and its start.
    running: Option<(Time, StepLoad)>,
    /// Factor on the allowance of prompts, at least 1.
    leniency: f64,
    /// Start of the current shortage.
    short_since: Option<Time>,
    /// Time of the last plan, and of the last plan with a shortage.
    last_plan: Time,
    last_short: Time,
}

impl Default for StepTimeModel {
    fn default() -> Self {
        Self {
            decoding: Vec::new(),
            tokens: None,
            bytes: 0.0,
            recent_tokens: 0.0,
            running: None,
            leniency: 1.0,
            short_since: None,
            last_plan: Time(0),
            last_short: Time(0),
        }
    }
}

impl StepTimeModel {
    /// Factor on the time that prompts may add, at least 1.
    pub(super) fn leniency(&self) -> f64 {
        self.leniency
    }

    /// Records that a step was last_plan, and if prompts got too short_since time in it.
    pub(super) fn record_plan(&mut self, now: Time, too_short: bool) {
        let passed = now
            .since(std::mem::replace(&mut self.last_plan, now))
            .min(GAP_MAX)
            .as_secs_f64();
        if !too_short {
            self.leniency = (self.leniency * (-passed / HALVES_S).exp2()).max(1.0);
            if now.since(self.last_short) >= BURST_GAP {
                self.short_since = None;
            }
            return;
        }
        self.last_short = now;
        let since = *self.short_since.get_or_insert(now);
        if self.leniency > 1.0 || now.since(since) >= BURST {
            self.leniency = (self.leniency * (passed / DOUBLES_S).exp2()).min(LENIENCY_MAX);
        }
    }

    /// Estimated time of a step that decodes for this many sequences and does nothing else; `None` if nothing is known.
    pub(super) fn decode_us(&self, decoding: usize) -> Option<f64> {
        let before = self.decoding.get(..decoding).unwrap_or(&self.decoding);
        let behind = self.decoding.get(decoding.saturating_sub(1)..).unwrap_or_default();
        // Of as many rows, else of a few more, else of fewer.
        let mut known = behind.iter().flatten().chain(before.iter().rev().flatten());
        known.next().map(|seen| seen.us)
    }

    /// Rows, between `fair` and `most`, that a tenant may have beside the rows of others: more than `fair` as long as all of
    /// them together lengthen the others' step by at most `share` of it.
    pub(super) fn rows_beside(&self, others: usize, fair: usize, most: usize, share: f64) -> usize {
        // Of as many rows, else of fewer: an estimate for more rows does not say what the others would be spared.
        let fewer = self.decoding.get(..others).unwrap_or(&self.decoding);
        let Some(Estimate { us, .. }) = fewer.iter().rev().flatten().next() else {
            return fair.min(most);
        };
        let fits = |rows: &usize| {
            self.decode_us(others + rows)
                .is_some_and(|more| more <= us * (1.0 + share))
        };
        // More rows never take less time, whatever the estimates say.
        (fair..=most).take_while(fits).last().unwrap_or(fair.min(most))
    }

    /// Estimated time that prompt tokens and adapter bytes add to a step.
    pub(super) fn added_us(&self, tokens: usize, bytes: u64) -> f64 {
        self.tokens.unwrap_or(0.0) * tokens as f64 / TOKENS_UNIT + self.bytes * bytes as f64 / BYTES_UNIT
    }

    /// Number of prompt tokens that can be added within a time.
    pub(super) fn tokens_in(&self, us: f64) -> usize {
        let each = self.tokens.unwrap_or(0.0) / TOKENS_UNIT;
        let most = match us.is_finite() {
            true => TOKENS_GROWTH * (self.recent_tokens + 1.0),
            // Nothing is decoding.
            false => f64::INFINITY,
        };
        match us > 0.0 {
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "positive, and what is over the largest number becomes it"
            )]
            true => (us / each).min(most) as usize,
            false => 0,
        }
    }

    /// Records the start of a step.
    pub(super) fn begin(&mut self, now: Time, load: StepLoad) {
        self.running = Some((now, load));
    }

    /// Records the end of the step and learns from it.
    pub(super) fn ran(&mut self, now: Time) {
        let Some((
            began,
            StepLoad {
                decoding,
                tokens,
                bytes,
            },
        )) = self.running.take()
        else {
            return;
        };
        // A step that decodes nothing delays nobody, so its time is of no interest.
        let Some(at) = decoding.checked_sub(1) else { return };
        let took = now.since(began).as_secs_f64() * 1e6;
        if self.decoding.len() < decoding {
            self.decoding.resize(decoding, None);
        }
        let Some(base) = self.decode_us(decoding) else {
            // First guess: a prompt token takes as long as a decoding row. It never takes longer.
            let each = took / (decoding + tokens) as f64;
            self.set_estimate(decoding, each * decoding as f64, tokens == 0);
            self.tokens = Some(each * TOKENS_UNIT);
            return;
        };
        // A machine shared with others stalls now and then; a bounded error keeps that out of the estimates.
        let error = (took - base - self.added_us(tokens, bytes)).clamp(-base, base);
        let had = [tokens as f64 / TOKENS_UNIT, bytes as f64 / BYTES_UNIT];
        let weight = self.decoding[at].map_or(1.0, |seen| seen.weight);
        let learnt = LEARNING_RATE * error / (weight + had.iter().map(|had| had * had).sum::<f64>());
        self.set_estimate(decoding, (base + learnt * weight).max(0.0), tokens == 0);
        self.tokens = self.tokens.map(|each| (each + learnt * had[0]).max(0.0));
        self.bytes = (self.bytes + learnt * had[1]).max(0.0);
        if tokens > 0 {
            self.recent_tokens = (self.recent_tokens * RECENT_DECAY).max(tokens as f64);
        }
    }

    /// Sets the estimate for this many rows; `alone` if the step had no prompts.
    fn set_estimate(&mut self, decoding: usize, us: f64, alone: bool) {
        let (fewer, more) = self.decoding.split_at_mut(decoding);
        let seen = &mut fewer[decoding - 1];
        let weight = match alone {
            true => ROW_WEIGHT_MIN,
            false => (seen.map_or(1.0, |seen| seen.weight) * ROW_WEIGHT_GROWTH).min(1.0),
        };
        *seen = Some(Estimate { us, weight });
        if alone {
            let more = more.iter_mut().flatten();
            more.for_each(|seen| seen.us = (seen.us * MORE_ROWS_DECAY).max(us));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A device that takes so many microseconds for a step, 300 for a token of a prompt beyond the first three, and 0.05
    /// for a thousand bytes.
    fn took(load: StepLoad) -> u64 {
        10_000 + load.decoding as u64 * 100 + load.tokens.saturating_sub(3) as u64 * 300 + load.bytes / 20_000
    }

    fn run(pace: &mut StepTimeModel, now: &mut Time, load: StepLoad) {
        pace.begin(*now, load);
        now.0 += took(load);
        pace.ran(*now);
    }

    #[test]
    fn the_time_of_prompts_and_adapters_is_learnt_from_steps_that_have_them() {
        let (mut pace, mut now) = (StepTimeModel::default(), Time(0));
        assert_eq!(pace.decode_us(4), None);
        for round in 0..400 {
            let decoding = 1 + round % 4;
            let (tokens, bytes) = [(0, 0), (12, 0), (4, 8_000_000), (20, 1_000_000)][round / 4 % 4];
            run(
                &mut pace,
                &mut now,
                StepLoad {
                    decoding,
                    tokens,
                    bytes,
                },
            );
        }
        for load in [
            StepLoad {
                decoding: 4,
                tokens: 0,
                bytes: 0,
            },
            StepLoad {
                decoding: 2,
                tokens: 12,
                bytes: 0,
            },
            StepLoad {
                decoding: 3,
                tokens: 8,
                bytes: 4_000_000,
            },
        ] {
            let expected = pace.decode_us(load.decoding).expect("seen") + pace.added_us(load.tokens, load.bytes);
            let off = expected / took(load) as f64 - 1.0;
            assert!(off.abs() < 0.06, "{load:?}: off by {off}");
        }
        assert!((4..=12).contains(&pace.tokens_in(2000.0)), "{}", pace.tokens_in(2000.0));
    }

    #[test]
    fn the_allowance_of_prompts_grows_under_sustained_load_and_not_in_a_burst() {
        let (mut pace, mut now) = (StepTimeModel::default(), Time(0));
        let mut plan = |ms: u64, too_short: bool| {
            (0..ms / 10).for_each(|_| {
                now = now.after_ms(10);
                pace.record_plan(now, too_short);
            });
            pace.leniency()
        };
        for _ in 0..5 {
            assert_eq!(
                (plan(2_900, true), plan(700, false)),
                (1.0, 1.0),
                "storms, one after another"
            );
        }
        plan(3_000, true);
        let grown = plan(5_000, true);
        assert!((16.0..64.0).contains(&grown), "{grown}");
        assert!(plan(1_000, false) > grown / 2.0, "it is not taken back at once");
        assert!(plan(1_000, true) > grown, "nor is the next second another storm");
        assert_eq!(plan(100_000, false), 1.0);
    }

    #[test]
    fn one_stall_of_the_machine_does_not_spoil_the_estimates() {
        let (mut pace, mut now) = (StepTimeModel::default(), Time(0));
        let load = StepLoad {
            decoding: 4,
            tokens: 8,
            bytes: 0,
        };
        for _ in 0..50 {
            run(&mut pace, &mut now, StepLoad { tokens: 0, ..load });
            run(&mut pace, &mut now, load);
        }
        let before = pace.tokens_in(3000.0);
        pace.begin(now, load);
        now.0 += 2_000_000;
        pace.ran(now);
        (0..8).for_each(|_| run(&mut pace, &mut now, load));
        assert!(
            pace.tokens_in(3000.0) * 3 >= before * 2,
            "{} after {before}",
            pace.tokens_in(3000.0)
        );
    }
}
