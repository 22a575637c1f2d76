use super::*;
use crate::kernel::{
    Level,
    math::{rms_norm, rotate, silu_times},
};

fn ramp(count: usize, low: f32, high: f32) -> Vec<f32> {
    // Neighbouring numbers differ: a stride through the range.
    (0..count)
        .map(|i| low + (high - low) * ((i * 7 + 3) % count) as f32 / count as f32)
        .collect()
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|x| f64::from(*x)).collect()
}

/// The gradient of `Σ d · f(x)` by central differences in doubles.
fn slopes(x: &[f64], d: &[f32], f: impl Fn(&[f64]) -> Vec<f64>) -> Vec<f64> {
    let along = |x: &[f64]| -> f64 { f(x).iter().zip(d).map(|(y, d)| y * f64::from(*d)).sum() };
    (0..x.len())
        .map(|i| {
            let (mut low, mut high) = (x.to_vec(), x.to_vec());
            (low[i], high[i]) = (x[i] - 1e-5, x[i] + 1e-5);
            (along(&high) - along(&low)) / 2e-5
        })
        .collect()
}

fn near(ours: &[f32], exact: &[f64], what: &str) {
    let most = exact.iter().fold(1e-3f64, |a, b| a.max(b.abs()));
    for (a, b) in ours.iter().zip(exact) {
        assert!((f64::from(*a) - b).abs() < 2e-6 * most, "{what}: {a} for {b}");
    }
}

#[test]
fn elementwise_gradients_are_the_slopes_of_their_kernels_at_every_length_and_level() {
    for count in [2, 16, 18, 50] {
        let (x, d) = (ramp(count, -2.0, 3.0), ramp(count, 1.0, -0.5));
        let (gain, up) = (ramp(count, 0.5, 1.5), ramp(count, -1.0, 2.0));
        let rms = |x: &[f64], gain: &[f32]| -> Vec<f64> {
            let mean = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64 + 1e-5;
            x.iter()
                .zip(gain)
                .map(|(x, g)| x / mean.sqrt() * f64::from(*g))
                .collect()
        };
        let silu = |x: f64| x / (1.0 + (-x).exp());
        let normed = slopes(&wide(&x), &d, |x| rms(x, &gain));
        let gated = slopes(&wide(&x), &d, |x| {
            x.iter().zip(&up).map(|(x, up)| silu(*x) * f64::from(*up)).collect()
        });
        let upped = slopes(&wide(&up), &d, |up| {
            x.iter().zip(up).map(|(x, up)| silu(f64::from(*x)) * up).collect()
        });
        let gained = slopes(&wide(&gain), &d, |gain| {
            let ones = rms(&wide(&x), &vec![1.0; count]);
            ones.iter().zip(gain).map(|(x, g)| x * g).collect()
        });
        let mut first: Option<Vec<u32>> = None;
        for level in Level::available() {
            let mut dx = vec![0.0; count];
            rms_norm_backward(level, &x, &gain, 1e-5, &d, &mut dx);
            near(&dx, &normed, "norm");
            let mut dgain = vec![0.0; count];
            rms_norm_gain(level, &x, 1e-5, &d, &mut dgain);
            near(&dgain, &gained, "gain");
            let (mut gate, mut high) = (x.clone(), up.clone());
            silu_times_backward(level, &mut gate, &mut high, &d);
            near(&gate, &gated, "gate");
            near(&high, &upped, "up");
            let all = dx.iter().chain(&dgain).chain(&gate).chain(&high);
            let bits: Vec<u32> = all.map(|x| x.to_bits()).collect();
            assert_eq!(first.get_or_insert_with(|| bits.clone()), &bits, "{level:?}");
        }
        // The kernels whose gradients these are.
        let (mut y, mut z) = (vec![0.0; count], x.clone());
        rms_norm(Level::detect(), &x, &gain, 1e-5, &mut y);
        silu_times(Level::detect(), &mut z, &up);
        near(&y, &rms(&wide(&x), &gain), "norm forth");
    }
}

#[test]
fn cross_entropy_is_the_likelihood_and_its_gradient() {
    for count in [3, 16, 77] {
        let logits = ramp(count, -9.0, 6.0);
        let loss = |x: &[f64]| x.iter().map(|x| x.exp()).sum::<f64>().ln() - x[1];
        let exact = slopes(&wide(&logits), &[0.25], |x| vec![loss(x)]);
        for level in Level::available() {
            let mut d = logits.clone();
            let ours = cross_entropy(level, &mut d, 1, 0.25);
            assert!((ours - loss(&wide(&logits))).abs() < 1e-6, "{ours}");
            near(&d, &exact, "logits");
        }
    }
    let mut broken = vec![0.0, f32::NAN, 1.0];
    assert!(cross_entropy(Level::detect(), &mut broken, 0, 1.0).is_nan());
}

#[test]
fn the_rope_gradient_undoes_the_rotation() {
    let (cos, sin) = ([0.6, 0.28], [0.8, -0.96]);
    let mut head = [1.0, 2.0, 3.0, -4.0];
    rotate(&mut head, &cos, &sin);
    rotate_backward(&mut head, &cos, &sin);
    near(&head, &[1.0, 2.0, 3.0, -4.0], "rotation");
}
