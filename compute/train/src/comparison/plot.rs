//! Losses over steps as one SVG: a thin line for the loss of each step, dots for validations.

use std::fmt::Write as _;

use super::curve::Curve;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 34.0;

/// Most points of a line; a longer run is averaged to as many.
const POINTS: usize = 600;

/// The range of the axes.
struct Frame {
    steps: f64,
    low: f64,
    high: f64,
}

/// Draws the curves; `None` if none has a loss.
pub(super) fn plot(curves: &[Curve]) -> Option<String> {
    let frame = Frame::around(curves)?;
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"Loss of training and validation over steps\">\n"
    );
    frame.draw(&mut svg);
    for (index, curve) in curves.iter().enumerate() {
        let line = frame.path(&thinned(&curve.losses));
        _ = writeln!(svg, "<path class=\"line s{}\" d=\"{line}\"/>", index % 8);
    }
    for (index, curve) in curves.iter().enumerate() {
        let points: Vec<(f64, f64)> = curve
            .validations
            .iter()
            .map(|(step, loss)| (*step as f64, *loss))
            .filter(|point| point.1.is_finite())
            .collect();
        _ = writeln!(
            svg,
            "<path class=\"held s{}\" d=\"{}\"/>",
            index % 8,
            frame.path(&points)
        );
        for (step, loss) in points {
            let (x, y) = frame.place(step, loss);
            let said = format!("{}: validation {loss:.4} after step {step}", escaped(&curve.name));
            _ = writeln!(
                svg,
                "<circle class=\"s{}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"><title>{said}</title></circle>",
                index % 8
            );
        }
    }
    svg.push_str("</svg>\n");
    Some(svg)
}

impl Frame {
    fn around(curves: &[Curve]) -> Option<Self> {
        let losses = curves.iter().flat_map(|curve| {
            let held = curve.validations.iter().map(|(_, loss)| *loss);
            thinned(&curve.losses).into_iter().map(|(_, loss)| loss).chain(held)
        });
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for loss in losses.filter(|loss| loss.is_finite()) {
            (low, high) = (low.min(loss), high.max(loss));
        }
        if low > high {
            return None;
        }
        let last = |curve: &Curve| {
            let held = curve.validations.iter().map(|(step, _)| *step).max().unwrap_or(0);
            held.max(curve.losses.len() as u64)
        };
        let steps = curves.iter().map(last).max().unwrap_or(0).max(2) as f64;
        let step = stride(low, high, 5.0);
        Some(Self {
            steps,
            low: (low / step).floor() * step,
            high: ((high / step).ceil() * step).max((low / step).floor() * step + step),
        })
    }

    fn place(&self, step: f64, loss: f64) -> (f64, f64) {
        let x = LEFT + (step - 1.0) / (self.steps - 1.0) * (WIDTH - LEFT - RIGHT);
        let y = TOP + (self.high - loss) / (self.high - self.low) * (HEIGHT - TOP - BOTTOM);
        (x, y)
    }

    fn path(&self, points: &[(f64, f64)]) -> String {
        let mut path = String::new();
        for (step, loss) in points {
            let (x, y) = self.place(*step, *loss);
            _ = write!(path, "{}{x:.1} {y:.1}", if path.is_empty() { "M" } else { "L" });
        }
        path
    }

    /// Draws grid lines and labels.
    fn draw(&self, svg: &mut String) {
        for loss in ticks(self.low, self.high, 5.0) {
            let (_, y) = self.place(1.0, loss);
            let (end, text, below) = (WIDTH - RIGHT, LEFT - 8.0, y + 4.0);
            _ = writeln!(svg, "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{end}\"/>");
            _ = writeln!(
                svg,
                "<text x=\"{text}\" y=\"{below:.1}\" text-anchor=\"end\">{}</text>",
                short(loss)
            );
        }
        for step in ticks(1.0, self.steps, 8.0)
            .into_iter()
            .filter(|step| step.fract() == 0.0)
        {
            let (x, _) = self.place(step, self.low);
            let y = HEIGHT - BOTTOM + 18.0;
            _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\">{step}</text>");
        }
        let (x, y) = (WIDTH - RIGHT, HEIGHT - 2.0);
        _ = writeln!(svg, "<text x=\"{x}\" y=\"{y}\" text-anchor=\"end\">step</text>");
    }
}

/// Returns steps, from 1, and losses; of long runs the means of equal parts.
fn thinned(losses: &[f64]) -> Vec<(f64, f64)> {
    let each = losses.len().div_ceil(POINTS).max(1);
    let mean = |(index, part): (usize, &[f64])| {
        let step = (index * each) as f64 + (part.len() as f64 + 1.0) / 2.0;
        (step, part.iter().sum::<f64>() / part.len() as f64)
    };
    losses
        .chunks(each)
        .enumerate()
        .map(mean)
        .filter(|point| point.1.is_finite())
        .collect()
}

/// Returns 1, 2 or 5 times a power of ten, so that at most about `most` fit between `low` and `high`.
fn stride(low: f64, high: f64, most: f64) -> f64 {
    let raw = ((high - low) / most).max(1e-3);
    let ten = 10f64.powf(raw.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|times| times * ten)
        .find(|step| *step >= raw)
        .unwrap_or(10.0 * ten)
}

fn ticks(low: f64, high: f64, most: f64) -> Vec<f64> {
    let step = stride(low, high, most);
    let first = (low / step - 1e-9).ceil();
    let all = (0..32u32).map(|index| (first + f64::from(index)) * step);
    all.take_while(|tick| *tick <= high + step * 1e-6).collect()
}

/// Formats a number without trailing zeros.
fn short(number: f64) -> String {
    let text = format!("{number:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Escapes text for markup. Control characters, and those that reorder or hide text, become boxes.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => out.push('\u{25a1}'),
            c if c.is_control() && !matches!(c, '\n' | '\t') => out.push('\u{25a1}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round() {
        let shown = |low, high| ticks(low, high, 5.0).into_iter().map(short).collect::<Vec<_>>();
        assert_eq!(shown(0.0, 5.0), ["0", "1", "2", "3", "4", "5"]);
        assert_eq!(shown(2.31, 3.1), ["2.4", "2.6", "2.8", "3"]);
        assert_eq!(shown(1.0, 1.0).len(), 1);
    }

    #[test]
    fn a_long_run_keeps_its_ends_and_its_mean() {
        let losses: Vec<f64> = (0..10_000).map(f64::from).collect();
        let points = thinned(&losses);
        assert!(points.len() <= POINTS);
        assert!(points[0].1 < 20.0 && points[points.len() - 1].1 > 9980.0);
    }

    #[test]
    fn runs_without_a_loss_are_no_picture() {
        assert_eq!(plot(&[]), None);
        let broken = Curve {
            losses: vec![f64::NAN],
            ..Curve::default()
        };
        assert_eq!(plot(&[broken]), None);
        let one = Curve {
            losses: vec![1.0],
            ..Curve::default()
        };
        let svg = plot(&[one]).unwrap();
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}
