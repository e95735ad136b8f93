"""What changed between two versions of a data set: images, instances, how far keypoints moved, splits."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from kpmodels.data.splits import SPLITS
from kpmodels.data.store import DatasetStore
from kpmodels.structures import Instances


@dataclass
class DatasetDiff:
    """The difference of two versions; images by id, sorted.

    Attributes:
        old, new: Name and fingerprint of the two.
        images_added, images_removed: Ids.
        images_relabelled: Ids of images in both whose labels differ.
        images_moved: Ids of images in both that changed their split (never by adding images).
        instances_added, instances_removed: In all images.
        instances_changed: In images of both: the same instance with other keypoints, box, category or crowd flag.
        instances_relabelled: Of these, those with another category.
        keypoints_appeared, keypoints_vanished: Labelled in one version only, of instances in both.
        movement: Of keypoints labelled in both versions at different places: count, and mean, median, p95, max in pixels.
        movement_by_keypoint: The same, by keypoint name.
        splits: Images per split, before and after.
        info_changes: What the data set says of itself: before and after.
        categories: Instances per category, before and after.
    """

    old: dict[str, str]
    new: dict[str, str]
    images_added: list[str] = field(default_factory=list)
    images_removed: list[str] = field(default_factory=list)
    images_relabelled: list[str] = field(default_factory=list)
    images_moved: list[str] = field(default_factory=list)
    instances_added: int = 0
    instances_removed: int = 0
    instances_changed: int = 0
    instances_relabelled: int = 0
    keypoints_appeared: int = 0
    keypoints_vanished: int = 0
    movement: dict[str, float] = field(default_factory=dict)
    movement_by_keypoint: dict[str, dict[str, float]] = field(default_factory=dict)
    splits: dict[str, dict[str, int]] = field(default_factory=dict)
    info_changes: dict[str, list[Any]] = field(default_factory=dict)
    categories: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def empty(self) -> bool:
        """Whether nothing changed."""
        lists = (self.images_added, self.images_removed, self.images_relabelled, self.images_moved, self.info_changes)
        return not any(lists)

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "empty": self.empty}


def diff_versions(old: DatasetStore, new: DatasetStore) -> DatasetDiff:
    """Compare two versions of a data set. Keypoints and categories are matched by name.

    Instances of an image are matched by annotation id, and what is left over by the nearest (least sum of mean keypoint
    distances, or of distances of box centres where there are no keypoints in common).
    """
    before, after = set(old.image_ids), set(new.image_ids)
    diff = DatasetDiff(_identity(old), _identity(new))
    diff.images_added, diff.images_removed = sorted(after - before), sorted(before - after)
    diff.instances_added = sum(len(new.instances(one)) for one in diff.images_added)
    diff.instances_removed = sum(len(old.instances(one)) for one in diff.images_removed)
    shared = [k for k in old.info.skeleton.names if k in new.info.skeleton.names]
    columns = [[store.info.skeleton.names.index(k) for k in shared] for store in (old, new)]
    moves: list[NDArray[np.float64]] = []
    for one in sorted(before & after):
        if old.record(one).split != new.record(one).split:
            diff.images_moved.append(one)
        _compare_image(diff, one, old, new, columns, moves)
    moves_NK = np.concatenate(moves) if moves else np.zeros((0, len(shared)))
    diff.movement = _statistics(moves_NK.ravel())
    diff.movement_by_keypoint = {name: _statistics(moves_NK[:, k]) for k, name in enumerate(shared)}
    diff.splits = {s: {"before": len(old.split(s)), "after": len(new.split(s))} for s in SPLITS}
    a, b = old.info.to_dict(), new.info.to_dict()
    diff.info_changes = {key: [a[key], b[key]] for key in a if a[key] != b[key]}
    counts = [_categories(store) for store in (old, new)]
    names = dict.fromkeys([*counts[0], *counts[1]])
    diff.categories = {name: {"before": counts[0].get(name, 0), "after": counts[1].get(name, 0)} for name in names}
    return diff


def _identity(store: DatasetStore) -> dict[str, str]:
    return {"name": store.info.name, "fingerprint": store.fingerprint}


def _categories(store: DatasetStore) -> dict[str, int]:
    counts = np.zeros(len(store.info.categories), int)
    for one in store.image_ids:
        np.add.at(counts, store.instances(one).labels, 1)
    return {name: int(count) for name, count in zip(store.info.categories, counts, strict=True)}


def _compare_image(
    diff: DatasetDiff,
    image_id: str,
    old: DatasetStore,
    new: DatasetStore,
    columns: list[list[int]],
    moves: list[NDArray[np.float64]],
) -> None:
    """Count what changed in one image; ``moves`` gets a row per instance: pixels per keypoint, NaN where it did not move."""
    a, b = old.instances(image_id), new.instances(image_id)
    points_a, points_b = a.keypoints[:, columns[0]].astype(np.float64), b.keypoints[:, columns[1]].astype(np.float64)
    pairs = match_instances(a, b, points_a, points_b)
    changed = len(a) != len(pairs) or len(b) != len(pairs)
    diff.instances_removed += len(a) - len(pairs)
    diff.instances_added += len(b) - len(pairs)
    for i, j in pairs:
        other_label = old.info.categories[a.labels[i]] != new.info.categories[b.labels[j]]
        same_points = np.array_equal(points_a[i], points_b[j])
        same = same_points and np.array_equal(a.boxes[i], b.boxes[j]) and a.crowd[i] == b.crowd[j] and not other_label
        if same and a.areas[i] == b.areas[j]:
            continue
        changed = True
        diff.instances_changed += 1
        diff.instances_relabelled += int(other_label)
        seen_a, seen_b = points_a[i, :, 2] > 0, points_b[j, :, 2] > 0
        diff.keypoints_appeared += int((seen_b & ~seen_a).sum())
        diff.keypoints_vanished += int((seen_a & ~seen_b).sum())
        distance = np.hypot(*(points_b[j, :, :2] - points_a[i, :, :2]).T)
        moves.append(np.where(seen_a & seen_b & (distance > 0), distance, np.nan)[None])
    if changed:
        diff.images_relabelled.append(image_id)


def match_instances(
    a: Instances, b: Instances, points_a: NDArray[np.float64], points_b: NDArray[np.float64]
) -> list[tuple[int, int]]:
    """Pairs of rows of ``a`` and ``b`` that are the same instance: by id, then the nearest one to one."""
    of_b = {id: j for j, id in enumerate(b.ids)}
    pairs = [(i, of_b[id]) for i, id in enumerate(a.ids) if id in of_b]
    left_a = sorted(set(range(len(a))) - {i for i, _ in pairs})
    left_b = sorted(set(range(len(b))) - {j for _, j in pairs})
    if left_a and left_b:
        cost = _distances(points_a[left_a], points_b[left_b], a.boxes[left_a], b.boxes[left_b])
        rows, cols = linear_sum_assignment(cost)
        pairs += [(left_a[r], left_b[c]) for r, c in zip(rows, cols, strict=True)]
    return pairs


def _distances(
    points_a: NDArray[np.float64], points_b: NDArray[np.float64], boxes_a: NDArray[Any], boxes_b: NDArray[Any]
) -> NDArray[np.float64]:
    """``[A, B]``: mean distance of the keypoints labelled in both, else of the centres of the boxes."""
    centres_a, centres_b = ((boxes[:, :2] + boxes[:, 2:]) / 2 for boxes in (boxes_a, boxes_b))
    of_boxes_AB = np.hypot(*np.moveaxis(centres_a[:, None] - centres_b[None], -1, 0))
    both_ABK = (points_a[:, None, :, 2] > 0) & (points_b[None, :, :, 2] > 0)
    distance_ABK = np.hypot(*np.moveaxis(points_a[:, None, :, :2] - points_b[None, :, :, :2], -1, 0))
    count_AB = both_ABK.sum(-1)
    mean_AB = (distance_ABK * both_ABK).sum(-1) / np.maximum(count_AB, 1)
    return np.where(count_AB > 0, mean_AB, of_boxes_AB)


def _statistics(distances: NDArray[np.float64]) -> dict[str, float]:
    moved = distances[np.isfinite(distances)]
    if not len(moved):
        return {"count": 0}
    numbers = {"mean": moved.mean(), "median": np.median(moved), "p95": np.percentile(moved, 95), "max": moved.max()}
    return {"count": len(moved), **{name: round(float(number), 4) for name, number in numbers.items()}}


def print_diff(diff: DatasetDiff) -> None:
    """The difference as a table on standard output."""
    from rich.console import Console
    from rich.table import Table

    table = Table(
        "", "before", "after", title=f"{diff.old['name']}  {diff.old['fingerprint']} -> {diff.new['fingerprint']}"
    )
    for split, counts in diff.splits.items():
        table.add_row(f"images in {split}", str(counts["before"]), str(counts["after"]))
    for name, counts in diff.categories.items():
        table.add_row(f"instances of {name}", str(counts["before"]), str(counts["after"]))
    for key, (before, after) in diff.info_changes.items():
        table.add_row(key, str(before), str(after))
    console = Console()
    console.print(table)
    if diff.empty:
        console.print("no difference")
        return
    for word, ids in (
        ("added", diff.images_added),
        ("removed", diff.images_removed),
        ("relabelled", diff.images_relabelled),
        ("in another split", diff.images_moved),
    ):
        shown = " ".join(ids[:6]) + (f" +{len(ids) - 6} more" if len(ids) > 6 else "")
        console.print(f"images {word}: {len(ids)}  {shown}", soft_wrap=True)
    console.print(
        f"instances: {diff.instances_added} added, {diff.instances_removed} removed, {diff.instances_changed} changed"
    )
    console.print(f"  of these with another category: {diff.instances_relabelled}")
    console.print(f"keypoints: {diff.keypoints_appeared} newly labelled, {diff.keypoints_vanished} no longer labelled")
    for name, numbers in {"all": diff.movement, **diff.movement_by_keypoint}.items():
        if numbers["count"]:
            spread = ", ".join(f"{key} {numbers[key]:.2f}" for key in ("mean", "median", "p95", "max"))
            console.print(f"  {name}: {numbers['count']} moved; pixels: {spread}")
