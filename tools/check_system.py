"""Say which optional system libraries are missing, and the line that brings them; nothing here stops a setup."""

from __future__ import annotations

import subprocess
import sys

APT_LINE = "apt-get update && apt-get install -y libusb-1.0-0 libgl1 libegl1 libx11-6 libgomp1"


def main() -> None:
    """Try what needs a system library, each in a process of its own."""
    result = subprocess.run([sys.executable, "-c", "import open3d"], capture_output=True, text=True, check=False)
    if result.returncode:
        reason = (result.stderr.strip().splitlines() or ["it ended without a word"])[-1]
        print(f"note: Open3D cannot be used ({reason}).")
        print(f"      `{APT_LINE}` brings its libraries; all else works without it.")


if __name__ == "__main__":
    main()
