"""Binary masks of small targets: ``images/`` and ``masks/`` with the same stems; each 8-connected component is a point.

The point is the component's centroid (pixel centres at integers), its box the tight one (x1 and y1 the first, x2 and y2
one past the last column and row), its area the number of pixels.
"""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from kpmodels.config.ingest import IngestOptions
from kpmodels.data.decode import BrokenImageError
from kpmodels.data.drop import IMAGE_SUFFIXES, Drop, DropImage, Label, walk_files
from kpmodels.errors import UserError

_MASK_FOLDERS = ("masks", "mask", "labels", "gt", "groundtruth", "annotations")
_SUFFIX = re.compile(r"[-_. ]?(mask|masks|pixels0|gt|label|seg|target)$", re.IGNORECASE)


def find_masks(root: Path) -> tuple[Path, Path] | None:
    """The folders (images, masks), or None. Masks lie in a folder of that name beside one named ``images``."""
    for folder in [root, *(path for path in sorted(root.glob("*")) if path.is_dir())]:
        images = next((path for path in (folder / "images", folder / "img", folder / "image") if path.is_dir()), None)
        for name in _MASK_FOLDERS:
            masks = folder / name
            if images and masks.is_dir() and any(True for _ in walk_files(masks, IMAGE_SUFFIXES)):
                return images, masks
    return None


def read_masks(root: Path, options: IngestOptions) -> Drop:
    """Images and their masks as a drop of one keypoint, ``centre``.

    Raises:
        UserError: When the two folders are not there.
    """
    folders = find_masks(root)
    if folders is None:
        raise UserError(
            f"{root}: no folders images/ and masks/", "put the images and their masks there, with equal names"
        )
    images, masks = folders
    drop = Drop("masks", categories=(options.category or "target",), keypoints=options.keypoints or ("centre",))
    by_stem: dict[str, Path] = {}
    for path in walk_files(masks, IMAGE_SUFFIXES):
        by_stem.setdefault(path.relative_to(masks).with_suffix("").as_posix(), path)
        by_stem.setdefault(_SUFFIX.sub("", path.relative_to(masks).with_suffix("").as_posix()), path)
    used = set()
    for path in walk_files(images, IMAGE_SUFFIXES):
        name = path.relative_to(images)
        mask = by_stem.get(name.with_suffix("").as_posix())
        used.add(mask)
        _add(drop, DropImage(name.as_posix(), path, folder=path.parent.name), mask, options)
    for path in sorted(set(by_stem.values()) - used):
        mask_name = f"{masks.name}/{path.relative_to(masks).as_posix()}"
        drop.problems.add(
            "label for a missing image", mask_name, "", f"no image in {images.name}/ has this stem", "add the image"
        )
    return drop


def _add(drop: Drop, image: DropImage, mask: Path | None, options: IngestOptions) -> None:
    if mask is None:
        if options.unlabelled == "empty":
            drop.images.append(image)
        else:
            remedy = "add an empty mask, or take such images as empty with --set unlabelled=empty"
            drop.problems.add("unlabelled image", image.name, "", "it has no mask", remedy)
        return
    try:
        pixels = _read_mask(mask)
    except BrokenImageError as error:
        drop.problems.add("broken mask", f"{mask.parent.name}/{mask.name}", "", str(error), "export it again")
        return
    image.size = (pixels.shape[1], pixels.shape[0])
    image.labels = components(pixels)
    drop.images.append(image)


def _read_mask(path: Path) -> NDArray[np.bool_]:
    """True where the mask is above the middle of its own range: masks are 0/1, 0/255 or almost so (JPEG)."""
    data = path.read_bytes()
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    if pixels is None:
        raise BrokenImageError("the mask cannot be decoded")
    if pixels.ndim == 3:
        pixels = pixels[..., : min(3, pixels.shape[2])].max(2)
    return np.asarray(pixels > (pixels.max() / 2 if pixels.max() > 1 else 0))


def components(mask_HW: NDArray[np.bool_]) -> list[Label]:
    """One label per 8-connected component, from top to bottom."""
    count, _, stats, centres = cv2.connectedComponentsWithStats(mask_HW.astype(np.uint8), connectivity=8)
    labels = []
    for x, y, width, height, area, (cx, cy) in [(*stats[i], centres[i]) for i in range(1, count)]:
        keypoints = np.array([[cx, cy, 2]], np.float32)
        box = (float(x), float(y), float(x + width), float(y + height))
        labels.append(Label(keypoints, box=box, area=float(area)))
    return labels
