from __future__ import annotations

from flows.champion import comparable
from flows.lockfile import stage_hashes

LOCK = """
schema: '2.0'
stages:
  evaluate:
    cmd: x
    deps:
    - {path: models/a, hash: md5, md5: 11.dir, size: 1}
    outs:
    - {path: results/a, hash: md5, md5: 22.dir, size: 1}
"""


def test_hashes_of_what_went_in_and_came_out() -> None:
    assert stage_hashes(LOCK, "evaluate") == {"models/a": "11.dir", "results/a": "22.dir"}


def test_stage_that_never_ran_has_none() -> None:
    assert stage_hashes(LOCK, "train") == {}
    assert stage_hashes("", "train") == {}


def test_results_are_comparable_on_the_same_images_in_the_same_way() -> None:
    ours = {"data_fingerprint": "a", "options": {"radius": 5}, "images": 3, "packages": {"torch": "2"}, "model": "x"}
    assert comparable(ours, {**ours, "model": "y"})
    assert not comparable(ours, {**ours, "data_fingerprint": "b"})
    assert not comparable(ours, {**ours, "options": {"radius": 6}})
