//! What work would be done with: the device, the processor, the memory, and the base models that are here.

use std::fs;

use compute::{device, model::Store};
use protocol::{
    BlobHash,
    message::announce::{BASES_MAX, Device, Machine},
};

use super::WorkError;
use base::home::Home;

/// What computes here.
pub(super) fn found() -> Machine {
    let device = match device::probe().first() {
        Some(device::Place::Cuda(_)) => Device::Cuda,
        Some(device::Place::Cpu) | None => Device::Cpu,
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    Machine {
        device,
        threads: u16::try_from(threads).unwrap_or(u16::MAX),
        memory_gib: memory_gib(),
    }
}

/// Only Linux tells; elsewhere it is not known, which is 0.
fn memory_gib() -> u16 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib: u64 = line
        .and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok())
        .unwrap_or(0);
    u16::try_from(kib >> 20).unwrap_or(u16::MAX)
}

/// Base models that are here, by their content.
pub(super) fn bases(home: &Home) -> Result<Vec<BlobHash>, WorkError> {
    if !home.models().is_dir() {
        return Ok(Vec::new());
    }
    let mut bases: Vec<_> = Store::open(&home.models())?
        .list()?
        .into_iter()
        .map(|stored| stored.hash)
        .collect();
    bases.truncate(BASES_MAX);
    Ok(bases)
}

/// A device as people write it.
pub(super) fn device_name(device: Device) -> String {
    match device {
        Device::Cpu => "cpu",
        Device::Cuda => "cuda",
    }
    .to_owned()
}
