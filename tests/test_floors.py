"""Imports go downward only, and ``import zoo`` stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLOORS = [
    {"errors", "signals", "arguments", "processors"},
    {"registry", "weights", "ops"},
    {"layers", "data"},
    {"models"},
    {"convert", "hub"},
    {"create"},
    {"predict", "engine", "info", "bench", "export", "live"},
    {"cli", "tools", "__init__"},
]
HEAVY = {
    "decord",
    "open3d",
    "timm",
    "jsonargparse",
    "matplotlib",
    "torchvision",
    "av",
    "huggingface_hub",
    "onnxruntime",
    "onnx",
    "onnxscript",
    "openvino",
    "h5py",
}


def floor_of(module: str) -> int:
    parts = module.split(".")
    room = parts[0] if parts[0] == "tools" else (parts[1] if len(parts) > 1 else "__init__")
    return next(level for level, rooms in enumerate(FLOORS) if room in rooms)


def imports_of(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "zoo":
            found |= {f"zoo.{alias.name}" if node.module == "zoo" else node.module for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] == "zoo"}
    return found


def test_imports_go_downward():
    upward = []
    for path in [*ROOT.glob("zoo/**/*.py"), *ROOT.glob("tools/*.py")]:
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for imported in imports_of(path):
            if floor_of(imported) > floor_of(module) and path.name != "cli.py":
                upward.append(f"{module} imports {imported}")
    assert not upward


def test_import_loads_nothing_heavy():
    code = "import sys, zoo; print(' '.join(sorted({name.split('.')[0] for name in sys.modules})))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not HEAVY & set(result.stdout.split())


@pytest.mark.slow
def test_a_machine_for_gpu_tests_needs_no_readers_of_files():
    code = "import sys, pytest\n"
    code += "for name in ('decord', 'open3d', 'av', 'jsonargparse'): sys.modules[name] = None\n"
    code += "sys.exit(pytest.main(['--collect-only', '-q', '-m', 'gpu']))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-2000:]


def test_no_file_is_long():
    long = [str(path) for path in ROOT.glob("zoo/**/*.py") if len(path.read_text().splitlines()) > 400]
    assert not long
