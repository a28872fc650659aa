"""How the compiled operators are built, for an installation and for ``zoo build-ops`` alike.

Two libraries on libtorch's stable ABI, which any Python and any PyTorch since 2.11 can load: ``_C_cpu`` holds the
operators' schemas and the CPU kernels, ``_C_cuda`` the CUDA kernels alone. This file needs neither PyTorch nor the
rest of the package to be imported.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SOURCES = Path(__file__).parent / "csrc"
TARGET_VERSION = "0x020b000000000000"  # the stable ABI of PyTorch 2.11
# Sums keep their order and their roundings, so that results do not depend on the processor.
CPU_FLAGS = (
    *("-O3", "-std=c++17", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off", "-fno-math-errno"),
    *("-fno-trapping-math", "-Wall", "-Wextra", "-Wno-psabi"),
)
SANITIZE_FLAGS = ("-fsanitize=address,undefined", "-fno-omit-frame-pointer", "-fno-sanitize-recover=all", "-g")
LIBRARIES = ("_C_cpu",)


class BuildError(RuntimeError):
    """The operators cannot be built; the message holds the compiler's words."""


class MissingToolError(BuildError):
    """There is nothing to build with: no compiler, or no PyTorch."""


def find_library(name: str) -> Path | None:
    """The built library ``name``, beside this file or in the cache; none where it was not built from these sources."""
    for folder in (Path(__file__).parent, cache_folder()):
        path = folder / f"{name}.so"
        if path.is_file():
            return path
    return None


def cache_folder() -> Path:
    """Where ``zoo build-ops`` puts the libraries: a folder of their own for each version of the sources."""
    root = os.environ.get("ZOO_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "zoo"
    return Path(root) / "ops" / _digest()


def build(folder: Path, sanitize: bool = False) -> list[Path]:
    """Build the libraries into ``folder``; what is there already is replaced at once, and only by what works.

    Args:
        folder: is made where it is missing.
        sanitize: with the sanitisers for addresses and undefined behaviour, to be run under their libraries.

    Returns:
        The libraries.

    Raises:
        BuildError: there is no compiler or no PyTorch, or the compiler refuses.
    """
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("c++")
    if not compiler:
        raise MissingToolError("no C++ compiler was found: install g++, or name yours in CXX")
    torch = _torch_folder()
    flags = [*CPU_FLAGS, *(SANITIZE_FLAGS if sanitize else ()), *(["-DZOO_SANITIZE"] if sanitize else ())]
    flags += [f"-DTORCH_TARGET_VERSION={TARGET_VERSION}", f"-ffile-prefix-map={SOURCES}=.", "-isystem"]
    flags += [str(torch / "include")]
    sources = [SOURCES / "schema.cpp", *sorted((SOURCES / "cpu").glob("*.cpp"))]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            objects = [Path(temporary) / f"{source.stem}.o" for source in sources]
            compiling = [
                [compiler, *flags, "-c", str(source), "-o", str(target)]
                for source, target in zip(sources, objects, strict=True)
            ]
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                list(pool.map(_run, compiling))
            library = Path(temporary) / "_C_cpu.so"
            linking = [compiler, "-shared", *map(str, objects), *(SANITIZE_FLAGS if sanitize else ())]
            _run([*linking, f"-L{torch / 'lib'}", "-ltorch_cpu", "-o", str(library)])
            os.replace(library, folder / library.name)
    except OSError as error:
        raise BuildError(f"{folder}: the operators cannot be written there ({error.strerror})") from error
    return [folder / "_C_cpu.so"]


def platform_tag() -> str:
    """The machines that the libraries are for, as a wheel names them."""
    return sysconfig.get_platform().replace("-", "_").replace(".", "_")


def _digest() -> str:
    """What the libraries are made of, in a few letters."""
    digest = hashlib.sha256(" ".join((TARGET_VERSION, platform.machine(), sys.platform, *CPU_FLAGS)).encode())
    for path in sorted(SOURCES.rglob("*")):
        if path.suffix in (".cpp", ".h", ".cu", ".cuh"):
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _torch_folder() -> Path:
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        raise MissingToolError("PyTorch is not installed here, and the operators are built against its headers")
    return Path(spec.origin).parent


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        raise BuildError(f"{command[0]} cannot be run ({error.strerror})") from error
    if done.returncode:
        words = re.sub(re.escape(str(SOURCES)) + "/?", "", done.stderr.strip() or done.stdout.strip())
        raise BuildError(f"the compiler refused (exit code {done.returncode}):\n{words}")
