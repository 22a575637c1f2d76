//! Checks GPU kernels without a GPU: compiles them for Hopper with NVRTC, and runs their C++ on this processor to compare
//! the results. NVRTC is a pinned Python package, installed below the target folder.
//!
//! If Python, the package or a C++ compiler is missing, the check is left out with a message, or fails with `require`. A
//! kernel that does not compile or gives a wrong result always fails. Clippy also runs with kernels here, because the
//! default build of the workspace has none.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use anyhow::{Context, Result, ensure};

use crate::{
    programs::{self, said},
    python,
};

/// The crates that run kernels. `serve` runs them through `compute` only.
const PACKAGES: [&str; 4] = ["--package", "compute", "--package", "train"];

/// Lints and compiles all kernels, then runs them.
pub(crate) fn run(require: bool) -> Result<()> {
    checks(require, &[Check::Lint, Check::Compile, Check::RunHere])
}

/// Lints and compiles all kernels. `cargo xtask campaign kernels` also runs them, which takes long.
pub(crate) fn compile_only(require: bool) -> Result<()> {
    checks(require, &[Check::Lint, Check::Compile])
}

#[derive(Clone, Copy)]
enum Check {
    Lint,
    Compile,
    RunHere,
}

fn checks(require: bool, checks: &[Check]) -> Result<()> {
    let begun = Instant::now();
    let root = programs::root().canonicalize()?;
    let folder = folder()?;
    let mut left_out = Vec::new();
    for check in checks {
        match check {
            Check::Compile => {
                let pins = root.join("compute/cube/scripts/requirements.txt");
                match python::with(&folder, &pins) {
                    Ok(python) => compile(&root, &folder, &python)?,
                    Err(why) => left_out.push(format!("compiling for GPUs: {why:#}")),
                }
            }
            Check::Lint => lint(&root)?,
            Check::RunHere => {
                let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".to_owned());
                match said(&compiler, &["--version"]) {
                    Some(_) => run_here(&root)?,
                    None => left_out.push(format!("running kernels here: there is no C++ compiler `{compiler}`")),
                }
            }
        }
    }
    for line in &left_out {
        eprintln!("kernels: left out {line}");
    }
    ensure!(
        !require || left_out.is_empty(),
        "some kernel checks were left out; install what they need, or run without --require"
    );
    let (checked, of) = (checks.len() - left_out.len(), checks.len());
    eprintln!(
        "kernels: {checked} of {of} checks done in {} s",
        begun.elapsed().as_secs()
    );
    Ok(())
}

/// Folder for NVRTC and the emitted kernels, in the target folder.
fn folder() -> Result<PathBuf> {
    let here = std::env::current_exe()?;
    let built = here
        .parent()
        .and_then(Path::parent)
        .context("this program lies in no target folder")?;
    Ok(built.join("kernels"))
}

/// Emits every kernel as CUDA C++ and compiles it with NVRTC.
fn compile(root: &Path, folder: &Path, python: &Path) -> Result<()> {
    let texts = folder.join("text");
    if texts.exists() {
        std::fs::remove_dir_all(&texts)?;
    }
    let mut command = cargo(root, "run");
    command
        .args(["--package", "cube", "--quiet", "--example", "emit", "--"])
        .arg(&texts);
    check(&mut command, "writing the kernels")?;
    let mut command = Command::new(python);
    let script = root.join("compute/cube/scripts/compile.py");
    check(
        command.arg(script).arg(&texts).arg(folder.join("report.txt")),
        "compiling the kernels",
    )
}

/// Runs clippy with the features that the default build leaves out.
fn lint(root: &Path) -> Result<()> {
    let mut command = cargo(root, "clippy");
    command.args(["--package", "cube"]).args(PACKAGES);
    check(
        command.args(["--all-targets", "--", "--deny", "warnings"]),
        "linting the kernels",
    )
}

/// Runs the kernels on this processor and compares their results.
fn run_here(root: &Path) -> Result<()> {
    // First inference and training kernels, then a whole decoder against reference logits.
    let own = [&PACKAGES[..], &["--lib", "gpu::"]].concat();
    for tests in [own, vec!["--package", "compute", "--test", "gpu"]] {
        check(cargo(root, "test").args(tests), "running the kernels here")?;
    }
    Ok(())
}

/// Cargo with the `host` feature. Compiling the emitted kernels takes the time, so the crates around them are not optimised.
fn cargo(root: &Path, verb: &str) -> Command {
    let mut command = programs::cargo();
    command
        .args(["--config", "profile.dev.package.compute.opt-level=0"])
        .args(["--config", "profile.dev.package.train.opt-level=0", verb])
        .args(["--features", "host", "--locked"])
        .current_dir(root);
    command
}

fn check(command: &mut Command, what: &str) -> Result<()> {
    let status = command.status().with_context(|| format!("could not start {what}"))?;
    ensure!(status.success(), "{what} failed");
    Ok(())
}
