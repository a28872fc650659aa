"""Decoders of video files: decord, and PyAV for what decord does not read exactly.

After a seek decord gives wrong frames in HEVC, in MPEG and AVI files and where a key frame does not start afresh; it
shows 10 bit in other colours, knows no AV1, and passes over damaged pictures without a word. So every file is first
listed by PyAV, decord decodes only what it decodes exactly, and PyAV sees beforehand that the wanted frames are whole.
"""

from __future__ import annotations

import bisect
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo.errors import InputError


class AvReader:
    """Reads any video that FFmpeg knows, frame by frame exactly, with PyAV.

    Nothing is sought: the file's packets are listed once, and a read goes through the file from its beginning but
    decodes only from the key frame before a wanted frame to that frame.

    Attributes:
        num_frames: frames that the file promises.
        fps: frames a second, 25 where the file does not tell.
        decord_is_exact: whether decord gives the same frames (H.264 in MP4, 8 bit, key frames that start afresh).
        warnings: what a user should know about the frames that were read.

    Raises:
        InputError: the file holds no video, or ends before its time.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.warnings: tuple[str, ...] = ()
        with self._open() as container:
            stream = _video_stream(container, self.path)
            context = stream.codec_context
            self.fps = float(stream.average_rate or stream.guessed_rate or 25)
            packets = [_Packet(packet, context) for packet in self._packets(container, stream)]
            is_mp4 = "mp4" in container.format.name.split(",")
            promised = len(getattr(stream, "index_entries", ())) if is_mp4 else 0
            if not packets or len(packets) < promised or packets[-1].is_cut:
                raise InputError(f"{self.path}: the video ends before its time; copy or download the file again")
            self._keys = [order for order, packet in enumerate(packets) if packet.starts_afresh] or [0]
            self._times = [packet.time for packet in packets]
            shown = [order for order, packet in enumerate(packets) if packet.is_shown]
            # AVI and raw streams tell no usable times: there the frames are counted as they come out.
            times = [self._times[order] for order in shown]
            self._is_timed = container.format.name != "avi" and None not in times and len(set(times)) == len(times)
            self._shown = sorted(shown, key=lambda order: self._times[order]) if self._is_timed else shown
            self.decord_is_exact = (
                is_mp4
                and context.name == "h264"
                and context.pix_fmt in ("yuv420p", "yuvj420p")
                and len(shown) == len(packets)
                and all(packet.starts_afresh for packet in packets if packet.is_key)
            )
        self.num_frames = len(self._shown)

    def read(self, indices: Sequence[int]) -> Tensor:
        """The frames ``indices``, in their order and upright, uint8 [T, H, W, 3] RGB.

        Raises:
            InputError: one of them cannot be decoded.
        """
        unique = check_indices(indices, self.num_frames)
        frames = dict(zip(unique, self._upright(unique), strict=True))
        return torch.stack([frames[index] for index in indices])

    def __iter__(self) -> Iterator[Tensor]:
        """All frames one after another, upright, uint8 [H, W, 3] RGB; a long video needs no more memory than a short.

        Raises:
            InputError: one of them cannot be decoded.
        """
        return self._upright(list(range(self.num_frames)))

    def check(self, indices: Sequence[int]) -> None:
        """See that the frames ``indices`` can be decoded.

        Raises:
            InputError: one of them cannot.
        """
        for _ in self._decode(check_indices(indices, self.num_frames), is_check=True):
            pass

    def _upright(self, wanted: list[int]) -> Iterator[Tensor]:
        """The wanted frames, ascending, all of the first one's size."""
        size: dict[str, int] = {}
        for _, picture in self._decode(wanted):
            size = size or {"width": picture.width, "height": picture.height}
            frame = torch.from_numpy(picture.to_ndarray(format="rgb24", **size))
            yield torch.rot90(frame, round(picture.rotation / 90), (0, 1)).contiguous()

    def _decode(self, wanted: list[int], is_check: bool = False) -> Iterator[tuple[int, Any]]:
        """The wanted frames, ascending, as (index, decoded picture)."""
        import av

        index_of = {self._times[order]: index for index, order in enumerate(self._shown)}
        with self._open() as container:
            stream = _video_stream(container, self.path)
            context = stream.codec_context
            if is_check:
                context.options = {"skip_loop_filter": "all"}  # faster, and what cannot be decoded is the same
            packets = enumerate(self._packets(container, stream))
            for first, last, indices in self._runs(wanted):
                missing = list(indices)
                count = 0
                for order, packet in packets:
                    if order < first:
                        continue
                    try:
                        pictures = context.decode(packet)
                        if order == last:
                            pictures += context.decode(None)
                    except av.FFmpegError as error:
                        raise self._damaged(missing[0]) from error
                    for picture in pictures:
                        index = index_of.get(picture.pts) if self._is_timed else count
                        count += 1
                        # Pictures before the key frame in time lean on what was not decoded; nobody waits for them.
                        is_leading = self._is_timed and picture.pts is not None and picture.pts < self._times[first]
                        if missing and picture.is_corrupt and not is_leading:
                            raise self._damaged(missing[0])
                        if index in missing:
                            missing.remove(index)
                            self._note_rotation(picture.rotation)
                            yield index, picture
                    if order == last or not missing:
                        break
                if missing:
                    raise self._damaged(missing[0])
                context.flush_buffers()

    def _runs(self, wanted: list[int]) -> list[tuple[int, int, list[int]]]:
        """What to decode for the wanted frames: (first packet, last packet, frames), in the file's order."""
        if not self._is_timed:
            return [(0, len(self._times) - 1, wanted)]
        runs: list[tuple[int, int, list[int]]] = []
        for index in wanted:
            order = self._shown[index]
            key = max(0, bisect.bisect_right(self._keys, order) - 1)
            # A picture that comes after a key frame in the file and before it in time needs the key frame before that.
            if key and self._times[order] < self._times[self._keys[key]]:
                key -= 1
            first = min(self._keys[key], order)
            if runs and first <= runs[-1][1]:
                start, last, indices = runs.pop()
                runs.append((start, max(last, order), [*indices, index]))
            else:
                runs.append((first, order, [index]))
        return runs

    def _packets(self, container: Any, stream: Any) -> Iterator[Any]:
        """The packets of the video stream in the file's order."""
        import av

        try:
            yield from (packet for packet in container.demux(stream) if packet.size)
        except av.FFmpegError as error:
            raise InputError(f"{self.path}: the video is damaged; copy or download the file again") from error

    def _open(self) -> Any:
        import av

        try:
            # An absolute path is never taken for a protocol, nor may a playlist lead anywhere but to files.
            return av.open(str(self.path.absolute()), options={"protocol_whitelist": "file"}, metadata_errors="replace")
        except (av.FFmpegError, OSError, ValueError) as error:
            raise InputError(f"{self.path} is no readable video; give a video file or a folder of frames") from error

    def _note_rotation(self, rotation: float) -> None:
        """Remember that the pictures were turned (``rotation`` is counter-clockwise, in degrees)."""
        if clockwise := -90 * round(rotation / 90) % 360:
            self.warnings = (f"{self.path}: turned upright by {clockwise} degrees",)

    def _damaged(self, index: int) -> InputError:
        return InputError(
            f"{self.path}: frame {index} of {self.num_frames} cannot be decoded; "
            "copy or download the video again, or cut the damaged part out"
        )


class DecordReader:
    """Reads H.264 videos with decord, once PyAV has seen that the wanted frames are whole.

    Attributes:
        num_frames: frames that the file promises.
        fps: frames a second.
        warnings: what a user should know about the frames that were read.

    Raises:
        InputError: the file holds no video, ends before its time or is of a kind that decord does not read exactly, or
            decord is not installed.
    """

    def __init__(self, path: str | os.PathLike[str] | AvReader) -> None:
        self._listed = path if isinstance(path, AvReader) else AvReader(path)
        if not self._listed.decord_is_exact:
            raise InputError(f"{self._listed.path}: decord does not read this kind exactly; use open_video")
        try:
            import decord
        except ImportError as error:
            raise InputError("decord is missing: `pip install decord` brings it") from error
        decord.logging.set_level(decord.logging.QUIET)
        self._decord = decord
        self.num_frames, self.fps = self._listed.num_frames, self._listed.fps

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user should know about the frames that were read."""
        return self._listed.warnings

    def read(self, indices: Sequence[int]) -> Tensor:
        """The frames ``indices``, in their order and upright, uint8 [T, H, W, 3] RGB.

        Raises:
            InputError: one of them cannot be decoded.
        """
        unique = check_indices(indices, self.num_frames)
        self._listed.check(unique)
        try:
            # A fresh reader and ascending frames: decord keeps its errors, and is surest without a step back.
            video = self._decord.VideoReader(str(self._listed.path.absolute()), num_threads=1)
            batch = video.get_batch(unique)
        except (self._decord.DECORDError, RuntimeError):
            return self._listed.read(indices)  # the frames are whole, as PyAV has seen
        frames = batch if isinstance(batch, Tensor) else torch.from_numpy(batch.asnumpy())
        return frames[[unique.index(index) for index in indices]]


def check_indices(indices: Sequence[int], num_frames: int) -> list[int]:
    """The indices ascending and each once.

    Raises:
        ValueError: there is none, or one is not in [0, num_frames).
    """
    unique = sorted(set(indices))
    if not unique or unique[0] < 0 or unique[-1] >= num_frames:
        raise ValueError(f"frames are read by indices from 0 to {num_frames - 1}, not {list(indices)}")
    return unique


class _Packet:
    """What must be known of a packet."""

    def __init__(self, packet: Any, context: Any) -> None:
        self.time: Any = packet.pts
        self.is_key = bool(packet.is_keyframe)
        self.is_cut = bool(packet.is_corrupt)
        self.starts_afresh = self.is_key and (context.name != "h264" or _holds_idr(bytes(packet), context.extradata))
        # Edit lists take pictures away; VP8 has pictures that only others lean on, and says so in its first byte.
        self.is_shown = not packet.is_discard and (context.name != "vp8" or bool(bytes(packet)[0] & 0x10))


def _holds_idr(data: bytes, extradata: bytes | None) -> bool:
    """Whether an H.264 packet holds an IDR picture, after which nothing leans on what was before."""
    if not extradata or extradata[0] != 1:  # Annex B: units follow start codes
        return any(unit and unit[0] & 31 == 5 for unit in data.split(b"\0\0\1")[1:])
    length_size = (extradata[4] & 3) + 1
    position = 0
    while position + length_size < len(data):
        if data[position + length_size] & 31 == 5:
            return True
        position += length_size + int.from_bytes(data[position : position + length_size], "big")
    return False


def _video_stream(container: Any, path: Path) -> Any:
    """The best video stream, the one that decord takes too."""
    if container.format.name in ("concat", "dash", "hls"):
        raise InputError(f"{path} is a list of videos; give one of them")
    stream = container.streams.best("video")
    attached_picture = 0x400  # a cover in a music file
    if stream is None or int(stream.disposition) & attached_picture:
        raise InputError(f"{path} holds no moving pictures (sound only?); give a video file")
    if stream.codec_context is None or not stream.codec_context.width:
        raise InputError(f"{path} holds pictures of an unknown kind; convert it to H.264, for example with FFmpeg")
    if container.format.name.endswith("_pipe") or container.format.name == "image2":
        raise InputError(f"{path} is a single picture; give a video file or a folder of frames")
    return stream
