"""Compiles kernels for Hopper with NVRTC, which needs neither a driver nor a GPU, and reads what each takes of one.

    python compile.py FOLDER [REPORT]

FOLDER holds the `.cu` files that `cargo run -p cube --features kernels --example emit -- FOLDER` wrote; REPORT becomes
a table of registers, shared memory and spilt bytes. It fails with the first kernel that does not compile, and where one keeps an
array of a thread in local memory.
"""

import ctypes
import glob
import os
import struct
import sys
import sysconfig

ARCHITECTURE = "sm_90a"
# A few words that the compiler moves out of registers to fit more threads cost nothing; an array there costs everything.
FRAME_BYTES_MAX = 32


def library():
    """NVRTC and the folder of its headers, from the packages of this Python."""
    root = os.path.join(sysconfig.get_paths()["purelib"], "nvidia")
    found = sorted(glob.glob(root + "/*/lib/libnvrtc.so.*"))
    if not found:
        sys.exit("nvidia-cuda-nvrtc is not installed in this Python")
    folder = os.path.dirname(os.path.dirname(found[-1]))
    for builtins in glob.glob(folder + "/lib/libnvrtc-builtins.so*"):
        ctypes.CDLL(builtins, mode=ctypes.RTLD_GLOBAL)
    return ctypes.CDLL(found[-1]), folder + "/include"


def text(nvrtc, program, what):
    size = ctypes.c_size_t()
    getattr(nvrtc, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
    buffer = ctypes.create_string_buffer(size.value)
    getattr(nvrtc, f"nvrtcGet{what}")(program, buffer)
    return buffer.raw


def compile_one(nvrtc, include, path):
    with open(path, "rb") as file:
        source = file.read()
    program = ctypes.c_void_p()
    assert nvrtc.nvrtcCreateProgram(ctypes.byref(program), source, os.path.basename(path).encode(), 0, None, None) == 0
    # As cubecl asks for it on a GPU, but for the architecture: there it is PTX that the driver finishes.
    options = [f"--gpu-architecture={ARCHITECTURE}", f"--include-path={include}", f"--include-path={include}/cccl"]
    array = (ctypes.c_char_p * len(options))(*[option.encode() for option in options])
    if nvrtc.nvrtcCompileProgram(program, len(options), array) != 0:
        sys.exit(f"{path} does not compile:\n{text(nvrtc, program, 'ProgramLog').decode()[:4000]}")
    cubin = text(nvrtc, program, "CUBIN")
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    return cubin


def sections(cubin):
    """Sections of an ELF file by name: (bytes, length)."""
    offset, = struct.unpack_from("<Q", cubin, 0x28)
    size, count, names = struct.unpack_from("<HHH", cubin, 0x3A)
    headers = [struct.unpack_from("<IIQQQQIIQQ", cubin, offset + i * size) for i in range(count)]
    table = headers[names]
    found = {}
    for name, kind, _, _, at, length, _, _, _, _ in headers:
        end = cubin.index(b"\0", table[4] + name)
        body = b"" if kind == 8 else cubin[at:at + length]
        found[cubin[table[4] + name:end].decode()] = (body, length)
    return found


def attributes(body):
    """Attributes of a `.nv.info` section: (which, value) pairs."""
    at = 0
    while at + 4 <= len(body):
        form, which, size = struct.unpack_from("<BBH", body, at)
        at += 4
        if form == 4:
            yield which, body[at:at + size]
            at += size
        else:
            yield which, size


def resources(cubin):
    """Registers of a thread, its stack, and static shared memory of the one kernel in `cubin`."""
    found = sections(cubin)
    registers = stack = shared = 0
    for name, (body, length) in found.items():
        if name.startswith(".nv.shared."):
            shared = length
        if name == ".nv.info":
            for which, value in attributes(body):
                if which == 0x2F and len(value) == 8:  # EIATTR_REGCOUNT
                    registers = max(registers, struct.unpack("<II", value)[1])
                # The frame is where spilt registers and arrays that are not in registers lie.
                if which == 0x11 and len(value) == 8:  # EIATTR_FRAME_SIZE
                    stack = max(stack, struct.unpack("<II", value)[1])
    return registers, stack, shared


def main():
    nvrtc, include = library()
    major, minor = ctypes.c_int(), ctypes.c_int()
    nvrtc.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
    paths = sorted(glob.glob(os.path.join(sys.argv[1], "*.cu")))
    if not paths:
        sys.exit(f"there are no kernels in {sys.argv[1]}")
    rows, spilt = [], []
    for path in paths:
        name = os.path.basename(path)[:-3]
        registers, stack, shared = resources(compile_one(nvrtc, include, path))
        rows.append((name, registers, stack, shared))
        if stack > FRAME_BYTES_MAX:
            spilt.append(f"{name}: {stack} bytes")
        if not registers:
            sys.exit(f"{name}: its registers could not be read; has the format of cubins changed?")
    if len(sys.argv) > 2:
        with open(sys.argv[2], "w", encoding="utf-8") as file:
            file.write("kernel registers stack shared\n")
            file.writelines(f"{name} {registers} {stack} {shared}\n" for name, registers, stack, shared in rows)
    if spilt:
        sys.exit("kernels that keep part of a thread in local memory:\n  " + "\n  ".join(spilt))
    most = max(rows, key=lambda row: row[1])
    print(
        f"{len(rows)} kernels for {ARCHITECTURE} with NVRTC {major.value}.{minor.value}: "
        f"most registers {most[1]} ({most[0]}), largest frame {max(row[2] for row in rows)} bytes"
    )


main()
