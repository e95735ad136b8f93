"""What a batch is made of: the images and labels of a split, and the rows that evaluation and training see of them.

Suffixes: S samples, R rows of a batch, I images, M instances of all images (flat), D draws, 23 an affine map used as
``A @ (x, y, 1)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kpmodels.config.data import AugmentOptions
from kpmodels.data.augment import Draw, change_colours, draw, random_affines
from kpmodels.data.cache import Decoded, DecodedImages, open_images
from kpmodels.data.collate import Truths, collate, make_batch, move_truths, reduce_image, reduction, warp
from kpmodels.data.decode import BrokenImageError, decode_image
from kpmodels.data.rows import (
    Row,
    RowPlan,
    box_regions,
    compose,
    eval_rows,
    image_regions,
    labelled_rows,
    region_affines,
)
from kpmodels.data.store import DatasetStore
from kpmodels.errors import UserError
from kpmodels.structures import Batch, Instances, hull_boxes

DECODED_BYTES = 256 * 2**20
CHECK = "see what is wrong with: kp data check NAME"

Index = tuple[int, NDArray[np.int64]]
"""An epoch and the samples of one batch."""


class ImageReader:
    """The images and labels of some ids of a data set. May be pickled; opened files and decoded images stay behind."""

    def __init__(
        self, store: DatasetStore, ids: Sequence[str], cache: Path | None = None, decoded_bytes: int = DECODED_BYTES
    ) -> None:
        self.ids = list(ids)
        self.info = store.info
        self.instances = [store.instances(one) for one in self.ids]
        records = [store.record(one) for one in self.ids]
        self.names = [record.file_name for record in records]
        self.sizes_I2 = np.array([(record.width, record.height) for record in records], np.int64).reshape(-1, 2)
        self._encoded = open_images(store, cache)
        self._decoded = DecodedImages(decoded_bytes)

    def pixels(self, image: int, factor: int = 1) -> Decoded:
        """An image by its position in ``ids``, reduced by 1, 2, 4 or 8.

        Raises:
            UserError: the image cannot be decoded, or has not the size that the data set states.
        """
        return self._decoded.get((image, factor), lambda: self._decode(image, factor))

    def _decode(self, image: int, factor: int) -> Decoded:
        width, height = self.sizes_I2[image].tolist()
        reduced = (-(-height // factor), -(-width // factor))
        data: Any = self._encoded.read(self.ids[image])
        try:
            pixels_HW3 = decode_image(data, *(reduced[::-1] if factor > 1 else ()))
            if factor > 1 and pixels_HW3.shape[:2] == reduced:  # a JPEG, scaled in the DCT: exactly by the factor
                return Decoded(pixels_HW3, (1 / factor, 1 / factor))
            if pixels_HW3.shape[:2] != (height, width):
                pixels_HW3 = decode_image(data)
        except BrokenImageError as error:
            raise UserError(f"image {self.ids[image]} ({self.names[image]}): {error}", CHECK) from None
        if pixels_HW3.shape[:2] != (height, width):
            found = "x".join(str(side) for side in pixels_HW3.shape[1::-1])
            raise UserError(f"image {self.ids[image]} ({self.names[image]}): {found}, not {width}x{height}", CHECK)
        pixels_HW3 = reduce_image(pixels_HW3, factor)
        return Decoded(pixels_HW3, (pixels_HW3.shape[1] / width, pixels_HW3.shape[0] / height))


class EvalRows:
    """The rows that evaluation looks at; ``rows[(epoch, samples)]`` is the batch of those samples, never random."""

    def __init__(self, reader: ImageReader, plan: RowPlan) -> None:
        self._reader, self._plan = reader, plan
        self.rows: list[Row] = []
        self._image_S: list[int] = []
        for image, (width, height) in enumerate(reader.sizes_I2.tolist()):
            rows = eval_rows(width, height, reader.instances[image], plan)
            self.rows += rows
            self._image_S += [image] * len(rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Index) -> Batch:
        images = [self._image_S[sample] for sample in index[1]]
        decoded = {image: self._reader.pixels(image).pixels_HW3 for image in set(images)}
        return make_batch(
            [decoded[image] for image in images],
            [self.rows[sample] for sample in index[1]],
            self._plan,
            truths=[self._reader.instances[image] for image in images],
            image_ids=[self._reader.ids[image] for image in images],
        )


class TrainRows:
    """The samples of training; ``rows[(epoch, samples)]`` is their augmented batch.

    A sample is an image (regions ``image`` and ``tile``) or an instance that has a labelled keypoint and is no crowd
    (region ``box``). With ``image+box`` a sample is such an instance, or an image that has none, and its draw decides
    with equal chances whether its row shows the whole image or the hull of its keypoints: what the second pass of a
    prediction will show, since that has only the keypoints found by the first. Rows of one instance hold no other.
    """

    def __init__(self, reader: ImageReader, plan: RowPlan, augment: AugmentOptions, seed: int) -> None:
        self._reader, self._plan, self._seed = reader, plan, seed
        self._augment = augment.for_task(reader.info.task)
        self._truths = Truths.of(reader.instances, reader.info.num_keypoints)
        self._boxes_M4 = self._truths.boxes_M4
        if plan.region == "image+box":
            several_M = (self._truths.keypoints_MK3[..., 2] > 0).sum(1) > 1
            hulls_M4 = hull_boxes(self._truths.keypoints_MK3)
            self._boxes_M4 = np.where(several_M[:, None], hulls_M4, self._boxes_M4)
        pairs = [pair for image, found in enumerate(reader.instances) for pair in self._samples_of(image, found)]
        self._image_S, self._instance_S = np.array(pairs, np.int64).reshape(-1, 2).T

    def _samples_of(self, image: int, found: Instances) -> list[tuple[int, int]]:
        if self._plan.region in ("image", "tile"):
            return [(image, -1)]
        own = [(image, int(instance)) for instance in np.flatnonzero(labelled_rows(found))]
        return own or ([(image, -1)] if self._plan.region == "image+box" else [])

    def __len__(self) -> int:
        return len(self._image_S)

    def __getitem__(self, index: Index) -> Batch:
        epoch, samples_R = index
        size, reader = self._plan.input_size, self._reader
        draws_RD = draw(self._seed, epoch, samples_R)
        image_R, instance_R = self._image_S[samples_R], self._instance_S[samples_R]
        base_R23 = region_affines(*self._regions(image_R, instance_R, draws_RD), size)
        random_R23, mirrored_R = random_affines(draws_RD, self._augment, size)
        affines_R23 = compose(random_R23, base_R23)
        images_RSS3 = np.empty((len(samples_R), size, size, 3), np.uint8)
        for image, affine_23, out_SS3 in zip(image_R, affines_R23, images_RSS3, strict=True):
            decoded = reader.pixels(int(image), reduction(affine_23))
            warp(decoded.pixels_HW3, decoded.scale_xy, affine_23, out_SS3)
        keys = [[self._seed, epoch, int(sample)] for sample in samples_R]
        change_colours(images_RSS3, draws_RD, self._augment, keys)
        picked = self._truths.pick(image_R, instance_R)
        mirror = (mirrored_R, reader.info.skeleton.flip_index)
        moved = move_truths(self._truths, picked, affines_R23, size, mirror, keep_all_R=instance_R >= 0)
        flat_R = self._truths.starts_I[image_R] + instance_R
        return collate(
            images_RSS3,
            affines_R23,
            self._truths,
            moved,
            image_ids=[reader.ids[image] for image in image_R],
            instance_ids=[self._truths.ids[f] if i >= 0 else "" for f, i in zip(flat_R, instance_R, strict=True)],
            sizes=[(width, height) for width, height in reader.sizes_I2[image_R].tolist()],
        )

    def _regions(
        self, image_R: NDArray[np.int64], instance_R: NDArray[np.int64], draws_RD: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Centres ``[R, 2]`` and sides ``[R]`` of what the rows show before augmentation, in original pixels."""
        plan, sizes_R2 = self._plan, self._reader.sizes_I2[image_R]
        centre_R2, side_R = image_regions(sizes_R2)
        if plan.region == "tile":
            side = plan.input_size / plan.tile_scale
            room_R2 = np.maximum(sizes_R2 - side, 0)
            return centre_R2 + (draws_RD[:, [Draw.TILE_X, Draw.TILE_Y]] - 0.5) * room_R2, np.full(len(side_R), side)
        boxed_R = instance_R >= 0
        if plan.region == "image+box":
            boxed_R &= draws_RD[:, Draw.REGION] < 0.5
        flat_R = (self._truths.starts_I[image_R] + instance_R)[boxed_R]
        centre_R2[boxed_R], side_R[boxed_R] = box_regions(self._boxes_M4[flat_R], plan.padding)
        return centre_R2, side_R
