"""The few types that everything speaks.

Coordinates are (x, y) in pixels with (0, 0) at the centre of the top left pixel. Suffixes name tensor axes:
B images of a batch, N instances (padded), K keypoints, H and W rows and columns, C channels.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Skeleton:
    """What the keypoints of a data set are called and how they hang together.

    Attributes:
        names: One name per keypoint; K of them.
        limbs: Pairs of keypoint indices (from 0) joined by a limb.
        flip_pairs: Pairs of indices that swap when the image is mirrored; keypoints in no pair map to themselves.
        sigmas: OKS constant per keypoint (the k_i / 2 of COCO), or None where the data set has none.
        sigmas_assumed: True when the sigmas were guessed and not measured: numbers made with them say so.
    """

    names: tuple[str, ...]
    limbs: tuple[tuple[int, int], ...] = ()
    flip_pairs: tuple[tuple[int, int], ...] = ()
    sigmas: tuple[float, ...] | None = None
    sigmas_assumed: bool = False

    def __post_init__(self) -> None:
        count = len(self.names)
        for label, pairs in (("limb", self.limbs), ("flip pair", self.flip_pairs)):
            for pair in pairs:
                if len(pair) != 2 or not all(0 <= index < count for index in pair):
                    raise ValueError(f"{label} {pair} names a keypoint that is not among the {count} of the skeleton")
        if self.sigmas is not None and len(self.sigmas) != count:
            raise ValueError(f"{len(self.sigmas)} OKS sigmas for {count} keypoints")

    @property
    def flip_index(self) -> list[int]:
        """``flip_index[k]`` is the keypoint that k becomes when the image is mirrored."""
        index = list(range(len(self.names)))
        for left, right in self.flip_pairs:
            index[left], index[right] = right, left
        return index

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Skeleton:
        sigmas = content.get("sigmas")
        return cls(
            names=tuple(content["names"]),
            limbs=tuple((int(a), int(b)) for a, b in content.get("limbs", ())),
            flip_pairs=tuple((int(a), int(b)) for a, b in content.get("flip_pairs", ())),
            sigmas=None if sigmas is None else tuple(float(s) for s in sigmas),
            sigmas_assumed=bool(content.get("sigmas_assumed", False)),
        )


@dataclass(frozen=True)
class DatasetInfo:
    """What a detector must know of a data set; stored in ``dataset.json`` and copied into every model.

    Attributes:
        name: The data set's name.
        task: ``pose`` (keypoints per instance), ``points`` (one point per instance) or ``boxes``.
        categories: Category names; an instance's label is an index into them.
        skeleton: Shared by all categories; one keypoint for ``points``, none for ``boxes``.
        single_instance: True when no image holds more than one instance.
        source, licence: Where it comes from and what may be done with it.
        typical_size: Median width and height of its images, or None where that was not looked at.
    """

    name: str
    task: str
    categories: tuple[str, ...]
    skeleton: Skeleton
    single_instance: bool = False
    source: str = ""
    licence: str = ""
    typical_size: tuple[int, int] | None = None

    @property
    def num_keypoints(self) -> int:
        return len(self.skeleton.names)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> DatasetInfo:
        size = content.get("typical_size")
        return cls(
            name=content["name"],
            task=content["task"],
            categories=tuple(content["categories"]),
            skeleton=Skeleton.from_dict(content["skeleton"]),
            single_instance=bool(content.get("single_instance", False)),
            source=content.get("source", ""),
            licence=content.get("licence", ""),
            typical_size=None if size is None else (int(size[0]), int(size[1])),
        )


@dataclass
class Instances:
    """What one image holds, as truth or as prediction, in pixels of the original image.

    Attributes:
        keypoints: ``[N, K, 3]`` float32: x, y, then visibility 0/1/2 (truth) or score in [0, 1] (prediction).
        boxes: ``[N, 4]`` float32: x1, y1, x2, y2.
        labels: ``[N]`` int64: index into the data set's categories.
        scores: ``[N]`` float32: 1 for truth.
        areas: ``[N]`` float32: square pixels, of the object where known and of the box otherwise.
        crowd: ``[N]`` bool: regions that hold many instances and are ignored in evaluation.
        ids: ``[N]`` annotation ids; empty strings for predictions.
        count: The number of instances that a counting detector estimates (may be a fraction), else None.
    """

    keypoints: NDArray[np.float32]
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    scores: NDArray[np.float32]
    areas: NDArray[np.float32]
    crowd: NDArray[np.bool_]
    ids: list[str] = field(default_factory=list)
    count: float | None = None

    def __post_init__(self) -> None:
        count = len(self.keypoints)
        if not self.ids:
            self.ids = [""] * count
        for name in ("boxes", "labels", "scores", "areas", "crowd", "ids"):
            if len(getattr(self, name)) != count:
                raise ValueError(f"Instances: {name} has {len(getattr(self, name))} rows, keypoints has {count}")

    def __len__(self) -> int:
        return len(self.keypoints)

    @classmethod
    def empty(cls, num_keypoints: int) -> Instances:
        return cls.make(np.zeros((0, num_keypoints, 3), np.float32))

    @classmethod
    def make(
        cls,
        keypoints: Any,
        boxes: Any = None,
        labels: Any = None,
        scores: Any = None,
        areas: Any = None,
        crowd: Any = None,
        ids: list[str] | None = None,
        count: float | None = None,
    ) -> Instances:
        """Instances from arrays of any kind; what is left out is derived (boxes from the hull of seen keypoints)."""
        keypoints = np.asarray(keypoints, np.float32)
        n = len(keypoints)
        boxes = hull_boxes(keypoints) if boxes is None else np.asarray(boxes, np.float32).reshape(n, 4)
        sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
        return cls(
            keypoints=keypoints,
            boxes=boxes,
            labels=np.zeros(n, np.int64) if labels is None else np.asarray(labels, np.int64),
            scores=np.ones(n, np.float32) if scores is None else np.asarray(scores, np.float32),
            areas=sides[:, 0] * sides[:, 1] if areas is None else np.asarray(areas, np.float32),
            crowd=np.zeros(n, bool) if crowd is None else np.asarray(crowd, bool),
            ids=list(ids) if ids else [],
            count=count,
        )

    @classmethod
    def concatenate(cls, parts: list[Instances]) -> Instances:
        """One Instances that holds the rows of all parts, in order; counts are added where all parts have one."""
        if not parts:
            raise ValueError("nothing to concatenate: how many keypoints an instance has is unknown")
        counts = [part.count for part in parts]
        return cls(
            keypoints=np.concatenate([part.keypoints for part in parts]),
            boxes=np.concatenate([part.boxes for part in parts]),
            labels=np.concatenate([part.labels for part in parts]),
            scores=np.concatenate([part.scores for part in parts]),
            areas=np.concatenate([part.areas for part in parts]),
            crowd=np.concatenate([part.crowd for part in parts]),
            ids=[one for part in parts for one in part.ids],
            count=None if any(c is None for c in counts) else float(sum(c for c in counts if c is not None)),
        )

    def select(self, index: Any) -> Instances:
        """The rows that a boolean mask or an index array picks."""
        rows = np.arange(len(self))[index]
        columns = ("keypoints", "boxes", "labels", "scores", "areas", "crowd")
        picked = {column: getattr(self, column)[rows] for column in columns}
        return replace(self, **picked, ids=[self.ids[row] for row in rows])


def hull_boxes(keypoints_NK3: NDArray[np.float32]) -> NDArray[np.float32]:
    """The tight boxes ``[N, 4]`` (x1, y1, x2, y2) of the keypoints whose third column is above 0; zeros if none."""
    seen_NK = keypoints_NK3[..., 2] > 0
    if keypoints_NK3.shape[1] == 0:
        return np.zeros((len(keypoints_NK3), 4), np.float32)
    xy = keypoints_NK3[..., :2]
    low = np.where(seen_NK[..., None], xy, np.inf).min(1)
    high = np.where(seen_NK[..., None], xy, -np.inf).max(1)
    boxes = np.concatenate([low, high], axis=1)
    boxes[~seen_NK.any(1)] = 0
    return boxes.astype(np.float32)


@dataclass
class Batch:
    """A batch of equally sized images on one device, with what they hold and the way back to the original images.

    A row is an image, or for top-down detectors the crop of one instance. All coordinates are pixels of the row's
    image (the network's input); ``to_original_B23`` maps them back: ``original = A @ (x, y, 1)``.

    Attributes:
        images_B3HW: uint8, RGB. Detectors normalize them themselves.
        keypoints_BNK3: float32, x, y, visibility 0/1/2; zeros in padding rows.
        boxes_BN4: float32, x1, y1, x2, y2.
        labels_BN: int64.
        areas_BN: float32, in square pixels of the input.
        crowd_BN: bool.
        present_BN: bool, False in padding rows.
        to_original_B23: float32.
        image_ids: Content ids of the original images, B of them.
        instance_ids: The annotation id of a top-down row, or "" for a whole image.
        sizes: (width, height) of the original images.
    """

    images_B3HW: torch.Tensor
    keypoints_BNK3: torch.Tensor
    boxes_BN4: torch.Tensor
    labels_BN: torch.Tensor
    areas_BN: torch.Tensor
    crowd_BN: torch.Tensor
    present_BN: torch.Tensor
    to_original_B23: torch.Tensor
    image_ids: list[str]
    instance_ids: list[str]
    sizes: list[tuple[int, int]]

    def __len__(self) -> int:
        return len(self.images_B3HW)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        import torch

        moved: dict[str, Any] = {
            name: value.to(device, non_blocking=non_blocking)
            for name, value in vars(self).items()
            if isinstance(value, torch.Tensor)
        }
        return replace(self, **moved)
