"""The window, on a display that is no screen: what it shows is read back from there."""

import os
import shutil
import subprocess

import numpy as np
import pytest

from zoo.live.sources import open_source
from zoo.live.window import Window


@pytest.fixture
def display(monkeypatch):
    pytest.importorskip("tkinter")
    if not shutil.which("Xvfb"):
        pytest.skip("Xvfb is not there: a window needs a display (apt install xvfb)")
    reading, writing = os.pipe()
    command = ["Xvfb", "-displayfd", str(writing), "-screen", "0", "320x240x24", "-nolisten", "tcp"]
    with subprocess.Popen(command, pass_fds=[writing], stderr=subprocess.DEVNULL) as server:
        os.close(writing)
        with os.fdopen(reading) as number:
            name = f":{number.readline().strip()}"
        monkeypatch.setenv("DISPLAY", name)
        yield name
        server.terminate()


def test_the_window_shows_the_picture_and_can_be_closed(display):
    window = Window("a title")
    picture = np.zeros((240, 320, 3), np.uint8)
    picture[..., 0] = 200
    window.show(picture)
    assert window.update()
    screen = next(iter(open_source(f"x11grab:{display}"))).picture
    red = (screen[..., 0] > 180) & (screen[..., 1] < 30)
    assert red.mean() > 0.9
    window.show(np.zeros((480, 640, 3), np.uint8))
    assert window.update(), "a picture larger than the screen is scaled down"
    window._root.event_generate("<Escape>", when="now")
    assert not window.update()
    window.close()
