from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from kpmodels.data import intake
from kpmodels.data.drop import DropImage
from kpmodels.data.intake import take_in
from kpmodels.data.schema import image_id


def drop_images(folder: Path, count: int) -> list[DropImage]:
    images = []
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 255, (16, 16 + number % 3, 3), np.uint8)
        path = folder / f"{number}.png"
        path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
        images.append(DropImage(path.name, path))
    return images


@pytest.mark.parametrize("thorough", [False, True])
def test_images_come_in_their_order_with_what_is_wrong(tmp_path: Path, thorough: bool) -> None:
    images = drop_images(tmp_path, 40)
    (tmp_path / "7.png").write_bytes((tmp_path / "7.png").read_bytes()[:-20])
    (tmp_path / "9.png").unlink()
    taken = list(take_in(images, thorough))
    assert [one.image.name for one in taken] == [f"{number}.png" for number in range(40)]
    assert [number for number, one in enumerate(taken) if one.error] == [7, 9]
    assert "cannot be read" in taken[9].error
    for number in (0, 8, 39):
        assert taken[number].data == (tmp_path / f"{number}.png").read_bytes()
        assert taken[number].image_id == image_id(taken[number].data)
        assert (taken[number].width, taken[number].height) == (16 + number % 3, 16)


def test_bytes_of_known_images_are_not_kept(tmp_path: Path) -> None:
    images = drop_images(tmp_path, 3)
    known = image_id((tmp_path / "1.png").read_bytes())
    assert [bool(one.data) for one in take_in(images, True, frozenset({known}))] == [True, False, True]


def test_little_is_read_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many images there are, and one by one where they are large."""
    monkeypatch.setattr(intake, "_CHUNK_BYTES", 1)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    read: list[str] = []
    images = drop_images(tmp_path, 60)
    plain = DropImage.read

    def reading(image: DropImage) -> bytes:
        read.append(image.name)
        return plain(image)

    monkeypatch.setattr(DropImage, "read", reading)
    for done, _ in enumerate(take_in(images, False), 1):
        assert len(read) <= done + 2 * intake._AHEAD
    assert len(read) == 60
