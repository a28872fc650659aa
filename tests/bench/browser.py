"""A headless Chromium for tests, driven through a pipe with the DevTools protocol; no socket is opened."""

import base64
import io
import itertools
import json
import os
import select
import shutil
import subprocess
import tempfile
import time

import numpy as np

FLAGS = [
    *("--headless", "--no-sandbox", "--disable-background-networking", "--remote-debugging-pipe", "--disable-gpu"),
    *("--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars", "--window-size=1200,1600"),
]
PATIENCE = 60.0  # seconds for an answer, on a machine that is busy


def find_chromium() -> str | None:
    return next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
    )


class Browser:
    """One tab of a Chromium with a profile of its own."""

    def __init__(self, program: str):
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        for_it, self._out = os.pipe()  # it reads commands from its descriptor 3
        self._in, from_it = os.pipe()  # and writes answers to 4
        script = f'exec "$0" "$@" 3<&{for_it} 4>&{from_it}'
        command = ["bash", "-c", script, program, *FLAGS, f"--user-data-dir={self._profile.name}", "about:blank"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(command, pass_fds=(for_it, from_it), **quiet)
        os.close(for_it)
        os.close(from_it)
        self._rest = b""
        self._numbers = itertools.count(1)
        self.events = []
        targets = self._send("Target.getTargets")["targetInfos"]
        tab = next(target["targetId"] for target in targets if target["type"] == "page")
        self._session = self._send("Target.attachToTarget", targetId=tab, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.terminate()
        self._process.wait(PATIENCE)
        os.close(self._in)
        os.close(self._out)
        self._profile.cleanup()

    def send(self, method: str, **parameters):
        """A command for the tab; gives its result."""
        return self._send(method, self._session, **parameters)

    def open(self, address: str):
        """Load a page and wait until it is there."""
        self.events.clear()
        self.send("Page.navigate", url=address)
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(self._receive())

    def value(self, expression: str):
        """What a JavaScript expression gives."""
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, expression: str):
        """Wait until an expression holds, looking at every frame that the page draws."""
        look = f"const look = () => ({expression}) ? done(true) : requestAnimationFrame(look)"
        wait = f"new Promise(done => {{ {look}; look() }})"
        assert self.value(wait)

    def center(self, selector: str) -> tuple[float, float]:
        """Where the middle of an element is, after it was scrolled into sight."""
        found = f"document.querySelector({json.dumps(selector)})"
        self.value(f"{found}.scrollIntoView({{block: 'center', inline: 'center'}})")
        x, y, width, height = self._box(selector)
        return x + width / 2, y + height / 2

    def mouse(self, kind: str, x: float, y: float, **more):
        """A mouse event."""
        self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def click(self, selector: str):
        """Click on the middle of an element."""
        x, y = self.center(selector)
        for kind in ("mousePressed", "mouseReleased"):
            self.mouse(kind, x, y, button="left", clickCount=1)

    def type(self, text: str):
        """Type into what has the focus."""
        self.send("Input.insertText", text=text)

    def picture(self, selector: str) -> np.ndarray:
        """What an element looks like, uint8 [H, W, 3]."""
        from PIL import Image

        self.center(selector)
        x, y, width, height = self._box(selector)
        left, top = self.value("[scrollX, scrollY]")  # the clip counts from the page's beginning
        box = {"x": x + left, "y": y + top, "width": width, "height": height, "scale": 1}
        data = self.send("Page.captureScreenshot", format="png", clip=box, captureBeyondViewport=False)["data"]
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))

    def _box(self, selector: str) -> list[float]:
        found = f"document.querySelector({json.dumps(selector)}).getBoundingClientRect()"
        return self.value(f"(box => [box.x, box.y, box.width, box.height])({found})")

    def _send(self, method: str, session: str | None = None, **parameters):
        number = next(self._numbers)
        command = {"id": number, "method": method, "params": parameters, **({"sessionId": session} if session else {})}
        os.write(self._out, json.dumps(command).encode() + b"\0")
        while (message := self._receive()).get("id") != number:
            self.events.append(message)
        assert "error" not in message, message
        return message["result"]

    def _receive(self):
        deadline = time.monotonic() + PATIENCE
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._in], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, "the browser does not answer"
            chunk = os.read(self._in, 1 << 20)
            assert chunk, f"the browser ended with {self._process.wait()}"
            self._rest += chunk
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)
