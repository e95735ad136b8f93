"""Everything suspicious in a data set, with ids."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from kpmodels.data.decode import BrokenImageError, decode_image, verify_image
from kpmodels.data.splits import SPLITS
from kpmodels.data.store import DatasetStore, ImageRecord
from kpmodels.structures import Instances

NEAR = 4
"""Images whose 64-bit difference hashes differ in at most so many bits are near-duplicates."""


@dataclass(frozen=True)
class Finding:
    """One suspicious thing. ``image_id`` and ``annotation_id`` are "" where it concerns the whole set or image."""

    kind: str
    image_id: str
    annotation_id: str
    message: str

    def to_dict(self) -> dict[str, str]:
        return asdict(self)


def check_dataset(store: DatasetStore, progress: Callable[[int, int], Any] | None = None) -> list[Finding]:
    """Look at every image (each is decoded in full) and every label.

    Args:
        store: The data set.
        progress: Called with (images done, images in all).

    Returns:
        Findings, those of the whole set first.
    """
    findings = list(_check_set(store))
    hashes = np.zeros(len(store), np.uint64)
    index = {image_id: row for row, image_id in enumerate(store.image_ids)}
    plain = np.zeros(len(store), bool)
    for done, (image_id, data) in enumerate(store.stream(), 1):
        row, record = index[image_id], store.record(image_id)
        try:
            findings += _check_bytes(record, data)
            hashes[row], plain[row] = difference_hash(decode_image(data, 64, 64))
        except BrokenImageError as error:
            findings.append(Finding("broken image", image_id, "", f"{record.file_name}: {error}"))
            plain[row] = True
        findings += _check_labels(store, record, store.instances(image_id))
        if progress:
            progress(done, len(store))
    findings += _check_sizes(store)
    findings += _check_duplicates(store, hashes, plain)
    return findings


def _check_set(store: DatasetStore) -> Iterator[Finding]:
    info = store.info
    for split in SPLITS:
        if not store.split(split):
            yield Finding("empty split", "", "", f"no image is in {split}")
    if info.task == "pose" and info.skeleton.sigmas is None:
        yield Finding("no sigmas", "", "", "no OKS sigmas: OKS numbers are made with assumed ones")
    elif info.task == "pose" and info.skeleton.sigmas_assumed:
        yield Finding("assumed sigmas", "", "", "the OKS sigmas were not measured: OKS numbers say 'assumed'")
    if not info.licence:
        yield Finding("no licence", "", "", "nothing says what may be done with the data")
    counts = np.zeros(len(info.categories), int)
    seen = np.zeros(info.num_keypoints, int)
    for image_id in store.image_ids:
        truth = store.instances(image_id)
        np.add.at(counts, truth.labels, 1)
        seen += (truth.keypoints[..., 2] > 0).sum(0)
    for number in np.flatnonzero(counts == 0):
        yield Finding("category without instances", "", "", info.categories[number])
    for number in np.flatnonzero(seen == 0):
        yield Finding("keypoint never labelled", "", "", info.skeleton.names[number])


def _check_bytes(record: ImageRecord, data: bytes) -> Iterator[Finding]:
    size = verify_image(data, thorough=True)
    if size != (record.width, record.height):
        message = (
            f"{record.file_name}: {record.width} x {record.height} in the table, {size[0]} x {size[1]} in the file"
        )
        yield Finding("wrong size", record.image_id, "", message)
    if hashlib.sha256(data).hexdigest()[:16] != record.image_id:
        yield Finding(
            "content is not the id's", record.image_id, "", f"{record.file_name}: the stored bytes were changed"
        )


def _check_labels(store: DatasetStore, record: ImageRecord, truth: Instances) -> Iterator[Finding]:
    """Suspicious labels of one image."""
    image_id, name = record.image_id, record.file_name
    if not len(truth):
        yield Finding("no instances", image_id, "", f"{name}: nothing is labelled")
        return
    size = np.array([record.width, record.height], np.float32)
    xy_NK2, seen_NK = truth.keypoints[..., :2], truth.keypoints[..., 2] > 0
    outside_NK = ((xy_NK2 < -0.5) | (xy_NK2 > size - 0.5)).any(-1) & seen_NK
    origin_NK = (xy_NK2 == 0).all(-1) & seen_NK
    away_NK = _away_from_box(truth) & ~truth.crowd[:, None]
    for kind, rows_NK in (
        ("keypoint outside its image", outside_NK),
        ("labelled keypoint at 0, 0", origin_NK),
        ("keypoint far from its box", away_NK),
    ):
        for row, k in np.argwhere(rows_NK):
            x, y = xy_NK2[row, k]
            yield Finding(kind, image_id, truth.ids[row], f"{name}: {store.info.skeleton.names[k]} at ({x:g}, {y:g})")
    boxes = truth.boxes
    for row in np.flatnonzero(((boxes[:, 2:] - boxes[:, :2]) < 1).any(1) & (store.info.task != "points")):
        yield Finding("degenerate box", image_id, truth.ids[row], f"{name}: {boxes[row].tolist()}")
    if store.info.task != "points":
        for row in np.flatnonzero(((boxes[:, :2] < -1) | (boxes[:, 2:] > size + 1)).any(1)):
            yield Finding("box over the border", image_id, truth.ids[row], f"{name}: {boxes[row].tolist()}")
    yield from _check_twins(store, record, truth)
    yield from _check_sides(store, record, truth)


def _away_from_box(truth: Instances) -> NDArray[np.bool_]:
    """``[N, K]``: labelled, and outside the box by more than half of its longer side (and 10 pixels)."""
    low_N2, high_N2 = truth.boxes[:, :2], truth.boxes[:, 2:]
    slack_N1 = np.maximum(0.5 * (high_N2 - low_N2).max(1), 10)[:, None]
    xy_NK2 = truth.keypoints[..., :2]
    gap_NK = np.maximum(low_N2[:, None] - xy_NK2, xy_NK2 - high_N2[:, None]).max(-1)
    return np.asarray((gap_NK > slack_N1) & (truth.keypoints[..., 2] > 0))


def _check_twins(store: DatasetStore, record: ImageRecord, truth: Instances) -> Iterator[Finding]:
    """Instances of one image and category that are labelled twice: boxes that overlap by more than 0.95, and keypoints
    (where both have some) that lie within 2 % of the box's longer side; points within half a pixel."""
    n = len(truth)
    if n < 2 or n > 2000:
        return
    same_NN = np.triu(truth.labels[:, None] == truth.labels[None], 1)
    same_NN &= ~(truth.crowd[:, None] | truth.crowd[None])
    if store.info.task == "points":
        xy = truth.keypoints[:, 0, :2]
        same_NN &= np.hypot(*(xy[:, None] - xy[None]).transpose(2, 0, 1)) < 0.5
    else:
        same_NN &= _iou(truth.boxes) > 0.95
    for i, j in np.argwhere(same_NN):
        both_K = (truth.keypoints[i, :, 2] > 0) & (truth.keypoints[j, :, 2] > 0)
        apart_K = np.hypot(*(truth.keypoints[i, :, :2] - truth.keypoints[j, :, :2]).T)
        near = 0.02 * float((truth.boxes[i, 2:] - truth.boxes[i, :2]).max()) + 1
        if not both_K.any() or (apart_K[both_K] < near).all():
            message = f"{record.file_name}: looks like {truth.ids[i]} labelled again"
            yield Finding("duplicate instance", record.image_id, truth.ids[j], message)


def _iou(boxes_N4: NDArray[np.float32]) -> NDArray[np.float64]:
    low = np.maximum(boxes_N4[:, None, :2], boxes_N4[None, :, :2])
    high = np.minimum(boxes_N4[:, None, 2:], boxes_N4[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(-1).astype(np.float64)
    areas = (boxes_N4[:, 2:] - boxes_N4[:, :2]).prod(-1)
    return np.asarray(shared / np.maximum(areas[:, None] + areas[None] - shared, 1e-9))


def _check_sides(store: DatasetStore, record: ImageRecord, truth: Instances) -> Iterator[Finding]:
    """Left and right at the very same place: one of the two was meant to be unlabelled."""
    names = store.info.skeleton.names
    for a, b in store.info.skeleton.flip_pairs:
        both = (truth.keypoints[:, [a, b], 2] > 0).all(1)
        same = both & (truth.keypoints[:, a, :2] == truth.keypoints[:, b, :2]).all(1)
        for row in np.flatnonzero(same):
            message = f"{record.file_name}: {names[a]} and {names[b]} at the same place"
            yield Finding("left and right coincide", record.image_id, truth.ids[row], message)


def _check_sizes(store: DatasetStore) -> Iterator[Finding]:
    """Images of a size that hardly any other has, where nearly all have the same one."""
    sizes: dict[tuple[int, int], list[str]] = {}
    for image_id in store.image_ids:
        record = store.record(image_id)
        sizes.setdefault((record.width, record.height), []).append(image_id)
    common = max(sizes, key=lambda size: len(sizes[size]))
    if len(sizes[common]) < 0.9 * len(store) or len(sizes) == 1:
        return
    for size, ids in sorted(sizes.items()):
        for image_id in ids if size != common else ():
            message = f"{store.record(image_id).file_name}: {size[0]} x {size[1]}, most are {common[0]} x {common[1]}"
            yield Finding("unusual size", image_id, "", message)


def difference_hash(image_HW3: NDArray[np.uint8]) -> tuple[np.uint64, bool]:
    """64 bits: which of 8 x 8 cells is brighter than its right neighbour, of the grey image at 9 x 8 cells; and whether
    the image is so plain that the bits mean nothing."""
    grey = cv2.cvtColor(image_HW3, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (9, 8), interpolation=cv2.INTER_AREA).astype(np.int16)
    bits = (small[:, 1:] > small[:, :-1]).ravel()
    return np.packbits(bits).view(">u8")[0].astype(np.uint64), bool(np.ptp(small) < 8)


def _check_duplicates(store: DatasetStore, hashes: NDArray[np.uint64], plain: NDArray[np.bool_]) -> Iterator[Finding]:
    """Pairs of near-duplicates in different splits; each image of a later split with its nearest of an earlier one."""
    ids = np.array(store.image_ids)
    split_of = np.array([SPLITS.index(store.record(one).split) for one in store.image_ids])
    for later, earlier in ((1, 0), (2, 0), (2, 1)):
        rows = np.flatnonzero((split_of == later) & ~plain)
        others = np.flatnonzero((split_of == earlier) & ~plain)
        for start in range(0, len(rows) if len(others) else 0, 256):
            part = rows[start : start + 256]
            distance = np.bitwise_count(hashes[part, None] ^ hashes[None, others])
            nearest = distance.argmin(1)
            for row, near, bits in zip(part, others[nearest], distance.min(1), strict=True):
                if bits <= NEAR:
                    a, b = store.record(ids[row]), store.record(ids[near])
                    message = f"{a.file_name} in {a.split} looks like {b.file_name} ({b.image_id}) in {b.split}: {bits} of 64 bits"
                    yield Finding("near-duplicate across splits", a.image_id, "", message)


def print_findings(findings: list[Finding], most: int = 20) -> None:
    """The findings by kind on standard output, the first ``most`` of each."""
    if not findings:
        print("nothing suspicious")
        return
    kinds: dict[str, list[Finding]] = {}
    for finding in findings:
        kinds.setdefault(finding.kind, []).append(finding)
    for kind, found in kinds.items():
        print(f"{kind}: {len(found)}")
        for one in found[:most]:
            ids = " ".join(part for part in (one.image_id, one.annotation_id) if part)
            print(f"  {ids + '  ' if ids else ''}{one.message}")
        if len(found) > most:
            print(f"  +{len(found) - most} more")
