"""Random changes of training rows, drawn from (seed, epoch, sample) alone: never from the order or the process.

Each sample draws one vector of uniform numbers; the geometry of a whole batch is then computed at once from the
matrix of draws. Geometry is one affine map in input pixels, to be composed with the row's own, so that an image
is warped once. Colours are changed in uint8, brightness and contrast by one table look-up.

Suffixes: R rows, D draws, 23 an affine map used as ``A @ (x, y, 1)``, L the 256 grey levels.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from kpmodels.config.data import AugmentOptions

BLUR_SIGMAS = (0.4, 1.2)
ERASE_SIDES = (0.1, 0.4)


class Draw(IntEnum):
    """The columns of the draws. Append only: a new column in the middle would change every seeded run."""

    FLIP = 0
    FLIP_VERTICAL = 1
    ROTATION = 2
    SCALE = 3
    SHIFT_X = 4
    SHIFT_Y = 5
    BRIGHTNESS = 6
    CONTRAST = 7
    NOISE = 8
    BLUR = 9
    BLUR_SIGMA = 10
    ERASE = 11
    ERASE_WIDTH = 12
    ERASE_HEIGHT = 13
    ERASE_X = 14
    ERASE_Y = 15
    ERASE_GREY = 16
    REGION = 17
    TILE_X = 18
    TILE_Y = 19


def draw(seed: int, epoch: int, samples: Any) -> NDArray[np.float64]:
    """Uniform numbers in [0, 1): ``[R, D]``, the columns are those of ``Draw``."""
    rows = [np.random.default_rng([seed, epoch, int(sample)]).random(len(Draw)) for sample in samples]
    return np.stack(rows) if rows else np.zeros((0, len(Draw)))


def _signed(column_R: NDArray[np.float64], largest: float) -> NDArray[np.float64]:
    """Draws of [0, 1) as values in [-largest, largest)."""
    return (2 * column_R - 1) * largest


def random_affines(
    draws_RD: NDArray[np.float64], options: AugmentOptions, size: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Random flips, rotation, scale and shift about the centre of an input of ``size`` pixels.

    Returns:
        The maps ``[R, 2, 3]`` from input to input pixels, and ``[R]`` True where the image is mirrored. One flip, to
        the side or upside down, mirrors, so that left and right keypoints swap; both together are a half turn.
    """
    flip_R = draws_RD[:, Draw.FLIP] < options.flip
    flip_vertical_R = draws_RD[:, Draw.FLIP_VERTICAL] < options.flip_vertical
    angle_R = np.deg2rad(_signed(draws_RD[:, Draw.ROTATION], options.rotation or 0.0))
    scale_R = 1 + _signed(draws_RD[:, Draw.SCALE], options.scale)
    shift_R2 = _signed(draws_RD[:, [Draw.SHIFT_X, Draw.SHIFT_Y]], options.translation) * size
    cos_R, sin_R = scale_R * np.cos(angle_R), scale_R * np.sin(angle_R)
    linear_R22 = np.stack([cos_R, -sin_R, sin_R, cos_R], axis=1).reshape(-1, 2, 2)
    linear_R22[:, :, 0] *= np.where(flip_R, -1, 1)[:, None]
    linear_R22[:, :, 1] *= np.where(flip_vertical_R, -1, 1)[:, None]
    middle_2 = np.full(2, (size - 1) / 2)
    offset_R2 = middle_2 + shift_R2 - linear_R22 @ middle_2
    return np.concatenate([linear_R22, offset_R2[:, :, None]], axis=2), flip_R != flip_vertical_R


def colour_tables(draws_RD: NDArray[np.float64], options: AugmentOptions) -> NDArray[np.uint8]:
    """Brightness and contrast as one look-up table per row, ``[R, 256]``."""
    contrast_R1 = 1 + _signed(draws_RD[:, [Draw.CONTRAST]], options.contrast)
    brightness_R1 = 1 + _signed(draws_RD[:, [Draw.BRIGHTNESS]], options.brightness)
    levels_RL = ((np.arange(256) - 127.5) * contrast_R1 + 127.5) * brightness_R1
    return np.rint(levels_RL).clip(0, 255).astype(np.uint8)


def change_colours(
    images_RHW3: NDArray[np.uint8], draws_RD: NDArray[np.float64], options: AugmentOptions, keys: list[list[int]]
) -> None:
    """Change the images in place: brightness and contrast, blur, noise, and one erased rectangle.

    Args:
        keys: ``[seed, epoch, sample]`` of each row, from which its noise is drawn.
    """
    tables_RL = colour_tables(draws_RD, options) if options.brightness or options.contrast else None
    for row, image_HW3 in enumerate(images_RHW3):
        draws_D = draws_RD[row]
        if tables_RL is not None:
            cv2.LUT(image_HW3, tables_RL[row], dst=image_HW3)
        if draws_D[Draw.BLUR] < options.blur:
            low, high = BLUR_SIGMAS
            sigma = low + draws_D[Draw.BLUR_SIGMA] * (high - low)
            cv2.GaussianBlur(image_HW3, (5, 5), sigma, dst=image_HW3)
        if options.noise:
            _add_noise(image_HW3, draws_D[Draw.NOISE] * options.noise, keys[row])
        if draws_D[Draw.ERASE] < options.erase:
            _erase(image_HW3, draws_D)


def _add_noise(image_HW3: NDArray[np.uint8], deviation: float, key: list[int]) -> None:
    generator = np.random.default_rng([*key, 1])
    noise_HW3 = generator.standard_normal(image_HW3.shape, dtype=np.float32)
    noise_HW3 *= np.float32(deviation)
    noise_HW3 += image_HW3
    np.rint(noise_HW3, out=noise_HW3)
    image_HW3[:] = noise_HW3.clip(0, 255, out=noise_HW3)


def _erase(image_HW3: NDArray[np.uint8], draws_D: NDArray[np.float64]) -> None:
    """Fill a rectangle of 0.1 to 0.4 of the input's sides with one grey; keypoints under it stay labelled."""
    height, width = image_HW3.shape[:2]
    low, high = ERASE_SIDES
    w = round(width * (low + (high - low) * draws_D[Draw.ERASE_WIDTH]))
    h = round(height * (low + (high - low) * draws_D[Draw.ERASE_HEIGHT]))
    x, y = int((width - w) * draws_D[Draw.ERASE_X]), int((height - h) * draws_D[Draw.ERASE_Y])
    image_HW3[y : y + h, x : x + w] = int(256 * draws_D[Draw.ERASE_GREY])
