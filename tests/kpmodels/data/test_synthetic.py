"""The bundled set: small, repeatable, correctly labelled."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from kpmodels.data.synthetic import FLIP_PAIRS, HEIGHT, NAMES, SIGMAS, WIDTH, draw_critter, draw_dots, make_shapes


@pytest.mark.parametrize("kind", ["pose", "points"])
def test_is_a_small_complete_coco_drop_that_repeats(tmp_path: Path, kind: str) -> None:
    for name, count in (("one", 12), ("other", 14)):
        make_shapes(tmp_path / name, count=count, seed=3, kind=kind)  # type: ignore[arg-type]
    content = json.loads((tmp_path / "one/annotations.json").read_text())
    assert len(content["images"]) == 12
    for image in content["images"]:
        path = tmp_path / "one/images" / image["file_name"]
        assert path.read_bytes() == (tmp_path / "other/images" / image["file_name"]).read_bytes()
        assert cv2.imread(str(path)).shape == (image["height"], image["width"], 3)
    assert sum(path.stat().st_size for path in tmp_path.glob("one/**/*") if path.is_file()) / 12 < 1.5e6 / 160
    keys = content["categories"][0]["keypoints"]
    for one in content["annotations"]:
        keypoints = np.reshape(one["keypoints"], (len(keys), 3))
        assert one["num_keypoints"] == len(keys)
        assert (keypoints[:, :2] >= 0).all()
        assert (keypoints[:, :2] <= (WIDTH - 1, HEIGHT - 1)).all()
        x, y, w, h = one["bbox"]
        assert 0 <= x < x + w <= WIDTH
        assert 0 <= y < y + h <= HEIGHT
        assert 0 < one["area"] <= w * h
    assert len({one["id"] for one in content["annotations"]}) == len(content["annotations"])
    make_shapes(tmp_path / "seed", count=1, seed=4, kind=kind)  # type: ignore[arg-type]
    assert (tmp_path / "seed/images/shapes-0001.jpg").read_bytes() != (
        tmp_path / "one/images/shapes-0001.jpg"
    ).read_bytes()


def test_labels_scatter_as_the_sigmas_say() -> None:
    drawn = [draw_critter(np.random.default_rng(i)) for i in range(250)]
    squared = [((d.labels_NK2 - d.places_NK2) ** 2).sum(2)[0] / d.areas_N[0] for d in drawn]
    assert np.allclose(np.sqrt(np.mean(squared, axis=0)), SIGMAS, rtol=0.15)
    assert 0.1 < np.mean([d.hidden_NK.any() for d in drawn]) < 0.3


def test_left_is_to_the_left_of_the_flight() -> None:
    assert [NAMES[i - 1] for i in FLIP_PAIRS[0]] == ["left_wing", "right_wing"]
    for number in range(20):
        places = draw_critter(np.random.default_rng(number)).places_NK2[0]
        ahead, across = places[0] - places[3], places[1] - places[2]
        assert ahead[0] * across[1] - ahead[1] * across[0] < 0


def test_the_beak_is_where_its_keypoint_is() -> None:
    """The beak's colour (dark olive or red among light ones) ends at the nose: the body's colour is not beyond it."""
    for number in range(20):
        drawn = draw_critter(np.random.default_rng(1000 + number))
        nose, rump = drawn.places_NK2[0][0], drawn.places_NK2[0][3]
        ahead = (nose - rump) / np.hypot(*(nose - rump))
        if drawn.hidden_NK[0][0]:
            continue
        inside, beyond = nose - 4 * ahead, nose + 3 * ahead
        pixels = [drawn.image_HW3[tuple(np.rint(p[::-1]).astype(int))].astype(int) for p in (inside, beyond)]
        hue = [int(p.max() - p.min()) for p in pixels]
        assert hue[0] > hue[1] or np.abs(pixels[0] - pixels[1]).sum() > 60


def test_dots_are_bright_at_their_centres_and_some_images_have_none() -> None:
    drawn = [draw_dots(np.random.default_rng(i)) for i in range(60)]
    counts = [len(d.places_NK2) for d in drawn]
    assert min(counts) == 0
    assert max(counts) <= 20
    assert counts.count(0) >= 3
    for one in drawn:
        for x, y in one.places_NK2[:, 0]:
            assert one.image_HW3[round(y), round(x)].max() > 180
