//! This machine: cores, memory, and the instruction level of its processor.
//!
//! A value that cannot be read is `None` and is never guessed: the caller decides what to do then. GPUs are found in
//! [`crate::device`].

use std::{fmt, fs, thread};

/// Cores, memory and instructions that this process may use.
///
/// ```
/// let machine = compute::MachineInfo::probe();
/// assert!(machine.cores >= 1);
/// assert!(machine.memory.is_none_or(|memory| memory.available_bytes <= memory.total_bytes));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MachineInfo {
    /// Number of cores that this process may use, at least 1.
    pub cores: usize,
    /// Memory; `None` where the system does not tell.
    pub memory: Option<Memory>,
    pub cpu: CpuLevel,
}

/// Memory in bytes, within the limit that a control group sets on this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Physical memory, or the limit of the control group if that is lower.
    pub total_bytes: u64,
    /// Memory that could be taken now without swapping.
    pub available_bytes: u64,
}

/// The x86-64 feature levels of the psABI; programs are compiled, and kernels chosen, for one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CpuLevel {
    /// Not an x86-64 processor.
    Other,
    /// Any x86-64 processor.
    V1,
    /// With SSE4.2 and POPCNT.
    V2,
    /// With AVX2, FMA and BMI2.
    V3,
    /// With AVX-512 F, BW, CD, DQ and VL.
    V4,
}

impl fmt::Display for CpuLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Other => std::env::consts::ARCH,
            Self::V1 => "x86-64-v1",
            Self::V2 => "x86-64-v2",
            Self::V3 => "x86-64-v3",
            Self::V4 => "x86-64-v4",
        })
    }
}

impl MachineInfo {
    /// Reads `/proc/meminfo`, the control group's limits and the processor's features.
    pub fn probe() -> Self {
        let read = |path| fs::read_to_string(path).ok();
        let memory = read("/proc/meminfo").and_then(|text| Memory::from_meminfo(&text));
        let limit = read("/sys/fs/cgroup/memory.max").and_then(|text| text.trim().parse().ok());
        let used = read("/sys/fs/cgroup/memory.current").and_then(|text| text.trim().parse().ok());
        Self {
            cores: thread::available_parallelism().map_or(1, usize::from),
            memory: memory.map(|memory| memory.within(limit, used)),
            cpu: cpu_level(),
        }
    }
}

impl Memory {
    /// Parses the text of `/proc/meminfo`; `None` if a line is missing.
    fn from_meminfo(text: &str) -> Option<Self> {
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            let kib: u64 = line.strip_prefix(':')?.trim().strip_suffix("kB")?.trim().parse().ok()?;
            kib.checked_mul(1024)
        };
        Some(Self {
            total_bytes: value("MemTotal")?,
            available_bytes: value("MemAvailable")?,
        })
    }

    /// Applies the limit of a control group; a limit above the machine's memory changes nothing.
    fn within(self, limit: Option<u64>, used: Option<u64>) -> Self {
        let Some(limit) = limit.filter(|limit| *limit < self.total_bytes) else {
            return self;
        };
        let left = limit.saturating_sub(used.unwrap_or(0));
        Self {
            total_bytes: limit,
            available_bytes: self.available_bytes.min(left),
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn cpu_level() -> CpuLevel {
    use std::arch::is_x86_feature_detected as has;
    let v2 = has!("sse3") && has!("ssse3") && has!("sse4.1") && has!("sse4.2") && has!("popcnt");
    let v3 =
        has!("avx") && has!("avx2") && has!("bmi1") && has!("bmi2") && has!("fma") && has!("f16c") && has!("lzcnt");
    let v4 = has!("avx512f") && has!("avx512bw") && has!("avx512cd") && has!("avx512dq") && has!("avx512vl");
    match (v2, v3, v4) {
        (true, true, true) => CpuLevel::V4,
        (true, true, false) => CpuLevel::V3,
        (true, false, _) => CpuLevel::V2,
        (false, _, _) => CpuLevel::V1,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn cpu_level() -> CpuLevel {
    CpuLevel::Other
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMINFO: &str = "MemTotal:        8000 kB\nMemFree:         100 kB\nMemAvailable:    4000 kB\n";

    #[test]
    fn memory_is_read_from_meminfo() {
        let memory = Memory::from_meminfo(MEMINFO).unwrap();
        assert_eq!((memory.total_bytes, memory.available_bytes), (8000 << 10, 4000 << 10));
        for text in ["", "MemTotal: 1 kB\n", "MemTotal: x kB\nMemAvailable: 1 kB\n"] {
            assert_eq!(Memory::from_meminfo(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_limit_on_the_process_counts_and_one_above_the_machine_does_not() {
        let memory = Memory::from_meminfo(MEMINFO).unwrap();
        assert_eq!(memory.within(Some(u64::MAX), Some(1)), memory);
        let limited = memory.within(Some(1000 << 10), Some(600 << 10));
        assert_eq!((limited.total_bytes, limited.available_bytes), (1000 << 10, 400 << 10));
    }

    #[test]
    fn a_probe_finds_a_core_and_no_more_memory_available_than_there_is() {
        let machine = MachineInfo::probe();
        assert!(machine.cores >= 1);
        assert!(
            machine
                .memory
                .is_none_or(|memory| memory.available_bytes <= memory.total_bytes)
        );
    }
}
