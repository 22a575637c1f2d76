//! A report as one HTML file without scripts, images or external fonts.
//!
//! All text from models and files is escaped, and the page's policy forbids loading or running anything.

use std::fmt::Write as _;

use super::{
    Completion, Curve, QuestionResult, Report,
    plot::{escaped, plot},
};

/// Most questions and prompts that are shown; the JSON has all.
const ROWS_MAX: usize = 2000;

/// Most characters of a text that are shown.
const CHARS_MAX: usize = 1200;

const STYLE: &str = include_str!("page.css");

/// Renders a report, with the loss curves of the runs that made its adapters.
pub fn html_page(report: &Report, curves: &[Curve]) -> String {
    let mut html = String::new();
    let base = escaped(&report.base);
    _ = write!(
        html,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>Evaluation of {base}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>Evaluation of {base}</h1>\n"
    );
    head(&mut html, report);
    standings(&mut html, report);
    runs(&mut html, curves);
    questions(&mut html, report);
    prompts(&mut html, report);
    html.push_str("</main>\n</body>\n</html>\n");
    html
}

fn head(html: &mut String, report: &Report) {
    let adapters = report
        .candidates
        .iter()
        .filter(|candidate| candidate.adapter.is_some())
        .count();
    let beside = match adapters {
        0 => "The base model alone".to_owned(),
        1 => "The base model beside one adapter".to_owned(),
        count => format!("The base model beside {count} adapters"),
    };
    let files: Vec<String> = report
        .files
        .iter()
        .map(|file| format!("<code>{}</code>", escaped(file)))
        .collect();
    _ = writeln!(html, "<p class=\"soft\">{beside}, on {}.</p>", files.join(", "));
}

fn standings(html: &mut String, report: &Report) {
    let asks = !report.questions.is_empty();
    html.push_str("<section>\n<h2>Standings</h2>\n<div class=\"card\"><table>\n<tr><th>Candidate</th>");
    if asks {
        html.push_str("<th>Exact answers</th><th class=\"n\">ROUGE-L</th>");
    }
    html.push_str("<th class=\"n\">Loss</th><th class=\"n\">Perplexity</th><th class=\"n\">Tokens</th></tr>\n");
    for candidate in &report.candidates {
        let short = candidate
            .adapter
            .as_deref()
            .map_or("base model", |hash| hash.get(..12).unwrap_or(hash));
        _ = write!(
            html,
            "<tr><td>{} <span class=\"soft\">{}</span></td>",
            escaped(&candidate.name),
            escaped(short)
        );
        if let (Some(share), Some(rouge_l)) = (candidate.exact_share, candidate.rouge_l) {
            let percent = 100.0 * share;
            _ = write!(
                html,
                "<td><span class=\"bar\"><i style=\"width:{percent:.1}%\"></i></span>{percent:.1} % \
                 <span class=\"soft\">{} of {}</span></td><td class=\"n\">{rouge_l:.3}</td>",
                candidate.exact, candidate.questions
            );
        }
        let (loss, tokens) = (candidate.loss, candidate.tokens);
        let perplexity = candidate.perplexity;
        let perplexity = match perplexity < 1e5 {
            true => format!("{perplexity:.2}"),
            false => format!("{perplexity:.2e}"),
        };
        _ = writeln!(
            html,
            "<td class=\"n\">{loss:.4}</td><td class=\"n\">{perplexity}</td><td class=\"n\">{tokens}</td></tr>"
        );
    }
    html.push_str("</table></div>\n</section>\n");
}

fn runs(html: &mut String, curves: &[Curve]) {
    let Some(picture) = plot(curves) else { return };
    html.push_str("<section>\n<h2>Training</h2>\n<div class=\"card plot\">\n<ul class=\"keys\">\n");
    for (index, curve) in curves.iter().enumerate() {
        let (name, class) = (escaped(&curve.name), index % 8);
        let key =
            |kind: &str| format!("<svg viewBox=\"0 0 22 10\"><path class=\"{kind} s{class}\" d=\"M0 5H22\"/></svg>");
        _ = writeln!(html, "<li>{}{name}, loss of each step</li>", key("line"));
        if !curve.validations.is_empty() {
            _ = writeln!(html, "<li>{}{name}, validation</li>", key("held"));
        }
    }
    _ = writeln!(html, "</ul>\n{picture}</div>\n</section>");
}

/// Filter of the rows of questions, in CSS alone.
const CHOICE: &str = "<p class=\"show\"><label><input type=\"radio\" name=\"show\" id=\"all\" checked>All</label>\
    <label><input type=\"radio\" name=\"show\" id=\"changed\">Candidates differ</label>\
    <label><input type=\"radio\" name=\"show\" id=\"wrong\">Wrong in the last column</label></p>\n";

fn questions(html: &mut String, report: &Report) {
    if report.questions.is_empty() {
        return;
    }
    html.push_str("<section>\n<h2>Questions</h2>\n");
    html.push_str(
        "<p class=\"soft\">Each answer is the likeliest token after another. It is exact if it differs from what was \
         expected in case, blanks and a final full stop at most.</p>\n",
    );
    html.push_str(CHOICE);
    rest(html, report.questions.len());
    html.push_str("<div class=\"card tall\"><table>\n<tr><th class=\"n\">#</th><th>Question</th><th>Expected</th>");
    for candidate in &report.candidates {
        _ = write!(html, "<th>{}</th>", escaped(&candidate.name));
    }
    html.push_str("</tr>\n");
    for (number, row) in (1..).zip(report.questions.iter().take(ROWS_MAX)) {
        question(html, number, row);
    }
    html.push_str("</table></div>\n</section>\n");
}

fn question(html: &mut String, number: usize, row: &QuestionResult) {
    let exact = |given: &Completion| given.score.is_exact;
    let mut classes = Vec::new();
    if row.answers.windows(2).all(|two| two[0].said == two[1].said) {
        classes.push("same");
    }
    if row.answers.last().is_some_and(exact) {
        classes.push("done");
    }
    let (asked, expected) = (shown(&row.question), shown(&row.expected));
    _ = write!(
        html,
        "<tr class=\"{}\"><td class=\"n soft\">{number}</td><td class=\"asked\">{asked}</td><td>{expected}</td>",
        classes.join(" ")
    );
    for given in &row.answers {
        let (class, mark) = if exact(given) {
            ("right", "✓")
        } else {
            ("wrong", "✗")
        };
        let (said, rouge_l, loss) = (shown(&given.said), given.score.rouge_l, given.loss);
        _ = write!(
            html,
            "<td class=\"said {class}\" title=\"ROUGE-L {rouge_l:.2}, loss of what was expected {loss:.3}\">\
             <span class=\"mark\">{mark}</span> {said}</td>"
        );
    }
    html.push_str("</tr>\n");
}

fn prompts(html: &mut String, report: &Report) {
    if report.prompts.is_empty() {
        return;
    }
    html.push_str("<section>\n<h2>Side by side</h2>\n<p class=\"soft\">How each goes on from the same words.</p>\n");
    rest(html, report.prompts.len());
    html.push_str("<div class=\"card tall\"><table>\n<tr><th>Prompt</th>");
    for candidate in &report.candidates {
        _ = write!(html, "<th>{}</th>", escaped(&candidate.name));
    }
    html.push_str("</tr>\n");
    for row in report.prompts.iter().take(ROWS_MAX) {
        _ = write!(html, "<tr><td class=\"pre\">{}</td>", shown(&row.prompt));
        for said in &row.said {
            _ = write!(html, "<td class=\"said\">{}</td>", shown(said));
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</table></div>\n</section>\n");
}

/// Says how many rows are not shown.
fn rest(html: &mut String, count: usize) {
    if count > ROWS_MAX {
        _ = writeln!(
            html,
            "<p class=\"soft\">The first {ROWS_MAX} of {count}; all are in the JSON beside this page.</p>"
        );
    }
}

/// Escapes and shortens text from outside.
fn shown(text: &str) -> String {
    let mut cut: String = text.chars().take(CHARS_MAX).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    escaped(&cut)
}
