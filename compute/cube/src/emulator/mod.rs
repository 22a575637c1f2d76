//! Kernels on the processor, for tests: their CUDA C++ compiled by the local C++ compiler, with a fiber for each
//! thread.
//!
//! The text is the one that NVRTC compiles, except for the declaration of shared memory. New memory holds NaN and
//! ends in guard bytes, so that a kernel that reads or writes what it should not is found. Cubes run one after
//! another; threads of a warp run at their own pace.

#![allow(
    unsafe_code,
    reason = "what a kernel's text becomes is called with pointers to its buffers"
)]

use std::{
    alloc::{Layout, alloc, dealloc, handle_alloc_error},
    collections::{BTreeMap, hash_map::DefaultHasher},
    ffi::c_void,
    fs,
    hash::{Hash, Hasher},
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use cubecl::{InfoBuilder, ir::AddressType};
use libloading::Library;

use crate::{
    Environment, Kernel, Machine, MachineError, Scalar,
    emit::{self, Text},
};

const ALIGN: usize = 256;
/// Guard bytes behind each buffer, which no kernel may change.
const GUARD: usize = 256;
const UNKNOWN: u8 = 0xff;
const SHIM: &str = include_str!("shim.h");

type Run = unsafe extern "C" fn(*mut *mut c_void, *const u32, *const u32, usize);

struct Memory {
    at: *mut u8,
    bytes: usize,
}

// SAFETY: a machine is used by one thread at a time, and memory by its machine alone.
unsafe impl Send for Memory {}
// SAFETY: the same.
unsafe impl Sync for Memory {}

impl Memory {
    fn layout(bytes: usize) -> Layout {
        Layout::from_size_align(bytes.next_multiple_of(ALIGN) + GUARD, ALIGN).expect("memory of a test is small")
    }

    fn new(bytes: usize) -> Self {
        let layout = Self::layout(bytes);
        // SAFETY: the layout has a size.
        let at = unsafe { alloc(layout) };
        if at.is_null() {
            handle_alloc_error(layout);
        }
        // SAFETY: it was just allocated with this size.
        unsafe { at.write_bytes(UNKNOWN, layout.size()) };
        Self { at, bytes }
    }

    fn guarded(&self) -> bool {
        let whole = Self::layout(self.bytes).size();
        // SAFETY: the allocation has this size.
        let after = unsafe { std::slice::from_raw_parts(self.at.add(self.bytes), whole - self.bytes) };
        after.iter().all(|byte| *byte == UNKNOWN)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: it was allocated with this layout.
        unsafe { dealloc(self.at, Self::layout(self.bytes)) }
    }
}

/// A buffer of [`Emulator`].
#[derive(Clone)]
pub struct Buffer {
    memory: Arc<Memory>,
    at: usize,
    bytes: usize,
}

struct Built {
    run: Run,
    shared_bytes: usize,
    _library: Library,
}

/// The processor in the place of a GPU.
pub struct Emulator {
    folder: PathBuf,
    environment: Environment,
    built: BTreeMap<Kernel, Built>,
    launches: BTreeMap<Kernel, u64>,
    failed: Option<MachineError>,
}

impl Emulator {
    /// Makes an emulator that keeps compiled kernels in a folder.
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            environment: emit::offline(),
            built: BTreeMap::new(),
            launches: BTreeMap::new(),
            failed: None,
        }
    }

    /// Returns the kernels that ran, with the number of launches.
    pub fn launches(&self) -> &BTreeMap<Kernel, u64> {
        &self.launches
    }

    /// Compiles a kernel, or loads the library that an earlier run made of the same text.
    fn build(&self, kernel: Kernel) -> Result<Built, String> {
        let text = emit::text(kernel, &self.environment)?;
        let source = translate(&text)?;
        let mut hasher = DefaultHasher::new();
        (&source, SHIM).hash(&mut hasher);
        let name = format!("{}-{:016x}", kernel.name(), hasher.finish());
        let library = self.folder.join(format!("{name}.so"));
        if !library.exists() {
            self.compile(&name, &source, &library)?;
        }
        // SAFETY: the library is what was compiled of our text, and has no initialisers that matter.
        let library = unsafe { Library::new(&library) }.map_err(|error| error.to_string())?;
        // SAFETY: the text ends with a function of this name and type.
        let run = unsafe { *library.get::<Run>(b"shim_run\0").map_err(|error| error.to_string())? };
        Ok(Built {
            run,
            shared_bytes: text.shared_bytes,
            _library: library,
        })
    }

    fn compile(&self, name: &str, source: &str, library: &Path) -> Result<(), String> {
        let io = |error: std::io::Error| format!("could not write {}: {error}", self.folder.display());
        fs::create_dir_all(&self.folder).map_err(io)?;
        // Tests run side by side: each compiles to a file of its own, and whichever is renamed last is as good as the
        // first.
        let own = format!("{name}-{}-{:?}", std::process::id(), std::thread::current().id());
        let own = own.replace(['(', ')'], "");
        let (text, made) = (
            self.folder.join(format!("{own}.cpp")),
            self.folder.join(format!("{own}.so")),
        );
        // The shim is inlined: as a file of its own another test's compiler could read it half written.
        fs::write(&text, format!("{SHIM}\n{source}")).map_err(io)?;
        let compiler = std::env::var_os("CXX").unwrap_or_else(|| "c++".into());
        let flags = [
            "-std=c++17",
            "-O1",
            "-fPIC",
            "-shared",
            "-fno-strict-aliasing",
            "-ffp-contract=off",
            "-w",
            "-o",
        ];
        let output = Command::new(&compiler)
            .args(flags)
            .arg(&made)
            .arg(&text)
            .output()
            .map_err(|error| format!("could not start {}: {error}", compiler.to_string_lossy()))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!(
                "{name} does not compile:\n{}",
                said.chars().take(2000).collect::<String>()
            ));
        }
        fs::rename(&made, library).map_err(io)?;
        fs::remove_file(&text).map_err(io)
    }

    fn try_launch(
        &mut self,
        kernel: Kernel,
        cubes: [u32; 3],
        buffers: &[&Buffer],
        scalars: &[Scalar],
    ) -> Result<(), String> {
        if !self.built.contains_key(&kernel) {
            let built = self.build(kernel)?;
            self.built.insert(kernel, built);
        }
        *self.launches.entry(kernel).or_default() += 1;
        let built = &self.built[&kernel];
        let mut info = InfoBuilder::default();
        for scalar in scalars {
            match scalar {
                Scalar::U32(number) => info.scalars.push(*number),
                Scalar::F32(number) => info.scalars.push(*number),
            }
        }
        buffers
            .iter()
            .for_each(|buffer| info.metadata.register_buffer(buffer.bytes as u64, AddressType::U32));
        let mut info = info.finish(AddressType::U32).data;
        // SAFETY: offsets are inside the memory.
        let mut arguments: Vec<*mut c_void> = buffers
            .iter()
            .map(|buffer| unsafe { buffer.memory.at.add(buffer.at) }.cast())
            .collect();
        arguments.push(info.as_mut_ptr().cast());
        let dim = kernel.threads();
        let dim = [dim.x, dim.y, dim.z];
        // SAFETY: the kernel takes these buffers and values, whose number its text was checked for.
        unsafe { (built.run)(arguments.as_mut_ptr(), cubes.as_ptr(), dim.as_ptr(), built.shared_bytes) };
        match buffers.iter().position(|buffer| !buffer.memory.guarded()) {
            Some(index) => Err(format!("{} writes behind its buffer {index}", kernel.name())),
            None => Ok(()),
        }
    }
}

/// Rewrites the text for the processor: shared memory comes from the shim, and a function runs the kernel for a grid.
fn translate(text: &Text) -> Result<String, String> {
    let mut source = text.source.clone();
    while let Some(start) = source.find("extern __shared__") {
        let end = start + source[start..].find(';').ok_or("shared memory without an end")?;
        let declared = &source[start..end];
        let name = declared.rsplit(' ').next().and_then(|name| name.strip_suffix("[]"));
        let name = name.ok_or("shared memory without a name")?.to_owned();
        source.replace_range(start..end, &format!("char *const {name} = shim::shared"));
    }
    let source: String = source
        .lines()
        .filter(|line| !line.starts_with("#include"))
        .fold(String::new(), |text, line| text + line + "\n");
    let entry = &text.entry;
    Ok(format!(
        "{source}\n\
         extern \"C\" void shim_run(void **arguments, const unsigned *cubes, const unsigned *dim, size_t shared_bytes) {{\n\
         shim::run(&shim::Caller<&{entry}>::call, arguments, cubes, dim, shared_bytes);\n}}\n"
    ))
}

impl Machine for Emulator {
    type Buffer = Buffer;

    fn class(&self) -> String {
        "host".to_owned()
    }

    fn empty(&mut self, bytes: u64) -> Buffer {
        let bytes = usize::try_from(bytes).expect("memory of a test is small");
        Buffer {
            memory: Arc::new(Memory::new(bytes)),
            at: 0,
            bytes,
        }
    }

    fn upload(&mut self, bytes: &[u8]) -> Buffer {
        let buffer = self.empty(bytes.len() as u64);
        self.write(&buffer, 0, bytes);
        buffer
    }

    fn part(&mut self, buffer: &Buffer, at: u64, bytes: u64) -> Buffer {
        let fit = |n: u64| usize::try_from(n).expect("memory of a test is small");
        let (at, bytes) = (fit(at), fit(bytes));
        assert!(
            at + bytes <= buffer.bytes && at.is_multiple_of(ALIGN),
            "a part lies inside, aligned"
        );
        Buffer {
            memory: Arc::clone(&buffer.memory),
            at: buffer.at + at,
            bytes,
        }
    }

    fn write(&mut self, buffer: &Buffer, at: u64, bytes: &[u8]) {
        let at = usize::try_from(at).expect("memory of a test is small");
        assert!(at + bytes.len() <= buffer.bytes, "what is written lies inside");
        // SAFETY: it was checked to lie inside, and nothing else refers to this memory now.
        unsafe {
            buffer
                .memory
                .at
                .add(buffer.at + at)
                .copy_from_nonoverlapping(bytes.as_ptr(), bytes.len())
        };
    }

    fn read(&mut self, buffer: &Buffer, bytes: u64) -> Result<Vec<u8>, MachineError> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let bytes = usize::try_from(bytes).expect("memory of a test is small");
        assert!(bytes <= buffer.bytes, "what is read lies inside");
        // SAFETY: it was checked to lie inside, and nothing writes it now.
        Ok(unsafe { std::slice::from_raw_parts(buffer.memory.at.add(buffer.at), bytes) }.to_vec())
    }

    fn launch(&mut self, kernel: Kernel, cubes: [u32; 3], buffers: &[&Buffer], scalars: &[Scalar]) {
        if self.failed.is_none()
            && let Err(why) = self.try_launch(kernel, cubes, buffers, scalars)
        {
            self.failed = Some(MachineError(why));
        }
    }
}
