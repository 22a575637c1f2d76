//! Pythons of our own beside what is built, with the packages that a file pins.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::programs::{once, quietly, said};

/// The Python of a folder with the packages of `pins`, installed once for the same pins.
pub(crate) fn with(folder: &Path, pins: &Path) -> Result<PathBuf> {
    said("python3", &["--version"]).context("python3 is not installed")?;
    std::fs::create_dir_all(folder).with_context(|| format!("could not create {}", folder.display()))?;
    let venv = folder.join("venv");
    let program = venv.join("bin/python");
    once(&venv.join("installed"), pins, || {
        quietly(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
        quietly(Command::new(&program).args(pip).arg("--requirement").arg(pins))
    })?;
    Ok(program)
}
