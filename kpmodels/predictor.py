"""A model as a function: ``kpmodels.load("openfield-heatmap#champion")(image)``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from kpmodels.data.decode import BrokenImageError, decode_image
from kpmodels.detectors.inference import predict_boxes, predict_images
from kpmodels.errors import UserError
from kpmodels.model import LoadedModel, load_model
from kpmodels.resolve import resolve_model
from kpmodels.structures import Instances


class Predictor:
    """Finds instances in images of any size.

    Attributes:
        model: The detector with its experiment and data set info.
        batch_size: Rows per forward pass.
    """

    def __init__(self, model: LoadedModel, batch_size: int = 16) -> None:
        self.model = model
        self.batch_size = batch_size
        self.model.detector.to(memory_format=torch.channels_last)

    def __call__(self, images: Any, boxes: Any = None) -> list[Instances]:
        """What is in each image, in its pixels.

        Args:
            images: One image or a sequence of images, each a path, an RGB array ``[H, W, 3]`` (or grey ``[H, W]``) of uint8,
                or a PIL image.
            boxes: Per image, boxes ``[N, 4]`` (x1, y1, x2, y2) to look into; for a single image, its boxes. Needed by
                detectors with region ``box``; with ``image+box`` they replace the search.

        Raises:
            UserError: an image that cannot be read, or boxes that are missing or not fit for the images.
        """
        single = _is_single(images)
        arrays = [as_rgb(image) for image in ([images] if single else images)]
        detector = self.model.detector
        region = detector.row_plan(training=False)["region"]
        if boxes is None and region == "box":
            raise UserError(
                f"this {detector.kind} looks into boxes and finds none itself",
                "give boxes: predictor(image, boxes=[[x1, y1, x2, y2]]), or kp predict --boxes FILE; or train with "
                "detector.region: image+box where no image holds more than one instance",
            )
        if boxes is None or region not in ("box", "image+box"):
            return predict_images(detector, arrays, None, self.batch_size)
        return predict_boxes(detector, arrays, _checked_boxes([boxes] if single else boxes, arrays), self.batch_size)


def load(model: str | Path, device: str | torch.device | None = None) -> Predictor:
    """The predictor of a model.

    Args:
        model: ``name``, ``name@vN``, ``name#champion``, or a folder; see :mod:`kpmodels.resolve`.
        device: None: a GPU if there is one.

    Raises:
        UserError: see :func:`kpmodels.resolve.resolve_model` and :func:`kpmodels.model.load_model`.
    """
    folder = resolve_model(model)
    chosen = device if device is not None else ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return Predictor(load_model(folder, chosen))
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device {chosen}: {str(error).splitlines()[0]}", "choose --device cpu") from None


def as_rgb(image: Any) -> NDArray[np.uint8]:
    """An image of any of the kinds that a predictor takes as RGB uint8 ``[H, W, 3]``."""
    if isinstance(image, str | Path):
        return _read(Path(image))
    if hasattr(image, "convert") and not isinstance(image, np.ndarray):  # PIL
        image = np.asarray(image.convert("RGB"))
    if not isinstance(image, np.ndarray):
        raise UserError(f"an image of type {type(image).__name__}", "give a path, a uint8 array or a PIL image")
    if image.dtype != np.uint8 or image.size == 0:
        raise UserError(f"an image array of {image.dtype} {image.shape}", "give uint8, 0 to 255, as [H, W, 3] in RGB")
    if image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 1):
        return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB).astype(np.uint8, copy=False)
    if image.ndim != 3 or image.shape[2] not in (3, 4):
        raise UserError(f"an image array of shape {image.shape}", "give [H, W, 3] in RGB, or [H, W] in grey")
    return np.ascontiguousarray(image[..., :3])


def _read(path: Path) -> NDArray[np.uint8]:
    try:
        return decode_image(path.read_bytes())
    except BrokenImageError as error:
        raise UserError(f"{path}: broken image: {error}", "leave it out or save it again") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}", "name an image that exists") from None


def _is_single(images: Any) -> bool:
    return isinstance(images, str | Path | np.ndarray) or hasattr(images, "convert")


def _checked_boxes(boxes: Sequence[Any], images: list[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
    if len(boxes) != len(images):
        raise UserError(f"boxes for {len(boxes)} images, but {len(images)} images", "give one list of boxes per image")
    checked = []
    for index, own in enumerate(boxes):
        try:
            array = np.asarray(own, np.float32).reshape(-1, 4)
        except ValueError:
            raise UserError(f"boxes of image {index}: not of the form [[x1, y1, x2, y2], ...]") from None
        if not np.isfinite(array).all() or (array[:, 2:] <= array[:, :2]).any():
            raise UserError(f"boxes of image {index}: each needs x1 < x2 and y1 < y2, got {array.tolist()}")
        checked.append(array)
    return checked
