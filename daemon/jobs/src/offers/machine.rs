//! The machine and the base models that an offer announces.

use compute::{MachineInfo, device, model::Store};
use protocol::{
    BlobHash,
    message::announce::{BASES_MAX, Device, Machine},
};

use super::WorkError;
use base::home::Home;

/// Describes the device, threads and memory, within the limits set on this process.
pub(super) fn probe() -> Machine {
    let device = match device::probe().first() {
        Some(device::Device::Cuda(_)) => Device::Cuda,
        Some(device::Device::Cpu) | None => Device::Cpu,
    };
    let host = MachineInfo::probe();
    // 0 means unknown.
    let memory_gib = host.memory.map_or(0, |memory| memory.total_bytes >> 30);
    Machine {
        device,
        threads: u16::try_from(host.cores).unwrap_or(u16::MAX),
        memory_gib: u16::try_from(memory_gib).unwrap_or(u16::MAX),
    }
}

/// Hashes of the base models stored in the home.
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

/// Name of a device on the command line.
pub(super) fn device_name(device: Device) -> String {
    match device {
        Device::Cpu => "cpu",
        Device::Cuda => "cuda",
    }
    .to_owned()
}
