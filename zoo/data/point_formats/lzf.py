"""LZF, the compression of PCD files: literals, and copies of what was written up to 8,192 bytes before."""

from __future__ import annotations


def decompress_lzf(data: bytes, size: int) -> bytes:
    """Unpack LibLZF's format.

    A control byte below 32 is followed by that many literals plus one. Any other holds the length of a copy, less two,
    in its upper three bits (7: more in the next byte) and the upper five bits of the distance, less one.

    Args:
        data: the compressed bytes.
        size: how many bytes they hold unpacked.

    Raises:
        ValueError: the stream is cut, copies from before its start, or does not hold ``size`` bytes.
    """
    out = bytearray()
    position, written, end = 0, 0, len(data)
    try:
        while position < end and written <= size:
            control = data[position]
            if control < 32:
                out += data[position + 1 : position + 2 + control]
                position += 2 + control
                written += 1 + control
                continue
            length = control >> 5
            if length == 7:
                position += 1
                length += data[position]
            length += 2
            distance = ((control & 31) << 8) + data[position + 1] + 1
            position += 2
            start = written - distance
            if start < 0:
                raise ValueError("the stream copies from before its start")
            if distance >= length:
                out += out[start : start + length]
            else:
                out += (out[start:] * (length // distance + 1))[:length]
            written += length
    except IndexError:
        raise ValueError("the stream is cut off") from None
    if len(out) != size:
        raise ValueError(f"the stream holds {len(out)} bytes, not {size}")
    return bytes(out)
