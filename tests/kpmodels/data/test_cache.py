"""Memory-mapped copies of the shards: the same bytes, made once, shared, bounded."""

from __future__ import annotations

import os
import pickle
import threading
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kpmodels.data import cache
from kpmodels.data.cache import Decoded, DecodedImages, MappedImages, ParquetImages, cache_folder, open_images
from kpmodels.data.store import DatasetStore
from kpmodels.structures import Instances


@pytest.fixture
def store(write_store: Callable) -> DatasetStore:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (8 + i, 9, 3), np.uint8) for i in range(8)]
    return write_store(images, [Instances.empty(1)] * 8)


def test_gives_the_bytes_of_the_store_without_a_copy(store: DatasetStore, tmp_path: Path) -> None:
    images = open_images(store, tmp_path / "c")
    assert isinstance(images, MappedImages)
    for one in reversed(store.image_ids):
        assert isinstance(images.read(one), memoryview)
        assert bytes(images.read(one)) == store.read_bytes(one)
    assert len(list((tmp_path / "c").glob("*.arrow"))) == len(store.shards) == 3
    with pytest.raises(KeyError):
        images.read("nothing")


def test_travels_to_other_processes(store: DatasetStore) -> None:
    images = open_images(store)
    one = store.image_ids[0]
    before = bytes(images.read(one))
    assert bytes(pickle.loads(pickle.dumps(images)).read(one)) == before
    assert list(cache_folder().glob("*.arrow"))


def test_is_made_once(store: DatasetStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Path] = []
    write = cache._write_copy
    monkeypatch.setattr(cache, "_write_copy", lambda file, path: (made.append(path), write(file, path))[1])
    threads = [threading.Thread(target=open_images, args=(store, tmp_path / "c")) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == len(set(made)) == 3
    assert not list((tmp_path / "c").glob("*.partial*"))


def test_a_damaged_copy_is_made_again(store: DatasetStore, tmp_path: Path) -> None:
    open_images(store, tmp_path / "c")
    victim = sorted((tmp_path / "c").glob("*.arrow"))[0]
    victim.write_bytes(victim.read_bytes()[:100])
    images = open_images(store, tmp_path / "c")
    assert all(bytes(images.read(one)) == store.read_bytes(one) for one in store.image_ids)


def test_a_full_disk_is_told_and_survived(store: DatasetStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 10})()
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: usage)
    with pytest.warns(UserWarning, match="KP_CACHE"):
        images = open_images(store, tmp_path / "c")
    assert isinstance(images, ParquetImages)
    for copy in (images, pickle.loads(pickle.dumps(images))):
        assert all(bytes(copy.read(one)) == store.read_bytes(one) for one in store.image_ids)
    assert not list((tmp_path / "c").glob("*.arrow*"))
    assert not list((tmp_path / "c").glob("*.partial*"))


def test_a_folder_that_cannot_be_made_is_told_and_survived(store: DatasetStore, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="no image cache"):
        images = open_images(store, tmp_path / "file")
    assert images.read(store.image_ids[0]) == store.read_bytes(store.image_ids[0])


def test_the_oldest_copies_go_first_and_own_ones_stay(store: DatasetStore, tmp_path: Path) -> None:
    folder = tmp_path / "c"
    folder.mkdir()
    for age, name in ((100, "old"), (10, "new")):
        path = folder / f"{name}.arrow"
        path.write_bytes(b"x" * 5000)
        os.utime(path, (path.stat().st_mtime - age,) * 2)
    open_images(store, folder)
    own = sum(path.stat().st_size for path in folder.glob("*.arrow")) - 10000
    open_images(store, folder, max_bytes=own + 6000)
    assert not (folder / "old.arrow").exists()
    assert (folder / "new.arrow").exists()
    images = open_images(store, folder, max_bytes=0)
    assert not (folder / "new.arrow").exists()
    assert bytes(images.read(store.image_ids[0])) == store.read_bytes(store.image_ids[0])


def test_an_empty_data_set(write_store: Callable) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        images = open_images(write_store([np.zeros((4, 4, 3), np.uint8)], [Instances.empty(1)]))
    with pytest.raises(KeyError):
        images.read("")


class TestDecoded:
    def image(self, value: int) -> Decoded:
        return Decoded(np.full((10, 10, 3), value, np.uint8))

    def test_keeps_what_was_used_last(self) -> None:
        images, decoded = DecodedImages(700), []

        def get(number: int) -> int:
            def decode() -> Decoded:
                decoded.append(number)
                return self.image(number)

            return int(images.get((number, 1), decode).pixels_HW3[0, 0, 0])

        assert [get(n) for n in (1, 2, 1, 3, 1, 2)] == [1, 2, 1, 3, 1, 2]
        assert decoded == [1, 2, 3, 2]

    def test_of_no_size_keeps_nothing_and_travels_empty(self) -> None:
        images = pickle.loads(pickle.dumps(DecodedImages(0)))
        first = images.get((0, 1), lambda: self.image(1))
        assert images.get((0, 1), lambda: self.image(2)).pixels_HW3[0, 0, 0] != first.pixels_HW3[0, 0, 0]
