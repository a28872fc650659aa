"""A window that shows pictures, by Tk, which comes with Python."""

from __future__ import annotations

from typing import Any

import numpy as np

from zoo.errors import ZooError

QUIT_KEYS = ("<Escape>", "q")


class Window:
    """Shows one picture after another, until it is closed (or Escape or q is pressed).

    Args:
        title: of the window.

    Raises:
        ZooError: there is no display, or Python came without Tk.
    """

    def __init__(self, title: str) -> None:
        try:
            import tkinter
        except ImportError as error:
            raise ZooError(
                "a window needs Tk, which this Python lacks (Debian: apt install python3-tk): install it, or pass "
                "--no-display, with --out FILE.mp4 to see the pictures later"
            ) from error
        try:
            self._root = tkinter.Tk(className="zoo")
        except tkinter.TclError as error:
            raise ZooError(
                f"there is no display to show a window on ({error}): pass --no-display, with --out FILE.mp4 to see the "
                "pictures later"
            ) from error
        self._root.title(title)
        self._label = tkinter.Label(self._root, borderwidth=0)
        self._label.pack()
        self._photo: Any = None
        self._is_open = True
        self._root.protocol("WM_DELETE_WINDOW", self._quit)
        for key in QUIT_KEYS:
            self._root.bind(key, self._quit)

    def show(self, picture: np.ndarray) -> None:
        """Show a picture, uint8 [H, W, 3] RGB, scaled down where the screen is smaller."""
        from PIL import Image, ImageTk

        image = Image.fromarray(picture)
        image.thumbnail((self._root.winfo_screenwidth(), self._root.winfo_screenheight()))
        self._photo = ImageTk.PhotoImage(image, master=self._root)  # Tk itself keeps none
        self._label.configure(image=self._photo)

    def update(self) -> bool:
        """Let the window live; False once it was closed. To be called often, from the thread that made it."""
        if self._is_open:
            self._root.update()
        return self._is_open

    def close(self) -> None:
        """Take the window away."""
        self._root.destroy()

    def _quit(self, *_: Any) -> None:
        self._is_open = False
