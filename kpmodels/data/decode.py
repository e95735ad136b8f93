"""Encoded image bytes to pixels: RGB, 8 bits, three channels, whatever came in.

EXIF orientation is ignored, here and in the stored width and height: labels are drawn on the stored pixels by most
tools, and a rotation applied at one place and not at another is the worst of all.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

JPEG_MAGIC = b"\xff\xd8"


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
        except ValueError:  # CMYK and other rarities
            return _decode_other(data)
    return _decode_other(data)


def _decode_other(data: bytes) -> NDArray[np.uint8]:
    if not data:
        raise BrokenImageError("the file is empty")
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise BrokenImageError(f"cannot be decoded: {error}") from None
    if pixels is None:
        raise BrokenImageError("no image in a format known to OpenCV, or damaged")
    return _to_rgb8(pixels)


def _to_rgb8(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """What OpenCV gives (BGR, 1 to 4 channels, 8 or 16 bits) as RGB of 8 bits."""
    if pixels.dtype == np.uint16:
        pixels = cv2.convertScaleAbs(pixels, alpha=255 / 65535)
    if pixels.dtype != np.uint8:
        raise BrokenImageError(f"pixels of type {pixels.dtype}: only 8 and 16 bits are understood")
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    if channels == 2:  # grey with alpha
        pixels, channels = np.ascontiguousarray(pixels[..., 0]), 1
    codes = {1: cv2.COLOR_GRAY2RGB, 3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGB}
    if channels not in codes:
        raise BrokenImageError(f"{channels} channels")
    rgb: NDArray[np.uint8] = cv2.cvtColor(pixels, codes[channels]).astype(np.uint8, copy=False)
    return rgb
