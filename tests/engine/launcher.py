"""Runs tools in many processes in a moment: they come from one in which everything is imported already.

They are what torchrun starts, but for torchrun itself: where one ends, the others are left alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import traceback
from pathlib import Path

ROOT = Path(__file__).parents[2]
IMPORTED = ("matplotlib.figure", "timm.optim", "torch._dynamo", "zoo.engine.command_line", "zoo.engine.train")
LONGEST = 300.0  # seconds; what takes longer hangs


class Launcher:
    """The process that others come from.

    Args:
        folder: for what they say.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.runs = 0
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        with open(folder / "launcher.txt", "w") as said:
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": said, "text": True, "bufsize": 1}
            self.process = subprocess.Popen([sys.executable, __file__], env=environment, **pipes)
        self._reply()  # everything is imported

    def run(self, tool: str, *arguments: object, count: int = 1, kill_after: float = LONGEST) -> tuple[list[int], str]:
        """The exit codes and the standard errors of ``count`` processes with a tool that work together.

        Args:
            tool: a file in tools/.
            arguments: of each.
            count: of processes.
            kill_after: seconds, after which those that still run are killed.
        """
        self.runs += 1
        said = self.folder / f"{self.runs}.txt"
        order = {"tool": str(ROOT / "tools" / tool), "arguments": list(map(str, arguments)), "count": count}
        print(json.dumps(order | {"said": str(said), "kill_after": kill_after}), file=self.process.stdin, flush=True)
        return self._reply(), said.read_text()

    def end(self) -> None:
        """Let the process end."""
        self.process.communicate()

    def _reply(self) -> list[int]:
        line = self.process.stdout.readline()
        assert line, f"the launcher has ended: {(self.folder / 'launcher.txt').read_text()}"
        return json.loads(line)


def _become(order: dict, rank: int, port: int) -> None:
    """Let this process be the one of that rank with the tool."""
    import runpy

    code = 1
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        said = os.open(order["said"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(os.open(os.devnull, os.O_RDWR), 0)
        os.dup2(0, 1)
        os.dup2(said, 2)
        if order["count"] > 1:
            numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": order["count"], "MASTER_PORT": port}
            os.environ |= {name: str(number) for name, number in numbers.items()}
            os.environ |= {"LOCAL_WORLD_SIZE": str(order["count"]), "MASTER_ADDR": "127.0.0.1"}
            os.environ |= {"TORCHELASTIC_USE_AGENT_STORE": "True", "GLOO_SOCKET_IFNAME": "lo"}
        sys.argv = [order["tool"], *order["arguments"]]
        runpy.run_path(order["tool"], run_name="__main__")
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _wait(children: list[int], seconds: float) -> list[int]:
    """The exit codes of all, of which those that run for longer are killed."""
    running = set(children)

    def kill(*_: object) -> None:
        for child in running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)

    signal.signal(signal.SIGALRM, kill)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    codes = []
    for child in children:
        codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        running.discard(child)
    signal.setitimer(signal.ITIMER_REAL, 0)
    return codes


def main() -> None:
    """Start what is asked for, line by line, and tell the exit codes."""
    import importlib

    from torch.distributed import TCPStore

    for name in IMPORTED:
        importlib.import_module(name)
    print("[]", flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False) if order["count"] > 1 else None
        children = []
        for rank in range(order["count"]):
            children.append(os.fork())
            if children[-1] == 0:
                _become(order, rank, store.port if store else 0)
        print(json.dumps(_wait(children, order["kill_after"])), flush=True)


if __name__ == "__main__":
    main()
