"""`zoo build-ops` as someone meets it: it builds, finds what is built, and says in a sentence what it lacks."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from zoo.cli import main
from zoo.ops import build


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_a_compiler_that_refuses_is_quoted(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CXX", str(script(tmp_path / "cxx", "echo 'voxelize.cpp:3: what is this?' >&2; exit 1")))
    assert main(["build-ops"]) == 2
    said, error = capsys.readouterr().err.split("\n", 1)
    assert said.startswith("compiling the operators for CPUs") and ("sm_90" in said) != bool(build.why_no_cuda())
    assert error.startswith("error: ") and "voxelize.cpp:3: what is this?" in error
    assert not list((tmp_path / "cache").rglob("*.so"))


def test_without_a_compiler_it_says_what_to_install(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    assert main(["build-ops"]) == 2
    assert "install g++" in capsys.readouterr().err


def test_what_is_built_is_not_built_again(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path))
    monkeypatch.setenv("CXX", str(script(tmp_path / "cxx", "exit 1")))
    folder = build.cache_folder()
    folder.mkdir(parents=True)
    for name in ("_C_cpu.so", "_C_cuda.so"):
        (folder / name).touch()
    assert main(["build-ops"]) == 0
    assert str(folder / "_C_cpu.so") in capsys.readouterr().out
    assert main(["build-ops", "--force"]) == 2
    (folder / "_C_cuda.so").unlink()
    capsys.readouterr()
    assert main(["build-ops"]) == (0 if build.why_no_cuda() else 2)  # what can be built now is not left out
    assert ("without CUDA kernels" in capsys.readouterr().out) == bool(build.why_no_cuda())


def test_the_toolkit_is_where_nvcc_says_and_not_where_its_wrapper_lies(tmp_path, monkeypatch) -> None:
    toolkit = tmp_path / "toolkit"
    script(toolkit / "bin/nvcc", f"echo '#$ TOP={toolkit}/bin/..' >&2")
    (toolkit / "include").mkdir()
    (toolkit / "include/cuda_runtime.h").touch()
    script(tmp_path / "path/bin/nvcc", f'exec {toolkit}/bin/nvcc "$@"')
    monkeypatch.setenv("PATH", f"{tmp_path / 'path/bin'}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_HOME", raising=False)
    monkeypatch.delenv("CUDA_PATH", raising=False)
    assert build.find_cuda_toolkit() == toolkit.resolve()


def test_what_is_in_use_and_why(monkeypatch, capsys) -> None:
    monkeypatch.setenv("ZOO_OPS", "reference")
    assert main(["info", "--ops"]) == 0
    assert "ZOO_OPS=reference" in capsys.readouterr().out
    monkeypatch.setenv("ZOO_OPS", "fast")
    assert main(["info", "--ops"]) == 2
    assert "not 'fast'" in capsys.readouterr().err
    assert main(["info"]) == 2


@pytest.mark.parametrize("name", ["_C_cpu", "_C_cuda"])
def test_other_sources_are_another_library(tmp_path, monkeypatch, name) -> None:
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path))
    before = build.cache_folder()
    sources = tmp_path / "csrc"
    sources.mkdir()
    (sources / "schema.cpp").write_text("// changed")
    monkeypatch.setattr(build, "SOURCES", sources)
    assert build.cache_folder() != before and build.find_library(name) is None


def test_without_a_home_folder_plain_pytorch_serves(tmp_path) -> None:
    code = "def nowhere(cls): raise RuntimeError\nimport pathlib, torch\npathlib.Path.home = classmethod(nowhere)\n"
    code += "import zoo\nfrom zoo.cli import main\nprint(zoo.ops.backend()); main(['build-ops'])"
    chosen = ("ZOO_CACHE", "XDG_CACHE_HOME", "ZOO_OPS")
    environment = {key: value for key, value in os.environ.items() if key not in chosen}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout.startswith(("reference", "native")) and "Traceback" not in done.stderr
    assert "name a folder in ZOO_CACHE" in done.stderr
