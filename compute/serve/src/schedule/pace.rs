//! How long steps take, learnt from those that ran: so that prompts make the answers of others later by no more than they
//! may.
//!
//! A step that goes on with so many answers takes about what the last such steps took; every token of a prompt, and every
//! byte of an adapter that none of the answers uses, adds to that. All three are followed by normalised least mean squares
//! (Widrow and Hoff, Adaptive Switching Circuits, 1960): what a step took beyond what was expected is spread over what it
//! had in it.
//!
//! A storm passes, and who is answered should hardly notice it. Load does not: if prompts went on having too little, all
//! would wait for their first token and nobody would be answered. So after a while they may take more, until it is enough.

#![allow(
    clippy::float_arithmetic,
    reason = "what is learnt is a rate; what follows from it is a number of tokens"
)]

use std::time::Duration;

use protocol::Time;

/// How much of a surprise is believed at once.
const BELIEF: f64 = 0.3;
/// How much of it is what the answers do, once they were seen alone, and how that grows with every step that has more in it.
const DOUBT: f64 = 0.02;
const DOUBTS: f64 = 1.02;
/// What is left, after another step, of what more answers than it had were seen to take: it is tried again now and then.
const STALE: f64 = 0.999;
/// Tokens, and bytes, that weigh in learning what all answers of a step do.
const TOKENS: f64 = 8.0;
const BYTES: f64 = 32e6;
/// How many times as many tokens as the last steps had are tried in the next, and how much fewer the last ones had after a
/// step: of one token little is learnt, and a step with fifty tells everyone that it was wrong.
const BOLDNESS: f64 = 2.0;
const FORGETS: f64 = 0.8;

/// How long prompts have too little before they may take more.
const STORM: Duration = Duration::from_secs(3);
/// Without having too little for so long, the next time is another storm.
const CALM: Duration = Duration::from_millis(500);
/// Seconds in which what they may take doubles while it is too little, and halves while it is enough.
const DOUBLES_S: f64 = 1.0;
const HALVES_S: f64 = 8.0;
/// How many times as much they may take in the end.
const LENIENCY_MAX: f64 = 1000.0;
/// Between two plans; what is longer was a pause.
const GAP_MAX: Duration = Duration::from_secs(1);

/// What a step has in it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mixture {
    /// Answers that go on by a token.
    pub answers: usize,
    /// Tokens of prompts.
    pub tokens: usize,
    /// Bytes of adapters that only prompts use.
    pub bytes: u64,
}

/// What so many answers take.
#[derive(Clone, Copy, Debug)]
struct Seen {
    us: f64,
    /// How much of a surprise may be theirs, where tokens and bytes are there to take it too. From 0 to 1: all of it when
    /// they were never seen alone.
    doubt: f64,
}

/// What was learnt so far. All times are in microseconds.
#[derive(Debug)]
pub(super) struct Pace {
    /// Of a step that goes on with one answer, with two, and so on.
    answers: Vec<Option<Seen>>,
    /// Of `TOKENS` tokens. Before any were seen, as many answers.
    tokens: Option<f64>,
    /// Of `BYTES` bytes.
    bytes: f64,
    /// How many tokens the last steps with answers had.
    tried: f64,
    /// The step that runs, and since when.
    running: Option<(Time, Mixture)>,
    /// How many times as much as in a storm prompts may take.
    leniency: f64,
    /// Since when prompts have too little, now and then at least.
    little: Option<Time>,
    /// The last plan, and the last with too little.
    planned: Time,
    missed: Time,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            answers: Vec::new(),
            tokens: None,
            bytes: 0.0,
            tried: 0.0,
            running: None,
            leniency: 1.0,
            little: None,
            planned: Time(0),
            missed: Time(0),
        }
    }
}

impl Pace {
    /// How many times as much as in a storm prompts may take.
    pub(super) fn leniency(&self) -> f64 {
        self.leniency
    }

    /// A step was planned, with as much for prompts as they wanted or with too little.
    pub(super) fn wanted(&mut self, now: Time, too_little: bool) {
        let passed = now
            .since(std::mem::replace(&mut self.planned, now))
            .min(GAP_MAX)
            .as_secs_f64();
        if !too_little {
            self.leniency = (self.leniency * (-passed / HALVES_S).exp2()).max(1.0);
            if now.since(self.missed) >= CALM {
                self.little = None;
            }
            return;
        }
        self.missed = now;
        let since = *self.little.get_or_insert(now);
        if self.leniency > 1.0 || now.since(since) >= STORM {
            self.leniency = (self.leniency * (passed / DOUBLES_S).exp2()).min(LENIENCY_MAX);
        }
    }

    /// What a step with so many answers and nothing else would take, if any such was ever seen.
    pub(super) fn answers_us(&self, answers: usize) -> Option<f64> {
        let before = self.answers.get(..answers).unwrap_or(&self.answers);
        let behind = self.answers.get(answers.saturating_sub(1)..).unwrap_or_default();
        // Those of as many, else of a few more, else of fewer.
        let mut known = behind.iter().flatten().chain(before.iter().rev().flatten());
        known.next().map(|seen| seen.us)
    }

    /// Rows that somebody may have, between `fair` and `most`, beside those of others: more than `fair` as long as all of
    /// them lengthen the others' step by no more than a share of it.
    pub(super) fn rows_beside(&self, others: usize, fair: usize, most: usize, share: f64) -> usize {
        // Of as many, else of fewer: from more it does not follow what they would be spared.
        let fewer = self.answers.get(..others).unwrap_or(&self.answers);
        let Some(Seen { us, .. }) = fewer.iter().rev().flatten().next() else {
            return fair.min(most);
        };
        let fits = |rows: &usize| {
            self.answers_us(others + rows)
                .is_some_and(|more| more <= us * (1.0 + share))
        };
        // Fewer never take longer, whatever was thought of more.
        (fair..=most).take_while(fits).last().unwrap_or(fair.min(most))
    }

    /// What such a part of a step adds to it.
    pub(super) fn added_us(&self, tokens: usize, bytes: u64) -> f64 {
        self.tokens.unwrap_or(0.0) * tokens as f64 / TOKENS + self.bytes * bytes as f64 / BYTES
    }

    /// How many tokens may be added in a time.
    pub(super) fn tokens_in(&self, us: f64) -> usize {
        let each = self.tokens.unwrap_or(0.0) / TOKENS;
        let most = match us.is_finite() {
            true => BOLDNESS * (self.tried + 1.0),
            // Nobody is answering.
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

    /// A step begins.
    pub(super) fn begin(&mut self, now: Time, mixture: Mixture) {
        self.running = Some((now, mixture));
    }

    /// It ran.
    pub(super) fn ran(&mut self, now: Time) {
        let Some((began, Mixture { answers, tokens, bytes })) = self.running.take() else {
            return;
        };
        // Without answers nobody is kept waiting, and whatever prompts take is well.
        let Some(at) = answers.checked_sub(1) else { return };
        let took = now.since(began).as_secs_f64() * 1e6;
        if self.answers.len() < answers {
            self.answers.resize(answers, None);
        }
        let Some(base) = self.answers_us(answers) else {
            // As if a token of a prompt took as long as one of an answer. It takes no longer.
            let each = took / (answers + tokens) as f64;
            self.seen(answers, each * answers as f64, tokens == 0);
            self.tokens = Some(each * TOKENS);
            return;
        };
        // A machine that others use stops now and then: that says nothing about what was in the step.
        let surprise = (took - base - self.added_us(tokens, bytes)).clamp(-base, base);
        let had = [tokens as f64 / TOKENS, bytes as f64 / BYTES];
        let doubt = self.answers[at].map_or(1.0, |seen| seen.doubt);
        let learnt = BELIEF * surprise / (doubt + had.iter().map(|had| had * had).sum::<f64>());
        self.seen(answers, (base + learnt * doubt).max(0.0), tokens == 0);
        self.tokens = self.tokens.map(|each| (each + learnt * had[0]).max(0.0));
        self.bytes = (self.bytes + learnt * had[1]).max(0.0);
        if tokens > 0 {
            self.tried = (self.tried * FORGETS).max(tokens as f64);
        }
    }

    /// So many answers take so long, alone or not.
    fn seen(&mut self, answers: usize, us: f64, alone: bool) {
        let (fewer, more) = self.answers.split_at_mut(answers);
        let seen = &mut fewer[answers - 1];
        let doubt = match alone {
            true => DOUBT,
            false => (seen.map_or(1.0, |seen| seen.doubt) * DOUBTS).min(1.0),
        };
        *seen = Some(Seen { us, doubt });
        if alone {
            let more = more.iter_mut().flatten();
            more.for_each(|seen| seen.us = (seen.us * STALE).max(us));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A device that takes so many microseconds for a step, 300 for a token of a prompt beyond the first three, and 0.05
    /// for a thousand bytes.
    fn took(mixture: Mixture) -> u64 {
        10_000 + mixture.answers as u64 * 100 + mixture.tokens.saturating_sub(3) as u64 * 300 + mixture.bytes / 20_000
    }

    fn run(pace: &mut Pace, now: &mut Time, mixture: Mixture) {
        pace.begin(*now, mixture);
        now.0 += took(mixture);
        pace.ran(*now);
    }

    #[test]
    fn what_prompts_and_adapters_add_is_learnt_from_steps_that_had_them() {
        let (mut pace, mut now) = (Pace::default(), Time(0));
        assert_eq!(pace.answers_us(4), None);
        for round in 0..400 {
            let answers = 1 + round % 4;
            let (tokens, bytes) = [(0, 0), (12, 0), (4, 8_000_000), (20, 1_000_000)][round / 4 % 4];
            run(&mut pace, &mut now, Mixture { answers, tokens, bytes });
        }
        for mixture in [
            Mixture {
                answers: 4,
                tokens: 0,
                bytes: 0,
            },
            Mixture {
                answers: 2,
                tokens: 12,
                bytes: 0,
            },
            Mixture {
                answers: 3,
                tokens: 8,
                bytes: 4_000_000,
            },
        ] {
            let expected =
                pace.answers_us(mixture.answers).expect("seen") + pace.added_us(mixture.tokens, mixture.bytes);
            let off = expected / took(mixture) as f64 - 1.0;
            assert!(off.abs() < 0.06, "{mixture:?}: off by {off}");
        }
        assert!((4..=12).contains(&pace.tokens_in(2000.0)), "{}", pace.tokens_in(2000.0));
    }

    #[test]
    fn a_storm_is_sat_out_and_load_is_not() {
        let (mut pace, mut now) = (Pace::default(), Time(0));
        let mut plan = |ms: u64, too_little: bool| {
            (0..ms / 10).for_each(|_| {
                now = now.after_ms(10);
                pace.wanted(now, too_little);
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
    fn a_machine_that_stopped_once_is_not_thought_slow() {
        let (mut pace, mut now) = (Pace::default(), Time(0));
        let mixture = Mixture {
            answers: 4,
            tokens: 8,
            bytes: 0,
        };
        for _ in 0..50 {
            run(&mut pace, &mut now, Mixture { tokens: 0, ..mixture });
            run(&mut pace, &mut now, mixture);
        }
        let before = pace.tokens_in(3000.0);
        pace.begin(now, mixture);
        now.0 += 2_000_000;
        pace.ran(now);
        (0..8).for_each(|_| run(&mut pace, &mut now, mixture));
        assert!(
            pace.tokens_in(3000.0) * 3 >= before * 2,
            "{} after {before}",
            pace.tokens_in(3000.0)
        );
    }
}
