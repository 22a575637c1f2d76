//! Writes every kernel as CUDA C++ into a folder: what `cargo xtask kernels` compiles.
//!
//! ```text
//! cargo run -p cube --features kernels --example emit -- FOLDER
//! ```

#![allow(clippy::print_stdout, reason = "a tool tells what it wrote")]

use std::{fs, path::PathBuf};

use cube::{Kernel, WIDTHS, emit};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = PathBuf::from(std::env::args_os().nth(1).ok_or("name a folder")?);
    fs::create_dir_all(&folder)?;
    let environment = emit::offline();
    let kernels = Kernel::every(&WIDTHS);
    for kernel in &kernels {
        let text = emit::text(*kernel, &environment)?;
        fs::write(folder.join(format!("{}.cu", kernel.name())), text.source)?;
    }
    println!("{} kernels", kernels.len());
    Ok(())
}
