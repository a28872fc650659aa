"""A camera on the loopback: serves MPEG-TS over TCP to whoever connects, and can go away and come back."""

import contextlib
import io
import socket
import threading

import av
import numpy as np


def transport_stream(level, frames=30, height=64, width=96):
    """A short MPEG-TS of one grey, a key frame at least every ten."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mpegts") as container:
        stream = container.add_stream("mpeg2video", rate=25)
        stream.height, stream.width, stream.pix_fmt, stream.gop_size = height, width, "yuv420p", 10
        picture = av.VideoFrame.from_ndarray(np.full((height, width, 3), level, np.uint8), format="rgb24")
        for _ in range(frames):
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return buffer.getvalue()


class Camera:
    """Sends each of ``streams`` to one connection after another, then hangs up, or with ``stay`` falls silent."""

    def __init__(self, *streams, port=0, stay=False):
        self._server = socket.create_server(("127.0.0.1", port))
        self.port = self._server.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{self.port}"
        self._streams, self._stay, self._connections = streams, stay, []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        with contextlib.suppress(OSError):
            for stream in self._streams:
                connection, _ = self._server.accept()
                connection.sendall(stream)
                self._connections.append(connection)
                if not self._stay:
                    connection.close()

    def close(self):
        self._server.close()
        for connection in self._connections:
            connection.close()
