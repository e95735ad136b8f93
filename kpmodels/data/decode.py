"""Encoded image bytes to pixels: RGB, 8 bits, three channels, whatever came in.

EXIF orientation is ignored, here and in the stored width and height: labels are drawn on the stored pixels by most
tools, and a rotation applied at one place and not at another is the worst of all.
"""

from __future__ import annotations

import re
import struct
import zlib
from typing import Any

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

JPEG_MAGIC = b"\xff\xd8"
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
MAX_PIXELS = 2**28
"""Larger images are refused: a few bytes can claim any size."""

_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_ZEROS = bytes(64)


class BrokenImageError(ValueError):
    """Bytes that are no image, or not all of one."""


def decode_image(data: bytes, min_width: int = 0, min_height: int = 0) -> NDArray[np.uint8]:
    """RGB ``[H, W, 3]`` uint8, contiguous.

    Grey and palette images are expanded, 16 bits scaled to 8, an alpha channel dropped.

    Args:
        data: An encoded image (JPEG, PNG, TIFF, BMP, WebP ...).
        min_width, min_height: Where above 0, a JPEG may come back at 1/2, 1/4 or 1/8 of its size (scaled in the DCT,
            much faster), as long as both sides stay at least this large. Other formats come at full size.

    Raises:
        BrokenImageError: When the bytes cannot be decoded.
    """
    if data[:2] == JPEG_MAGIC:
        try:
            return simplejpeg.decode_jpeg(data, "RGB", min_width=min_width, min_height=min_height, strict=False)
        except (ValueError, KeyError):  # CMYK and other rarities; simplejpeg raises KeyError for some damaged headers
            return _decode_other(data)
    return _decode_other(data)


def _decode_other(data: bytes) -> NDArray[np.uint8]:
    return _to_rgb8(_pixels(data))


def _pixels(data: bytes) -> NDArray[Any]:
    """What OpenCV makes of an image, when it is of a kind that ``_to_rgb8`` understands."""
    if not data:
        raise BrokenImageError("the file is empty")
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise BrokenImageError(f"cannot be decoded: {error}") from None
    if pixels is None:
        raise BrokenImageError("no image in a format known to OpenCV, or damaged")
    if pixels.dtype not in (np.uint8, np.uint16):
        raise BrokenImageError(f"pixels of type {pixels.dtype}: only 8 and 16 bits are understood")
    if pixels.ndim == 3 and not 1 <= pixels.shape[2] <= 4:
        raise BrokenImageError(f"{pixels.shape[2]} channels")
    return pixels


def _to_rgb8(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """What OpenCV gives (BGR, 1 to 4 channels, 8 or 16 bits) as RGB of 8 bits."""
    if pixels.dtype == np.uint16:
        pixels = cv2.convertScaleAbs(pixels, alpha=255 / 65535)
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    if channels == 2:  # grey with alpha
        pixels, channels = np.ascontiguousarray(pixels[..., 0]), 1
    codes = {1: cv2.COLOR_GRAY2RGB, 3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGB}
    rgb: NDArray[np.uint8] = cv2.cvtColor(pixels, codes[channels]).astype(np.uint8, copy=False)
    return rgb


def image_size(data: bytes) -> tuple[int, int]:
    """(width, height) in stored pixels, from the header where the format is JPEG or PNG.

    Raises:
        BrokenImageError: When the bytes are no image.
    """
    if data[:2] == JPEG_MAGIC:
        try:
            height, width, *_ = simplejpeg.decode_jpeg_header(data, strict=False)
        except (ValueError, KeyError) as error:
            raise BrokenImageError(f"the header of the JPEG cannot be read: {error}") from None
    elif data[:8] == PNG_MAGIC and len(data) >= 24:
        width, height = struct.unpack_from(">II", data, 16)
    else:
        height, width = _pixels(data).shape[:2]
    if not 0 < width * height <= MAX_PIXELS:
        raise BrokenImageError(f"{width} x {height} pixels; at most {MAX_PIXELS} are taken")
    return int(width), int(height)


def verify_image(data: bytes, thorough: bool) -> tuple[int, int]:
    """(width, height) of an image that was proved whole.

    Args:
        data: An encoded image.
        thorough: Decode every pixel. Otherwise JPEG is walked marker by marker to its end (which finds what is cut off
            or overwritten with zeros or foreign bytes, but not each changed bit), and the checksum of each PNG chunk is
            verified (which finds every change). Other formats are always decoded.

    Raises:
        BrokenImageError: With what is wrong.
    """
    size = image_size(data)
    if data[:2] == JPEG_MAGIC:
        if thorough or not _jpeg_is_whole(data):
            _decode_jpeg_strictly(data)
    elif data[:8] == PNG_MAGIC:
        _verify_png(data)
        if thorough:
            _pixels(data)
    return size


def _jpeg_is_whole(data: bytes) -> bool:
    """Whether the segments follow each other up to the end marker and no scan holds a long run of zeros."""
    position, end = 2, len(data)
    while position + 4 <= end:
        if data[position] != 0xFF:
            return False
        marker = data[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        if marker == 0xD9:
            return True
        start = position + 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        position = start
        if marker == 0xDA:  # start of scan: coded data up to the next marker
            found = _MARKER.search(data, start)
            if found is None or data.find(_ZEROS, start, found.start()) >= 0:
                return False
            position = found.start()
    return data[position : position + 2] == b"\xff\xd9"


def _decode_jpeg_strictly(data: bytes) -> None:
    """Decode all coefficients, but pixels at 1/8 of the size only; half again as fast as decoding in full."""
    try:
        simplejpeg.decode_jpeg(data, "GRAY", fastdct=True, fastupsample=True, min_width=1, min_height=1)
    except (ValueError, KeyError) as error:
        if "premature" in str(error).lower() or "corrupt" in str(error).lower():
            raise BrokenImageError(str(error)) from None
        _pixels(data)


def _verify_png(data: bytes) -> None:
    view, position = memoryview(data), 8
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        if position + 12 + length > len(data):
            break
        (stated,) = struct.unpack_from(">I", data, position + 8 + length)
        if zlib.crc32(view[position + 4 : position + 8 + length]) != stated:
            raise BrokenImageError(f"PNG chunk {kind.decode('latin-1')} at byte {position} has a wrong checksum")
        if kind == b"IEND":
            return
        position += 12 + length
    raise BrokenImageError("the PNG ends early")
