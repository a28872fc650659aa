"""How the compiled operators are built, for an installation and for ``zoo build-ops`` alike.

Two libraries on libtorch's stable ABI, which any Python and any PyTorch since 2.11 can load: ``_C_cpu`` holds the
operators' schemas and the CPU kernels, ``_C_cuda`` the CUDA kernels alone. This file needs neither PyTorch nor the
rest of the package to be imported.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SOURCES = Path(__file__).parent / "csrc"
OLDEST_TORCH = (2, 11)
TARGET_VERSION = "0x020b000000000000"  # the stable ABI of PyTorch 2.11
# Sums keep their order and their roundings, so that results do not depend on the processor.
CPU_FLAGS = (
    *("-O3", "-std=c++17", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off", "-fno-math-errno"),
    *("-fno-trapping-math", "-Wall", "-Wextra", "-Wno-psabi"),
)
SANITIZE_FLAGS = (
    *("-O1", "-g1", "-fsanitize=address,undefined", "-fno-omit-frame-pointer", "-fno-sanitize-recover=all"),
)
CUDA_FLAGS = (
    *("-O3", "-std=c++17", "-DUSE_CUDA", "-Xcompiler", "-fPIC,-fvisibility=hidden"),
    *("-gencode", "arch=compute_80,code=sm_80", "-gencode", "arch=compute_90,code=sm_90"),
    *("-gencode", "arch=compute_90,code=compute_90"),  # and PTX for what comes after
)


class BuildError(RuntimeError):
    """The operators cannot be built; the message holds the compiler's words."""


class MissingToolError(BuildError):
    """There is nothing to build with: no compiler, or no PyTorch."""


def find_library(name: str) -> Path | None:
    """The library ``name`` of the build in the cache, or of the one that was installed; none where it is not in it."""
    for folder in (_cache_folder_if_any(), Path(__file__).parent):
        if folder is not None and os.path.isfile(folder / "_C_cpu.so"):
            path = folder / f"{name}.so"
            return path if os.path.isfile(path) else None
    return None


def _cache_folder_if_any() -> Path | None:
    """The cache, but for a user who has no home."""
    try:
        return cache_folder()
    except BuildError:
        return None


def cache_root() -> Path:
    """The folder of all that is kept from one run to the next: ZOO_CACHE, or ``zoo`` among the user's caches.

    Raises:
        RuntimeError: the user has no home folder, and ZOO_CACHE names none.
    """
    if os.environ.get("ZOO_CACHE"):
        return Path(os.environ["ZOO_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "zoo"


def cache_folder() -> Path:
    """Where ``zoo build-ops`` puts the libraries: a folder of their own for each version of the sources.

    Raises:
        BuildError: the user has no home folder, and ZOO_CACHE names none.
    """
    try:
        return cache_root() / "ops" / _digest()
    except RuntimeError as error:
        raise BuildError("there is no home folder for the operators: name a folder in ZOO_CACHE") from error


def build(folder: Path, sanitize: bool = False) -> list[Path]:
    """Build the libraries into ``folder``; what is there already is replaced at once, and only by what works.

    The CUDA kernels are built where there is a toolkit, whether or not there is a GPU, and PyTorch knows CUDA.

    Args:
        folder: is made where it is missing.
        sanitize: the CPU kernels with the sanitisers for addresses and undefined behaviour; no CUDA kernels.

    Returns:
        The libraries.

    Raises:
        BuildError: there is no compiler or no PyTorch, or the compiler refuses.
    """
    compiler = find_compiler()
    torch = _torch_folder()
    common = [f"-DTORCH_TARGET_VERSION={TARGET_VERSION}", "-isystem", str(torch / "include")]
    extra = [*SANITIZE_FLAGS, "-DZOO_SANITIZE"] if sanitize else []
    hide = [f"-ffile-prefix-map={SOURCES}=.", f"-ffile-prefix-map={torch / 'include'}=torch"]
    compile_cpu = [*compiler, *CPU_FLAGS, *extra, *hide, *common]
    link_cpu = [*compiler, "-shared", *extra, f"-L{torch / 'lib'}", "-ltorch_cpu"]
    libraries = {"_C_cpu": ([SOURCES / "schema.cpp", *sorted((SOURCES / "cpu").glob("*.cpp"))], compile_cpu, link_cpu)}
    toolkit = None if sanitize else find_cuda_toolkit()
    if toolkit is not None and not why_no_cuda():
        compile_cuda = [
            str(toolkit / "bin/nvcc"),
            "-ccbin",
            next((word for word in reversed(compiler) if not word.startswith("-")), compiler[0]),  # CXX="ccache g++"
            *CUDA_FLAGS,
            "-Xcompiler",
            ",".join(hide),
            *common,
        ]
        link_cuda = [*compiler, "-shared", f"-L{torch / 'lib'}", "-ltorch_cuda", "-ltorch_cpu"]
        folders = ("lib64", "lib", f"targets/{platform.machine()}-linux/lib")
        link_cuda += [f"-L{toolkit / folder}" for folder in folders if (toolkit / folder).is_dir()]
        link_cuda += ["-lcudart_static", "-lrt", "-lpthread", "-ldl"]
        libraries["_C_cuda"] = (sorted((SOURCES / "cuda").glob("*.cu")), compile_cuda, link_cuda)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            compiling, linking = [], []
            for name, (sources, compile_command, link_command) in libraries.items():
                objects = [f"{temporary}/{name}_{source.stem}.o" for source in sources]
                for source, target in zip(sources, objects, strict=True):
                    compiling.append([*compile_command, "-c", str(source), "-o", target])
                program = len(compiler)
                linking.append(
                    [*link_command[:program], *objects, *link_command[program:], "-o", f"{temporary}/{name}.so"]
                )
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                list(pool.map(_run, compiling))
            for command in linking:
                _run(command)
            for name in libraries:
                os.replace(f"{temporary}/{name}.so", folder / f"{name}.so")
    except OSError as error:
        raise BuildError(f"{folder}: the operators cannot be written there ({error.strerror})") from error
    return [folder / f"{name}.so" for name in libraries]


def announcement(sanitize: bool = False) -> str:
    """What ``build`` is going to compile, in a line.

    Raises:
        MissingToolError: PyTorch is not installed.
    """
    architectures = re.findall(r"code=(sm_\d+)", " ".join(CUDA_FLAGS))
    gpus = "" if sanitize or why_no_cuda() else f" and for GPUs ({', '.join(architectures)} and later)"
    return f"compiling the operators for CPUs{gpus}, which takes a minute or two ..."


def find_compiler() -> list[str]:
    """The command of a C++ compiler: that of CXX, or a usual one.

    Raises:
        MissingToolError: there is none.
    """
    compiler = shlex.split(os.environ.get("CXX") or shutil.which("g++") or shutil.which("c++") or "")
    if not compiler:
        raise MissingToolError("no C++ compiler was found: install g++, or name yours in CXX")
    return compiler


def find_cuda_toolkit() -> Path | None:
    """The folder of a CUDA toolkit: the one of CUDA_HOME, the one that nvcc belongs to, or the usual one.

    The ``nvcc`` on the PATH may be a script in another folder that calls the real one, so it is asked where it lives.
    """
    candidates = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH")]
    nvcc = shutil.which("nvcc")
    if nvcc:
        with contextlib.suppress(OSError):  # a file of that name that is no program
            said = subprocess.run([nvcc, "--dryrun", "none.cu"], capture_output=True, text=True).stderr
            candidates += re.findall(r"^#\$ TOP=(.*)$", said, re.MULTILINE)
    candidates.append("/usr/local/cuda")
    for folder in candidates:
        if folder and (Path(folder) / "bin/nvcc").is_file() and (Path(folder) / "include/cuda_runtime.h").is_file():
            return Path(folder).resolve()
    return None


def why_no_cuda() -> str:
    """Why the CUDA kernels cannot be built here; empty where they can.

    Raises:
        MissingToolError: PyTorch is not installed.
    """
    if not (_torch_folder() / "lib/libtorch_cuda.so").is_file():
        return "the PyTorch that is installed knows no CUDA"
    return "" if find_cuda_toolkit() else "no CUDA toolkit was found: install one, or name its folder in CUDA_HOME"


def platform_tag() -> str:
    """The machines that the libraries are for, as a wheel names them."""
    platform_name = sysconfig.get_platform().replace("universal2", platform.machine())  # one kind at a time is built
    return platform_name.replace("-", "_").replace(".", "_")


def _digest() -> str:
    """What the libraries are made of, in a few letters."""
    digest = hashlib.sha256(
        " ".join((TARGET_VERSION, platform.machine(), sys.platform, *CPU_FLAGS, *CUDA_FLAGS)).encode()
    )
    for path in sorted(SOURCES.rglob("*")):
        if path.suffix in (".cpp", ".h", ".cu", ".cuh"):
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _torch_folder() -> Path:
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        raise MissingToolError("PyTorch is not installed here, and the operators are built against its headers")
    version = importlib.metadata.version("torch")
    if tuple(map(int, re.findall(r"\d+", version)[:2])) < OLDEST_TORCH:
        raise MissingToolError(f"PyTorch {version} is too old: the operators need 2.11 or newer")
    return Path(spec.origin).parent


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        raise BuildError(f"{command[0]} cannot be run ({error.strerror})") from error
    if done.returncode:
        words = re.sub(re.escape(str(SOURCES)) + "/?", "", done.stderr.strip() or done.stdout.strip())
        raise BuildError(f"the compiler refused (exit code {done.returncode}):\n{words or '(without a word)'}")
