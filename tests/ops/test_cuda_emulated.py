"""The CUDA kernels, compiled as they are for a CPU (see ``emulated_cuda``), pass the operators' tests.

They take the place of the CPU kernels, in processes of their own. What this cannot show: how fast they are, what nvcc
and a GPU make of them, and what comes of threads of different warps that touch the same memory at the same time.
"""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from zoo import ops
from zoo.ops import build

if ops.backend() != "native":
    pytest.skip("the compiled operators are not built or not wanted", allow_module_level=True)

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent
SANITIZED = "libasan" in os.environ.get("LD_PRELOAD", "")
NOT_HERE = {
    "test_clouds_without_a_finite_extent": "a GPU does not look at what it has computed",
    "test_no_path_of_the_machine": "this library goes nowhere else",
    "test_a_model_compiles_in_one_piece": "how compilers are told of operators is the same on all devices",
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that holds the library in the place of the CPU kernels."""
    try:
        compiler = build.find_compiler()
    except build.MissingToolError as error:
        pytest.skip(str(error))
    root = tmp_path_factory.mktemp("emulated")
    folder = root / "ops" / build.cache_folder().name
    folder.mkdir(parents=True)
    libtorch = Path(torch.__file__).parent
    checks = build.SANITIZE_FLAGS if SANITIZED else ()
    # Fortified jumps do not leave a stack.
    flags = [*build.CPU_FLAGS, "-O1", "-U_FORTIFY_SOURCE", "-Wno-unknown-pragmas", "-Werror", *checks]
    flags += [f"-DTORCH_TARGET_VERSION={build.TARGET_VERSION}"]
    flags += ["-I", str(HERE / "emulated_cuda"), "-isystem", str(libtorch / "include"), "-x", "c++"]

    def run(*command: str) -> None:
        environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
        done = subprocess.run([*compiler, *command], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    def compiled(source: Path) -> str:
        target = str(folder / f"{source.stem}.o")
        run(*flags, "-c", str(source), "-o", target)
        return target

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(compiled, [build.SOURCES / "schema.cpp", *(build.SOURCES / "cuda").glob("*.cu")]))
    run("-shared", *checks, *objects, f"-L{libtorch / 'lib'}", "-ltorch_cpu", "-o", str(folder / "_C_cpu.so"))
    return root


def passes(cache: Path, order: str, *arguments: str, **environment: str) -> None:
    """These tests, in processes where blocks, warps and threads come in this order."""
    command = [sys.executable, "-m", "pytest", "-qs", "-n2", "-p", "no:cacheprovider"]
    command += ["-p", "tests.ops.emulated_cuda.plugin"]
    settings = {"ZOO_CACHE": str(cache), "ZOO_OPS": "native", "EMULATED_CUDA_ORDER": order, **environment}
    done = subprocess.run(
        [*command, *arguments], cwd=HERE.parents[1], env=os.environ | settings, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_a_gpu_is_tested_for(cache: Path) -> None:
    fewer = ("-k", "not 20000 or dtype0") if SANITIZED else ()  # the largest cloud in one type: it takes minutes
    passes(cache, "shuffled", "tests/ops/test_gpu.py", *fewer)


@pytest.mark.skipif(SANITIZED, reason="it takes minutes")
def test_what_a_cpu_is_tested_for(cache: Path) -> None:
    wanted = " and ".join(f"not {name}" for name in NOT_HERE)
    # On a GPU values are looked at where that is asked for.
    passes(cache, "reversed", "tests/ops/test_native.py", "tests/ops/test_point_values.py", "-k", wanted, ZOO_DEBUG="1")
