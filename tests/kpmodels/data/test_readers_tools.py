"""Forms that other labelling and training tools write: SLEAP, DeepLabCut, Label Studio, Ultralytics."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import sleap_io as sio

from kpmodels.config.ingest import IngestOptions
from kpmodels.data.ingest import build_version
from kpmodels.data.store import DatasetStore, open_dataset
from kpmodels.errors import UserError

POINTS = np.array([[[4.5, 5.25], [10, 8], [np.nan, np.nan]], [[6, 7], [20, 12], [1, 2]]])


def write_images(folder: Path, count: int = 2) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(count):
        image = np.random.default_rng(number).integers(0, 255, (24, 32, 3), np.uint8)
        paths.append(folder / f"img{number:03d}.png")
        paths[-1].write_bytes(cv2.imencode(".png", image)[1].tobytes())
    return paths


def points_of(store: DatasetStore) -> list[np.ndarray]:
    ids = sorted(store.image_ids, key=lambda one: store.record(one).file_name)
    return [store.instances(one).keypoints for one in ids]


class TestSleap:
    def labels(self, folder: Path, predicted: bool = False) -> sio.Labels:
        skeleton = sio.Skeleton(["head", "eyeL", "eyeR"], edges=[("head", "eyeL")], symmetries=[("eyeL", "eyeR")])
        video = sio.Video.from_filename([str(path) for path in write_images(folder)])
        kind = sio.PredictedInstance if predicted else sio.Instance
        frames = [
            sio.LabeledFrame(video=video, frame_idx=i, instances=[kind.from_numpy(points, skeleton=skeleton)])
            for i, points in enumerate(POINTS)
        ]
        return sio.Labels(labeled_frames=frames, skeletons=[skeleton], videos=[video])

    def test_slp_beside_its_images(self, tmp_path: Path) -> None:
        labels = self.labels(tmp_path / "drop" / "images")
        labels.save(str(tmp_path / "drop" / "labels.slp"), embed=False)
        (tmp_path / "drop").rename(tmp_path / "moved")  # the paths in the file are another place's now
        report = build_version(tmp_path / "moved", tmp_path / "flies", "flies")
        store = open_dataset(tmp_path / "flies")
        assert report.format == "sleap"
        assert store.info.skeleton.names == ("head", "eyeL", "eyeR")
        assert store.info.skeleton.limbs == ((0, 1),)
        assert store.info.skeleton.flip_pairs == ((1, 2),)
        first, second = points_of(store)
        np.testing.assert_array_equal(first[0], [[4.5, 5.25, 2], [10, 8, 2], [0, 0, 0]])
        np.testing.assert_array_equal(second[0, :, :2], POINTS[1])

    def test_package_with_its_images_inside(self, tmp_path: Path) -> None:
        labels = self.labels(tmp_path / "images")
        (tmp_path / "drop").mkdir()
        labels.save(str(tmp_path / "drop" / "labels.pkg.slp"), embed=True)
        before = [path.read_bytes() for path in sorted((tmp_path / "images").iterdir())]
        for path in (tmp_path / "images").iterdir():
            path.unlink()
        build_version(tmp_path / "drop", tmp_path / "flies", "flies")
        store = open_dataset(tmp_path / "flies")
        assert len(store) == 2
        pixels = [cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) for _, data in store.stream()]
        source = [cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) for data in before]
        assert all(any(np.array_equal(a, b) for b in source) for a in pixels)

    def test_missing_images(self, tmp_path: Path) -> None:
        labels = self.labels(tmp_path / "drop" / "images")
        labels.save(str(tmp_path / "drop" / "labels.slp"), embed=False)
        (tmp_path / "drop" / "images" / "img001.png").unlink()
        with pytest.raises(UserError, match=r"img001\.png \[frame 1\]: missing image"):
            build_version(tmp_path / "drop", tmp_path / "flies", "flies")

    def test_predictions_are_no_labels(self, tmp_path: Path) -> None:
        labels = self.labels(tmp_path / "drop" / "images", predicted=True)
        labels.save(str(tmp_path / "drop" / "labels.slp"), embed=False)
        with pytest.raises(UserError, match="predictions only"):
            build_version(tmp_path / "drop", tmp_path / "flies", "flies")

    def test_damaged(self, tmp_path: Path) -> None:
        write_images(tmp_path / "drop")
        (tmp_path / "drop" / "labels.slp").write_bytes(b"not hdf5")
        with pytest.raises(UserError, match=r"labels\.slp cannot be read"):
            build_version(tmp_path / "drop", tmp_path / "flies", "flies")


class TestDeepLabCut:
    def write(self, root: Path, spread: bool = False, rows: int = 3) -> Path:
        folder = root / "labeled-data" / "m1"
        write_images(folder, 3)
        lead = ",," if spread else ""
        lines = [
            f"scorer,{lead}" + ",".join(["Ann"] * 4),
            f"bodyparts,{lead}snout,snout,leftear,leftear",
            f"coords,{lead}x,y,x,y",
        ]
        places = [["labeled-data", "m1", f"img{number:03d}.png"] for number in range(rows)]
        values = ["1.5,2.5,3,4", "5,6,,", ",,,", "1,1,1,1"]
        lines += [("," if spread else "/").join(place) + "," + values[i] for i, place in enumerate(places)]
        (folder / "CollectedData_Ann.csv").write_text("\n".join(lines) + "\n")
        return root

    @pytest.mark.parametrize("spread", [False, True])
    def test_single_animal(self, tmp_path: Path, spread: bool) -> None:
        report = build_version(self.write(tmp_path / "drop", spread), tmp_path / "mice", "mice")
        store = open_dataset(tmp_path / "mice")
        assert report.format == "dlc"
        assert store.info.skeleton.names == ("snout", "leftear")
        first, second, third = points_of(store)
        np.testing.assert_array_equal(first, [[[1.5, 2.5, 2], [3, 4, 2]]])
        np.testing.assert_array_equal(second, [[[5, 6, 2], [0, 0, 0]]])
        assert len(third) == 0

    def test_limbs_of_the_project(self, tmp_path: Path) -> None:
        drop = self.write(tmp_path / "drop")
        (drop / "config.yaml").write_text(
            "Task: t\nscorer: Ann\nbodyparts: [snout, leftear]\nskeleton: [[snout, leftear]]\n"
        )
        build_version(drop, tmp_path / "mice", "mice")
        assert open_dataset(tmp_path / "mice").info.skeleton.limbs == ((0, 1),)

    def test_a_row_without_its_image(self, tmp_path: Path) -> None:
        """sleap-io passes over such rows, and shifts the others: they must neither vanish nor move."""
        drop = self.write(tmp_path / "drop")
        (drop / "labeled-data" / "m1" / "img000.png").unlink()
        with pytest.raises(UserError, match=r"img000\.png \[CollectedData_Ann\.csv line 4\]: missing image"):
            build_version(drop, tmp_path / "mice", "mice")
        build_version(drop, tmp_path / "mice", "mice", skip_bad=True)
        store = open_dataset(tmp_path / "mice")
        names = {store.record(one).file_name: store.instances(one).keypoints.tolist() for one in store.image_ids}
        assert names["labeled-data/m1/img001.png"] == [[[5, 6, 2], [0, 0, 0]]]

    def test_several_animals(self, tmp_path: Path) -> None:
        folder = tmp_path / "drop" / "labeled-data" / "m1"
        write_images(folder, 1)
        rows = [
            "scorer,Ann,Ann,Ann,Ann",
            "individuals,a,a,b,b",
            "bodyparts,snout,snout,snout,snout",
            "coords,x,y,x,y",
            "labeled-data/m1/img000.png,1,2,8,9",
        ]
        (folder / "CollectedData_Ann.csv").write_text("\n".join(rows) + "\n")
        build_version(tmp_path / "drop", tmp_path / "mice", "mice")
        (points,) = points_of(open_dataset(tmp_path / "mice"))
        assert sorted(points[:, 0, 0].tolist()) == [1, 8]

    def test_only_the_binary_file(self, tmp_path: Path) -> None:
        write_images(tmp_path / "drop")
        with pytest.raises(UserError, match="add the CSV"):
            build_version(tmp_path / "drop", tmp_path / "mice", "mice", format="dlc")


class TestUltralytics:
    def write(self, root: Path, line: str = "0 0.5 0.5 0.25 0.5 0.5 0.25 2 0.25 0.5 1", **extra: object) -> Path:
        for number, split in enumerate(("train", "val")):
            images = write_images(root / "images" / split, 1)
            images[0].rename(images[0].with_name(f"{split}.png"))
            if number:
                image = np.full((24, 32, 3), number, np.uint8)
                (root / "images" / split / f"{split}.png").write_bytes(cv2.imencode(".png", image)[1].tobytes())
            (root / "labels" / split).mkdir(parents=True)
            (root / "labels" / split / f"{split}.txt").write_text(line + "\n")
        content = {"train": "images/train", "val": "images/val", "names": {0: "mouse"}, "kpt_shape": [2, 3], **extra}
        (root / "data.yaml").write_text(json.dumps(content))
        return root

    def test_pose(self, tmp_path: Path) -> None:
        drop = self.write(tmp_path / "drop", kpt_names=["eyeL", "eyeR"], flip_idx=[1, 0], skeleton=[[0, 1]])
        report = build_version(drop, tmp_path / "mice", "mice")
        store = open_dataset(tmp_path / "mice")
        assert (report.format, report.images, store.info.categories) == ("ultralytics", 2, ("mouse",))
        assert store.info.skeleton.flip_pairs == ((0, 1),)
        assert store.info.skeleton.limbs == ((0, 1),)
        truth = store.instances(store.image_ids[0])
        assert truth.keypoints.tolist() == [[[16, 6, 2], [8, 12, 1]]]
        assert truth.boxes.tolist() == [[12, 6, 20, 18]]

    def test_names_are_asked_for(self, tmp_path: Path) -> None:
        drop = self.write(tmp_path / "drop")
        with pytest.raises(UserError, match="keypoints=NAME"):
            build_version(drop, tmp_path / "mice", "mice")
        build_version(drop, tmp_path / "mice", "mice", options=IngestOptions(keypoints=("a", "b")))

    def test_boxes(self, tmp_path: Path) -> None:
        drop = self.write(tmp_path / "drop", line="0 0.5 0.5 0.25 0.5", kpt_shape=None)
        build_version(drop, tmp_path / "mice", "mice")
        assert open_dataset(tmp_path / "mice").info.task == "boxes"

    @pytest.mark.parametrize(
        ("line", "kind"),
        [
            ("0 0.5 0.5 0.25", "wrong number of keypoints"),
            ("4 0.5 0.5 0.25 0.5 0.5 0.25 2 0.25 0.5 1", "unknown category"),
            ("0 0.5 0.5 x 0.5 0.5 0.25 2 0.25 0.5 1", "bad keypoints"),
            ("0 0.5 0.5 0.25 0.5 1.5 0.25 2 0.25 0.5 1", "keypoint outside its image"),
        ],
    )
    def test_bad_lines(self, tmp_path: Path, line: str, kind: str) -> None:
        drop = self.write(tmp_path / "drop", line=line, kpt_names=["a", "b"])
        with pytest.raises(UserError, match=f"2 x {kind}"):
            build_version(drop, tmp_path / "mice", "mice")

    def test_a_split_outside_the_drop(self, tmp_path: Path) -> None:
        drop = self.write(tmp_path / "drop", kpt_names=["a", "b"], val="/etc")
        with pytest.raises(UserError, match="path out of the folder"):
            build_version(drop, tmp_path / "mice", "mice")


class TestLabelStudio:
    def point(self, id: str, name: str, x: float, y: float, **extra: object) -> dict:
        value = {"x": x, "y": y, "width": 0.5, "keypointlabels": [name]}
        return {
            "id": id,
            "type": "keypointlabels",
            "value": value,
            "original_width": 32,
            "original_height": 24,
            **extra,
        }

    def rectangle(self, id: str) -> dict:
        value = {"x": 25, "y": 25, "width": 50, "height": 50, "rectanglelabels": ["mouse"]}
        return {"id": id, "type": "rectanglelabels", "value": value, "original_width": 32, "original_height": 24}

    def write(self, root: Path, *results: list[dict]) -> Path:
        write_images(root / "images", len(results))
        tasks = [
            {
                "id": number,
                "data": {"image": f"/data/upload/1/0123abcd-img{number:03d}.png"},
                "annotations": [{"result": result}] if result is not None else [],
            }
            for number, result in enumerate(results)
        ]
        (root / "export.json").write_text(json.dumps(tasks))
        return root

    def test_keypoints_of_rectangles(self, tmp_path: Path) -> None:
        related = [
            self.rectangle("r"),
            self.point("a", "nose", 50, 50),
            self.point("b", "tail", 25, 75, parentID="r"),
            {"type": "relation", "from_id": "a", "to_id": "r"},
        ]
        drop = self.write(tmp_path / "drop", related, [self.point("c", "nose", 10, 10)])
        report = build_version(drop, tmp_path / "mice", "mice")
        store = open_dataset(tmp_path / "mice")
        assert (report.format, store.info.categories) == ("labelstudio", ("mouse",))
        assert store.info.skeleton.names == ("nose", "tail")
        first, second = points_of(store)
        assert first.tolist() == [[[16, 12, 2], [8, 18, 2]]]
        np.testing.assert_allclose(second, [[[3.2, 2.4, 2], [0, 0, 0]]], rtol=1e-6)
        assert [8, 6, 24, 18] in [store.instances(one).boxes[0].tolist() for one in store.image_ids]

    def test_many_points_of_one_kind_are_instances(self, tmp_path: Path) -> None:
        drop = self.write(tmp_path / "drop", [self.point(str(i), "cell", 10 * i, 50) for i in range(4)], [])
        build_version(drop, tmp_path / "cells", "cells")
        store = open_dataset(tmp_path / "cells")
        assert store.info.task == "points"
        assert sorted(len(points) for points in points_of(store)) == [0, 4]

    def test_repeated_keypoints_need_rectangles(self, tmp_path: Path) -> None:
        twice = [self.point("a", "nose", 1, 1), self.point("b", "nose", 5, 5), self.point("c", "tail", 5, 5)]
        with pytest.raises(UserError, match="nose is labelled twice"):
            build_version(self.write(tmp_path / "drop", twice), tmp_path / "mice", "mice")

    def test_missing_image(self, tmp_path: Path) -> None:
        drop = self.write(tmp_path / "drop", [self.point("a", "nose", 1, 1)], [self.point("b", "nose", 1, 1)])
        (drop / "images" / "img001.png").unlink()
        with pytest.raises(UserError, match=r"img001\.png \[task 1\]: missing image"):
            build_version(drop, tmp_path / "mice", "mice")
