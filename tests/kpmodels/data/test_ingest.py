from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import pytest

from kpmodels.config.ingest import IngestOptions, parse_ingest
from kpmodels.data.ingest import build_version
from kpmodels.data.store import open_dataset
from kpmodels.errors import UserError

Drop = Callable[..., Path]


def content_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


class TestNewDataSet:
    def test_labels_come_through(self, coco_drop: Drop, tmp_path: Path) -> None:
        drop = coco_drop(count=5)
        report = build_version(drop, tmp_path / "sets" / "mice", "mice")
        store = open_dataset(tmp_path / "sets" / "mice")
        assert (report.images_added, report.instances, report.images) == (5, 5, 5)
        assert store.info.task == "pose"
        assert store.info.skeleton.names == ("nose", "left_ear", "right_ear")
        assert store.info.skeleton.limbs == ((0, 1), (0, 2))
        assert store.info.single_instance
        source = json.loads((drop / "annotations.json").read_text())
        for image_id, data in store.stream():
            record = store.record(image_id)
            assert data == (drop / "images" / record.file_name).read_bytes()
            entry = next(one for one in source["images"] if one["file_name"] == record.file_name)
            one = next(one for one in source["annotations"] if one["image_id"] == entry["id"])
            truth = store.instances(image_id)
            np.testing.assert_allclose(truth.keypoints[0].ravel(), one["keypoints"], rtol=1e-6)
            assert truth.boxes.tolist() == [[2, 3, 22, 22]]
            assert truth.ids == [str(one["id"])]

    def test_the_same_drop_makes_the_same_bytes(self, coco_drop: Drop, tmp_path: Path) -> None:
        drop = coco_drop()
        for name in ("a", "b"):
            build_version(drop, tmp_path / name, "mice")
        assert content_of(tmp_path / "a") == content_of(tmp_path / "b")
        assert open_dataset(tmp_path / "a").fingerprint == open_dataset(tmp_path / "b").fingerprint

    def test_nothing_is_left_beside_it(self, coco_drop: Drop, tmp_path: Path) -> None:
        build_version(coco_drop(), tmp_path / "sets" / "mice", "mice")
        assert [path.name for path in (tmp_path / "sets").iterdir()] == ["mice"]

    def test_dry_run_writes_nothing(self, coco_drop: Drop, tmp_path: Path) -> None:
        report = build_version(coco_drop(), tmp_path / "sets" / "mice", "mice", dry_run=True)
        assert report.dry_run
        assert report.images_added == 4
        assert not (tmp_path / "sets").exists()

    def test_flip_pairs_come_from_names_and_are_told(self, coco_drop: Drop, tmp_path: Path) -> None:
        report = build_version(coco_drop(), tmp_path / "mice", "mice")
        assert open_dataset(tmp_path / "mice").info.skeleton.flip_pairs == ((1, 2),)
        assert any("left_ear:right_ear" in note for note in report.notes)

    def test_missing_sigmas_stay_missing_and_are_told(self, coco_drop: Drop, tmp_path: Path) -> None:
        report = build_version(coco_drop(), tmp_path / "mice", "mice")
        assert open_dataset(tmp_path / "mice").info.skeleton.sigmas is None
        assert any("sigmas" in note for note in report.notes)

    def test_options_go_before_the_source(self, coco_drop: Drop, tmp_path: Path) -> None:
        options = parse_ingest(
            {
                "sigmas": 0.05,
                "flip_pairs": "none",
                "limbs": "nose:right_ear",
                "licence": "MIT",
                "split": "0.5,0.25,0.25",
            }
        )
        build_version(coco_drop(), tmp_path / "mice", "mice", options=options)
        store = open_dataset(tmp_path / "mice")
        assert store.info.skeleton.sigmas == (0.05, 0.05, 0.05)
        assert store.info.skeleton.flip_pairs == ()
        assert store.info.skeleton.limbs == ((0, 2),)
        assert store.info.licence == "MIT"
        assert store.rule.train == 0.5

    def test_progress_reaches_the_end(self, coco_drop: Drop, tmp_path: Path) -> None:
        seen: list[tuple[int, int]] = []
        build_version(coco_drop(count=3), tmp_path / "mice", "mice", progress=lambda a, b: seen.append((a, b)))
        assert seen == [(1, 3), (2, 3), (3, 3)]

    def test_groups_by_expression_share_a_split(self, coco_drop: Drop, tmp_path: Path) -> None:
        options = IngestOptions(group_by=r"^(\d)-")
        build_version(coco_drop(count=12), tmp_path / "mice", "mice", options=options)
        store = open_dataset(tmp_path / "mice")
        assert {store.record(one).group for one in store.image_ids} == {"0"}
        assert sorted(len(store.split(name)) for name in ("train", "val", "test")) == [0, 0, 12]

    def test_an_empty_split_is_told_with_the_remedy(self, coco_drop: Drop, tmp_path: Path) -> None:
        report = build_version(coco_drop(count=1), tmp_path / "mice", "mice")
        assert any("split=" in note and "no image of 1" in note for note in report.notes)

    @pytest.mark.parametrize("name", ["Mice", "../mice", "", "-a"])
    def test_bad_names(self, coco_drop: Drop, tmp_path: Path, name: str) -> None:
        with pytest.raises(UserError, match="no name"):
            build_version(coco_drop(), tmp_path / "mice", name)

    def test_a_folder_of_something_else_is_not_touched(self, coco_drop: Drop, tmp_path: Path) -> None:
        (tmp_path / "thesis").mkdir()
        (tmp_path / "thesis" / "chapter.txt").write_text("words")
        with pytest.raises(UserError, match="no data set"):
            build_version(coco_drop(), tmp_path / "thesis", "thesis")
        assert (tmp_path / "thesis" / "chapter.txt").read_text() == "words"


class TestSecondDrop:
    def test_new_images_go_to_new_shards(self, coco_drop: Drop, tmp_path: Path) -> None:
        folder = tmp_path / "mice"
        build_version(coco_drop("one"), folder, "mice")
        before, splits = (
            content_of(folder),
            {one: open_dataset(folder).record(one) for one in open_dataset(folder).image_ids},
        )
        report = build_version(coco_drop("two", count=3, seed=1), folder, "mice")
        after = content_of(folder)
        shards = [name for name in before if name.startswith("images-")]
        assert all(after[name] == before[name] for name in shards)
        assert set(report.shards_added) == {name for name in after if name.startswith("images-")} - set(shards)
        store = open_dataset(folder)
        assert len(store) == 7
        assert all(store.record(one) == record for one, record in splits.items())

    def test_the_same_drop_again_changes_nothing(self, coco_drop: Drop, tmp_path: Path) -> None:
        folder, drop = tmp_path / "mice", coco_drop()
        first = build_version(drop, folder, "mice")
        before, inode = content_of(folder), folder.stat().st_ino
        report = build_version(drop, folder, "mice")
        assert not report.changed
        assert report.fingerprint == first.fingerprint
        assert report.images_unchanged == 4
        assert content_of(folder) == before
        assert folder.stat().st_ino == inode

    def test_relabelling_rewrites_no_image_shard(self, coco_drop: Drop, tmp_path: Path) -> None:
        folder = tmp_path / "mice"
        build_version(coco_drop("one"), folder, "mice")
        before = content_of(folder)

        def move(content: dict) -> None:
            content["annotations"][2]["keypoints"][0] += 1.5

        report = build_version(coco_drop("two", edit=move), folder, "mice")
        after = content_of(folder)
        assert (report.images_added, report.images_relabelled, report.images_unchanged) == (0, 1, 3)
        assert {name for name in after if after[name] != before.get(name)} == {"annotations.parquet"}
        assert len(open_dataset(folder).image_ids) == 4

    def test_links_into_a_cache_stay_links_and_their_targets_are_not_touched(
        self, coco_drop: Drop, tmp_path: Path
    ) -> None:
        folder, cache = tmp_path / "mice", tmp_path / "cache"
        build_version(coco_drop("one"), folder, "mice")
        cache.mkdir()
        for path in list(folder.iterdir()):
            shutil.move(path, cache / path.name)
            (cache / path.name).chmod(0o444)
            path.symlink_to(cache / path.name)
        before = content_of(cache)
        build_version(coco_drop("two", count=2, seed=1), folder, "mice")
        assert content_of(cache) == before
        links = sorted(path.name for path in folder.iterdir() if path.is_symlink())
        assert links == sorted(name for name in before if name.startswith("images-"))
        assert len(open_dataset(folder)) == 6

    def test_annotation_ids_stay_unique(self, coco_drop: Drop, tmp_path: Path) -> None:
        folder = tmp_path / "mice"
        build_version(coco_drop("one"), folder, "mice")

        def same_ids(content: dict) -> None:
            for number, (image, one) in enumerate(zip(content["images"], content["annotations"], strict=True), 1):
                image["id"] = one["id"] = one["image_id"] = number

        build_version(coco_drop("two", seed=1, edit=same_ids), folder, "mice")
        store = open_dataset(folder)
        ids = [id for one in store.image_ids for id in store.instances(one).ids]
        assert len(set(ids)) == len(ids) == 8

    def test_keypoints_in_another_order_are_put_in_order(self, coco_drop: Drop, tmp_path: Path) -> None:
        folder = tmp_path / "mice"
        build_version(coco_drop("one"), folder, "mice")
        want = {one: open_dataset(folder).instances(one).keypoints for one in open_dataset(folder).image_ids}

        def reverse(content: dict) -> None:
            content["categories"][0].update(keypoints=["right_ear", "left_ear", "nose"], skeleton=[[3, 2], [3, 1]])
            for one in content["annotations"]:
                one["keypoints"] = np.reshape(one["keypoints"], (3, 3))[::-1].ravel().tolist()

        report = build_version(coco_drop("two", edit=reverse), folder, "mice")
        store = open_dataset(folder)
        assert report.images_relabelled == 0
        assert store.info.skeleton.limbs == ((0, 1), (0, 2))
        assert all(np.array_equal(store.instances(one).keypoints, points) for one, points in want.items())

    def test_other_keypoints_are_refused(self, coco_drop: Drop, tmp_path: Path) -> None:
        build_version(coco_drop("one"), tmp_path / "mice", "mice")
        with pytest.raises(UserError, match="tail"):
            build_version(coco_drop("two", keypoints=4, seed=1), tmp_path / "mice", "mice")

    def test_new_categories_come_after_the_old(self, coco_drop: Drop, tmp_path: Path) -> None:
        build_version(coco_drop("one"), tmp_path / "mice", "mice")

        def rat(content: dict) -> None:
            content["categories"][0]["name"] = "a-rat"

        build_version(coco_drop("two", seed=1, edit=rat), tmp_path / "mice", "mice")
        store = open_dataset(tmp_path / "mice")
        assert store.info.categories == ("mouse", "a-rat")
        assert sorted(int(store.instances(one).labels[0]) for one in store.image_ids) == [0] * 4 + [1] * 4

    def test_the_split_of_a_data_set_is_fixed(self, coco_drop: Drop, tmp_path: Path) -> None:
        drop = coco_drop()
        build_version(drop, tmp_path / "mice", "mice")
        with pytest.raises(UserError, match="images never move"):
            build_version(drop, tmp_path / "mice", "mice", options=IngestOptions(split=(0.5, 0.25, 0.25)))

    def test_what_killed_runs_left_is_removed_after_a_day(self, coco_drop: Drop, tmp_path: Path) -> None:
        for name, age in (("old", 100_000), ("fresh", 10)):
            left = tmp_path / f".mice.new-{name}"
            left.mkdir()
            os.utime(left, (time.time() - age,) * 2)
        build_version(coco_drop(), tmp_path / "mice", "mice")
        assert [path.name for path in tmp_path.glob(".mice*")] == [".mice.new-fresh"]

    def test_a_killed_replacement_is_recovered(self, coco_drop: Drop, tmp_path: Path) -> None:
        folder = tmp_path / "mice"
        build_version(coco_drop("one"), folder, "mice")
        folder.rename(tmp_path / ".mice.old")  # as if killed between the two renames
        build_version(coco_drop("two", seed=1), folder, "mice")
        assert len(open_dataset(folder)) == 8


def break_image(drop: Path) -> None:
    path = sorted((drop / "images").iterdir())[1]
    path.write_bytes(path.read_bytes()[:-30])


class TestBadInput:
    """Each problem is named by file and id with a remedy, the data set before stays as it was, and skip_bad goes on."""

    CASES: ClassVar = {
        "missing image": lambda c: c["images"].append({"id": 77, "file_name": "gone.png", "width": 32, "height": 24}),
        "label for a missing image": lambda c: c["annotations"][1].update(image_id=999),
        "keypoint outside its image": lambda c: c["annotations"][1]["keypoints"].__setitem__(0, 40.0),
        "duplicate image id": lambda c: c["images"].append({**c["images"][0]}),
        "duplicate annotation id": lambda c: c["annotations"].append({**c["annotations"][1]}),
        "unknown category": lambda c: c["annotations"][1].update(category_id=5),
        "wrong number of keypoints": lambda c: c["annotations"][1]["keypoints"].pop(),
        "path out of the folder": lambda c: c["images"][1].update(file_name="../../etc/passwd"),
        "bad keypoints": lambda c: c["annotations"][1]["keypoints"].__setitem__(0, float("nan")),
        "bad visibility": lambda c: c["annotations"][1]["keypoints"].__setitem__(2, 7),
        "bad box": lambda c: c["annotations"][1].update(bbox=[100, 100, 5, 5]),
        "wrong size": lambda c: c["images"][1].update(width=24, height=32),
        "bad image entry": lambda c: c["images"].append({"file_name": "x.png"}),
        "annotation without image": lambda c: c["annotations"][1].pop("image_id"),
        "nothing labelled": lambda c: c["annotations"][1].update(bbox=[], keypoints=[]),
    }

    @pytest.mark.parametrize("kind", CASES)
    def test_labels(self, coco_drop: Drop, tmp_path: Path, kind: str) -> None:
        folder = tmp_path / "mice"
        build_version(coco_drop("before", seed=9), folder, "mice")
        before = content_of(folder)
        drop = coco_drop("bad", edit=self.CASES[kind])
        with pytest.raises(UserError) as caught:
            build_version(drop, folder, "mice")
        assert f"1 x {kind}" in str(caught.value)
        assert "->" in str(caught.value)
        assert content_of(folder) == before
        assert sorted(path.name for path in tmp_path.iterdir() if "mice" in path.name) == ["mice"]

        report = build_version(drop, folder, "mice", skip_bad=True)
        assert report.left_out == {kind: 1}
        assert report.images_added in (3, 4)
        description = json.loads((folder / "dataset.json").read_text())
        assert [one["kind"] for one in description["left_out"]] == [kind]
        assert description["left_out_counts"] == {kind: 1}

    def test_broken_image(self, coco_drop: Drop, tmp_path: Path) -> None:
        drop = coco_drop()
        break_image(drop)
        with pytest.raises(UserError, match=r"0-001\.png \[image 2\]: broken image"):
            build_version(drop, tmp_path / "mice", "mice")
        assert not (tmp_path / "mice").exists()
        report = build_version(drop, tmp_path / "mice", "mice", skip_bad=True)
        assert (report.images, report.left_out) == (3, {"broken image": 1})

    def test_all_problems_come_at_once(self, coco_drop: Drop, tmp_path: Path) -> None:
        def edit(content: dict) -> None:
            for kind in ("keypoint outside its image", "missing image"):
                self.CASES[kind](content)
            content["annotations"][2]["category_id"] = 8

        drop = coco_drop(edit=edit)
        break_image(drop)
        with pytest.raises(UserError) as caught:
            build_version(drop, tmp_path / "mice", "mice")
        for kind in ("keypoint outside its image", "missing image", "unknown category", "broken image"):
            assert f"1 x {kind}" in str(caught.value)

    def test_an_image_whose_labels_are_all_bad_is_left_out(self, coco_drop: Drop, tmp_path: Path) -> None:
        """It would pass for an image without objects otherwise."""
        for name in ("keypoint outside its image", "unknown category", "wrong number of keypoints"):
            folder = tmp_path / "sets" / name
            report = build_version(coco_drop(name, edit=self.CASES[name]), folder, "mice", skip_bad=True)
            store = open_dataset(folder)
            assert report.images_added == 3
            assert all(len(store.instances(one)) for one in store.image_ids)

    def test_a_mended_drop_takes_the_record_away(self, coco_drop: Drop, tmp_path: Path) -> None:
        folder = tmp_path / "mice"
        drop = coco_drop("bad", edit=self.CASES["unknown category"])
        build_version(drop, folder, "mice", skip_bad=True)
        assert len(open_dataset(folder)) == 3
        assert json.loads((folder / "dataset.json").read_text())["left_out"]
        build_version(coco_drop("good"), folder, "mice")
        assert json.loads((folder / "dataset.json").read_text())["left_out"] == []

    def test_many_problems_are_cut_in_print(self, coco_drop: Drop, tmp_path: Path) -> None:
        def edit(content: dict) -> None:
            for one in content["annotations"]:
                one["category_id"] = 3

        with pytest.raises(UserError, match=r"\+10 more"):
            build_version(coco_drop(count=60, edit=edit), tmp_path / "mice", "mice")

    def test_empty_set(self, coco_drop: Drop, tmp_path: Path) -> None:
        def clear(content: dict) -> None:
            content["images"], content["annotations"] = [], []

        with pytest.raises(UserError, match="empty"):
            build_version(coco_drop("none", edit=clear), tmp_path / "mice", "mice")
        with pytest.raises(UserError, match="empty"):
            build_version(coco_drop("bare", edit=lambda c: c["annotations"].clear()), tmp_path / "mice", "mice")
        (tmp_path / "nothing").mkdir()
        with pytest.raises(UserError, match="no labels in a form that is known"):
            build_version(tmp_path / "nothing", tmp_path / "mice", "mice")

    def test_the_same_image_twice(self, coco_drop: Drop, tmp_path: Path) -> None:
        drop = coco_drop()
        images = sorted((drop / "images").iterdir())
        shutil.copy(images[0], images[1])
        with pytest.raises(UserError, match=r"duplicate image.*same image as 0-000\.png"):
            build_version(drop, tmp_path / "mice", "mice")

    def test_the_same_image_twice_with_the_same_labels_is_one(self, coco_drop: Drop, tmp_path: Path) -> None:
        def same(content: dict) -> None:
            content["annotations"][1]["keypoints"] = content["annotations"][0]["keypoints"]

        drop = coco_drop(edit=same)
        images = sorted((drop / "images").iterdir())
        shutil.copy(images[0], images[1])
        assert build_version(drop, tmp_path / "mice", "mice").images == 3

    def test_unknown_option_names_the_nearest(self) -> None:
        with pytest.raises(UserError, match="did you mean 'flip_pairs'"):
            parse_ingest({"flip_pair": "auto"})
        with pytest.raises(UserError, match="did you mean 'coco'"):
            parse_ingest({"format": "cocoo"})

    def test_unknown_keypoint_in_an_option(self, coco_drop: Drop, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="did you mean 'left_ear'"):
            build_version(
                coco_drop(), tmp_path / "mice", "mice", options=IngestOptions(flip_pairs=("left_eer:right_ear",))
            )

    def test_disk_full(self, coco_drop: Drop, tmp_path: Path) -> None:
        """A limit on the size of files stands in for a full disk: the write fails in the same place."""
        folder = tmp_path / "mice"
        build_version(coco_drop("before"), folder, "mice")
        before = content_of(folder)
        drop = coco_drop("large", count=12, seed=1)
        code = (
            "import resource, sys; from kpmodels.data.ingest import build_version; from kpmodels.errors import UserError\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (8000, 8000))\n"
            "try: build_version(sys.argv[1], sys.argv[2], 'mice')\n"
            "except UserError as error: print(error); sys.exit(2)"
        )
        command = [sys.executable, "-c", code, str(drop), str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": os.getcwd()})
        assert done.returncode == 2, done.stderr
        assert "no room to write" in done.stdout
        assert "bytes are needed" in done.stdout
        assert content_of(folder) == before
        assert not list(tmp_path.glob(".mice*"))


def test_typical_size_is_the_median_of_all_images(tmp_path: Path) -> None:
    """What `tiling: auto` of the locator decides by; a second drop counts with the first."""
    for drop, sizes in (("one", [(40, 30), (60, 50)]), ("two", [(100, 90)])):
        (tmp_path / drop).mkdir()
        rows = ["image,x,y"]
        for number, (width, height) in enumerate(sizes):
            image = np.random.default_rng(width).integers(0, 255, (height, width, 3), np.uint8)
            cv2.imwrite(str(tmp_path / drop / f"{drop}{number}.png"), image)
            rows.append(f"{drop}{number}.png,5,5")
        (tmp_path / drop / "points.csv").write_text("\n".join(rows) + "\n")
    folder = tmp_path / "datasets" / "dots"
    build_version(tmp_path / "one", folder, "dots")
    assert open_dataset(folder).info.typical_size == (50, 40)
    build_version(tmp_path / "two", folder, "dots")
    assert open_dataset(folder).info.typical_size == (60, 50)


def test_an_empty_drop_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    """A COCO file that lists neither images nor labels."""
    (tmp_path / "drop").mkdir()
    empty = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "cell"}]}
    (tmp_path / "drop" / "annotations.json").write_text(json.dumps(empty))
    with pytest.raises(UserError, match="the drop is empty"):
        build_version(tmp_path / "drop", tmp_path / "cells", "cells")
    assert [path.name for path in tmp_path.iterdir()] == ["drop"]
