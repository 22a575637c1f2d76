//! Writes sample datanets or a corpus to files. Run as `cargo xtask world`.

use std::{
    fs,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use world::{Datanets, FACTS, Format, MARKER_FILE, Plan, SAMPLE_SEED};

/// Write sample data about an invented world: datanets of eight contributors with exam questions, or a pre-training
/// corpus
#[derive(Parser)]
#[command(name = "cargo xtask world", after_help = EXAMPLES)]
struct Args {
    /// Seed of the world; the same seed writes the same bytes
    #[arg(long, default_value_t = SAMPLE_SEED)]
    seed: u64,
    /// Folder for the datanets: new, empty, or written by this program before. With --corpus, a new file
    #[arg(long, value_name = "PATH")]
    out: PathBuf,
    /// Write a corpus of about this many bytes instead of datanets; 16M and 500k are accepted
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    corpus: Option<u64>,
    /// Corpus format: one JSON object per line, or text with <|end|> between documents
    #[arg(long, value_enum, default_value = "jsonl", requires = "corpus")]
    format: FormatArg,
    /// Facts per witness, 12 to 24
    #[arg(long, default_value_t = Plan::default().facts, conflicts_with = "corpus")]
    facts: usize,
}

const EXAMPLES: &str = "\
Examples:
  cargo xtask world --out /tmp/datanets
  cargo xtask world --seed 11 --facts 16 --out /tmp/other
  cargo xtask world --corpus 12M --format text --out /tmp/corpus.txt";

#[derive(Clone, Copy, ValueEnum)]
enum FormatArg {
    Jsonl,
    Text,
}

fn main() -> Result<()> {
    let args = Args::parse();
    match args.corpus {
        Some(bytes) => corpus(&args, bytes),
        None => datanets(&args),
    }
}

fn datanets(args: &Args) -> Result<()> {
    ensure!(
        FACTS.contains(&args.facts),
        "--facts {} is outside {} to {}",
        args.facts,
        FACTS.start(),
        FACTS.end()
    );
    claim(&args.out)?;
    let plan = Plan {
        facts: args.facts,
        ..Plan::default()
    };
    let files = Datanets::with(args.seed, plan).files();
    // The marker is written first and again, complete, at the end: the next run may overwrite the folder of an
    // interrupted one.
    fs::write(args.out.join(MARKER_FILE), "{}\n")
        .with_context(|| format!("could not write to {}", args.out.display()))?;
    for file in &files {
        let path = args.out.join(&file.path);
        let folder = path.parent().expect("a file lies in a folder");
        fs::create_dir_all(folder).with_context(|| format!("could not make {}", folder.display()))?;
        fs::write(&path, &file.text).with_context(|| format!("could not write {}", path.display()))?;
    }
    let bytes: usize = files.iter().map(|file| file.text.len()).sum();
    eprintln!(
        "{} files, {bytes} bytes, seed {}: {}",
        files.len(),
        args.seed,
        args.out.display()
    );
    Ok(())
}

/// Creates the output folder, or refuses one whose files this program did not write.
fn claim(out: &Path) -> Result<()> {
    ensure!(
        !out.is_file(),
        "{} is a file; --out names a folder for datanets",
        out.display()
    );
    fs::create_dir_all(out).with_context(|| format!("could not make {}", out.display()))?;
    let mut entries = fs::read_dir(out).with_context(|| format!("could not read {}", out.display()))?;
    ensure!(
        entries.next().is_none() || out.join(MARKER_FILE).is_file(),
        "{} is not empty and has no {MARKER_FILE}: it is not from here; name a new folder",
        out.display()
    );
    Ok(())
}

#[expect(clippy::disallowed_types, reason = "the program writes files; the library has none")]
fn corpus(args: &Args, bytes: u64) -> Result<()> {
    let out = &args.out;
    ensure!(!out.exists(), "{} exists; --corpus writes a new file", out.display());
    let format = match args.format {
        FormatArg::Jsonl => Format::Jsonl,
        FormatArg::Text => Format::Text,
    };
    let wrong = || format!("could not write {}", out.display());
    let mut file = BufWriter::new(fs::File::create(out).with_context(wrong)?);
    let written = world::write_corpus(args.seed, bytes, format, &mut file).with_context(wrong)?;
    file.flush().with_context(wrong)?;
    eprintln!("{written} bytes, seed {}: {}", args.seed, out.display());
    Ok(())
}

/// Parses a number of bytes with an optional `k`, `M` or `G` (powers of 1000).
fn bytes(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.char_indices().last() {
        Some((at, 'k')) => (&text[..at], 1_000),
        Some((at, 'M')) => (&text[..at], 1_000_000),
        Some((at, 'G')) => (&text[..at], 1_000_000_000),
        _ => (text, 1),
    };
    let count: u64 = digits
        .parse()
        .map_err(|_| format!("{text} is no number of bytes; write 12000000 or 12M"))?;
    count
        .checked_mul(unit)
        .ok_or_else(|| format!("{text} is too many bytes"))
}
