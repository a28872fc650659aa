"""Starts tools in many processes in a moment: they come from one in which everything is imported already.

They are what torchrun starts, but for torchrun itself: where one ends, the others are left alone.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
IMPORTED = ("matplotlib.figure", "timm.optim", "torch._dynamo", "zoo.engine.command_line", "zoo.engine.train")


class Launcher:
    """The process that others come from.

    Args:
        folder: for what they say.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.starts = 0
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
        self.process = subprocess.Popen([sys.executable, __file__], env=environment, **pipes)

    def start(self, tool: str, *arguments: object, count: int = 1) -> list[int]:
        """The ids of ``count`` processes with a tool that work together; ``wait`` has to follow."""
        self.starts += 1
        order = {"tool": str(ROOT / "tools" / tool), "arguments": list(map(str, arguments)), "count": count}
        self.process.stdin.write(json.dumps(order | {"said": str(self._said)}) + "\n")
        return json.loads(self.process.stdout.readline())

    def wait(self, timeout: float | None = None) -> tuple[list[int], str]:
        """The exit codes of all that were started, and their standard errors.

        Raises:
            TimeoutError: not all have ended.
        """
        if not select.select([self.process.stdout], [], [], timeout)[0]:
            raise TimeoutError
        return json.loads(self.process.stdout.readline()), self._said.read_text()

    def run(self, tool: str, *arguments: object, count: int = 1) -> tuple[int, str]:
        """The largest exit code of ``count`` processes with a tool, and their standard errors."""
        self.start(tool, *arguments, count=count)
        codes, said = self.wait()
        return max(map(abs, codes)), said

    @property
    def _said(self) -> Path:
        return self.folder / f"{self.starts}.txt"


@contextmanager
def launcher(folder: Path) -> Iterator[Launcher]:
    """A launcher, until the end of the block."""
    launching = Launcher(folder)
    try:
        yield launching
    finally:
        launching.process.communicate()


def _become(order: dict, rank: int, port: int) -> None:
    """Let this process be the one of that rank with the tool."""
    import runpy

    said = os.open(order["said"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    os.dup2(0, 1)
    os.dup2(said, 2)
    if order["count"] > 1:
        numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": order["count"], "LOCAL_WORLD_SIZE": order["count"]}
        os.environ |= {name: str(number) for name, number in (numbers | {"MASTER_PORT": port}).items()}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "TORCHELASTIC_USE_AGENT_STORE": "True", "GLOO_SOCKET_IFNAME": "lo"}
    sys.argv = [order["tool"], *order["arguments"]]
    code = 1
    try:
        runpy.run_path(order["tool"], run_name="__main__")
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
    sys.stderr.flush()
    os._exit(code)


def main() -> None:
    """Start what is asked for, line by line, and tell ids and exit codes."""
    import importlib

    from torch.distributed import TCPStore

    for name in IMPORTED:
        importlib.import_module(name)
    for line in sys.stdin:
        order = json.loads(line)
        store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False) if order["count"] > 1 else None
        children = []
        for rank in range(order["count"]):
            children.append(os.fork())
            if children[-1] == 0:
                _become(order, rank, store.port if store else 0)
        print(json.dumps(children), flush=True)
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        print(json.dumps(codes), flush=True)


if __name__ == "__main__":
    main()
