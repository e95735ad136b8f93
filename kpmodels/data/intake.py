"""Images of a drop read, hashed and proved whole, by a few threads and in order, with little in memory at a time."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

from kpmodels.data.decode import BrokenImageError, verify_image
from kpmodels.data.drop import DropImage
from kpmodels.data.schema import image_id

_CHUNK_IMAGES, _CHUNK_BYTES = 8, 2**20
"""A task takes so many images, or so many bytes of files: threads cost less than they save, and large images do not
pile up."""
_AHEAD = 4
"""Tasks per thread that are begun: the threads go on while a shard is written."""


@dataclass(slots=True)
class Taken:
    """One image read; ``error`` says what is wrong with it, and then the rest is empty."""

    image: DropImage
    image_id: str = ""
    data: bytes = b""
    width: int = 0
    height: int = 0
    error: str = ""


def take_in(images: list[DropImage], thorough: bool, known: frozenset[str] = frozenset()) -> Iterator[Taken]:
    """Read the images in their order.

    Args:
        images: Of a drop.
        thorough: See ``decode.verify_image``.
        known: Ids that are in the data set already: their bytes are not kept, and were verified when they came.
    """
    threads = min(8, os.cpu_count() or 1)
    chunks = _chunks(images)
    with ThreadPoolExecutor(threads, thread_name_prefix="intake") as pool:
        waiting: deque[Future[list[Taken]]] = deque()
        for chunk in islice(chunks, _AHEAD * threads):
            waiting.append(pool.submit(_take, chunk, thorough, known))
        while waiting:
            done = waiting.popleft().result()
            following = next(chunks, None)
            if following is not None:
                waiting.append(pool.submit(_take, following, thorough, known))
            yield from done


def _chunks(images: list[DropImage]) -> Iterator[list[DropImage]]:
    chunk: list[DropImage] = []
    size = 0
    for image in images:
        chunk.append(image)
        size += image.file_bytes()
        if len(chunk) == _CHUNK_IMAGES or size >= _CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _take(images: list[DropImage], thorough: bool, known: frozenset[str]) -> list[Taken]:
    return [_take_one(image, thorough, known) for image in images]


def _take_one(image: DropImage, thorough: bool, known: frozenset[str]) -> Taken:
    try:
        data = image.read()
        id = image_id(data)
        width, height = verify_image(data, thorough and id not in known)
    except BrokenImageError as error:
        return Taken(image, error=str(error))
    except (OSError, MemoryError) as error:
        return Taken(image, error=f"cannot be read: {error}")
    return Taken(image, id, b"" if id in known else data, width, height)
