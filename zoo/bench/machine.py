"""What figures were measured on: the processor, its clock, versions, the commit; nothing that names whose it is."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib import metadata
from pathlib import Path

import torch

from zoo import ops
from zoo.processors import allowed_processors, num_processors

PACKAGES = ("torch", "onnxruntime", "openvino", "nncf", "torchao", "numpy")


def machine(device: str = "cpu") -> dict[str, str]:
    """The machine in words, for the head of a table; what cannot be found out is left out.

    Args:
        device: "cpu", or "cuda" to tell of the GPU too.
    """
    about = {
        "processor": _processor(),
        "cores": str(num_processors()),
        "threads": str(torch.get_num_threads()),
        "clock": clock(),
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "memory": _memory(),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
        **{name: version for name in PACKAGES if (version := _version(name))},
        "operators": ops.backend(device),
        "commit": _commit(),
    }
    if device == "cuda":
        about = {"GPU": torch.cuda.get_device_name(), "CUDA": str(torch.version.cuda), **about}
    return {name: value for name, value in about.items() if value}


def clock(before: str = "") -> str:
    """The clocks of the cores at this moment and those that it said ``before``, the lowest and the highest."""
    found = re.findall(r"^cpu MHz\s*:\s*([\d.]+)", _read("/proc/cpuinfo"), re.MULTILINE)
    clocks = sorted({round(float(mhz)) for mhz in [*found, *re.findall(r"\d+", before)]})
    return f"{'-'.join(map(str, dict.fromkeys((clocks[0], clocks[-1]))))} MHz" if clocks else ""


def busy_seconds() -> float | None:
    """How long the processors of this process have been busy since the start, for whomever; None where it is not told.

    What the machine that a virtual machine runs on gave to others counts too.
    """
    lines = {int(number): rest for number, rest in re.findall(r"^cpu(\d+) (.+)", _read("/proc/stat"), re.MULTILINE)}
    mine = [lines[number] for number in allowed_processors() if number in lines]
    if not mine:
        return None
    ticks = 0
    for line in mine:
        user, nice, system, _idle, _waiting, *interrupts_and_stolen = map(int, line.split()[:8])
        ticks += user + nice + system + sum(interrupts_and_stolen)
    return ticks / os.sysconf("SC_CLK_TCK")


def _processor() -> str:
    found = re.search(r"^model name\s*:\s*(.+)", _read("/proc/cpuinfo"), re.MULTILINE)
    return found[1] if found else platform.processor() or platform.machine()


def _memory() -> str:
    found = re.search(r"^MemTotal:\s*(\d+) kB", _read("/proc/meminfo"), re.MULTILINE)
    return f"{int(found[1]) / 1e6:.0f} GB" if found else ""


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _commit() -> str:
    """The commit of the checkout that this file lies in, with a plus where something was changed since."""
    folder = Path(__file__).parents[2]
    if not (folder / ".git").exists():
        return ""
    try:
        command = ["git", "-C", str(folder), "describe", "--always", "--dirty=+", "--exclude=*"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
