from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kpmodels.config.ingest import IngestOptions
from kpmodels.data.ingest import build_version
from kpmodels.data.readers.coco import read_coco
from kpmodels.data.store import open_dataset
from kpmodels.errors import UserError

Drop = Callable[..., Path]
OPTIONS = IngestOptions()


class TestSkeleton:
    def test_numbers_from_one_become_indices(self, coco_drop: Drop) -> None:
        def edit(content: dict) -> None:
            content["categories"][0].update(flip_pairs=[[2, 3]], sigmas=[0.1, 0.2, 0.3])

        drop = read_coco(coco_drop(edit=edit), OPTIONS)
        assert drop.limbs == ((0, 1), (0, 2))
        assert drop.flip_pairs == ((1, 2),)
        assert drop.sigmas == (0.1, 0.2, 0.3)
        assert not drop.sigmas_assumed

    def test_a_note_that_they_were_not_measured(self, coco_drop: Drop, tmp_path: Path) -> None:
        note = "not from the source: chosen by the converter"
        drop = coco_drop(edit=lambda c: c["categories"][0].update(sigmas=[0.1] * 3, sigmas_note=note))
        build_version(drop, tmp_path / "mice", "mice")
        assert open_dataset(tmp_path / "mice").info.skeleton.sigmas_assumed

    def test_a_limb_from_zero_is_refused(self, coco_drop: Drop) -> None:
        with pytest.raises(UserError, match="numbered 1 to 3"):
            read_coco(coco_drop(edit=lambda c: c["categories"][0].update(skeleton=[[0, 1]])), OPTIONS)

    def test_missing_names_are_asked_for(self, coco_drop: Drop, tmp_path: Path) -> None:
        drop = coco_drop(edit=lambda c: (c["categories"][0].pop("keypoints"), c["categories"][0].pop("skeleton")))
        with pytest.raises(UserError, match=r"3 keypoints.*does not name them[\s\S]*keypoints=NAME"):
            read_coco(drop, OPTIONS)
        options = IngestOptions(keypoints=("a", "b", "c"))
        build_version(drop, tmp_path / "mice", "mice", options=options)
        assert open_dataset(tmp_path / "mice").info.skeleton.names == ("a", "b", "c")


class TestCategories:
    def test_different_skeletons_ask_for_one(self, coco_drop: Drop, tmp_path: Path) -> None:
        def edit(content: dict) -> None:
            content["categories"].append({"id": 2, "name": "ball", "supercategory": "thing"})
            content["annotations"].append({"id": 90, "image_id": 1, "category_id": 2, "bbox": [1, 1, 4, 4]})

        drop = coco_drop(edit=edit)
        with pytest.raises(UserError, match="mouse: 3 keypoints; ball: 0 keypoints"):
            read_coco(drop, OPTIONS)
        report = build_version(drop, tmp_path / "mice", "mice", options=IngestOptions(category="mouse"))
        assert report.instances == 4
        assert any("1 annotations of other categories" in note for note in report.notes)
        build_version(drop, tmp_path / "balls", "balls", options=IngestOptions(category="ball"))
        store = open_dataset(tmp_path / "balls")
        assert (store.info.task, store.info.categories, store.instance_count) == ("boxes", ("ball",), 1)
        assert store.instances(store.image_ids[0]).keypoints.shape[1:] == (0, 3)

    def test_unknown_category_option(self, coco_drop: Drop) -> None:
        with pytest.raises(UserError, match="did you mean 'mouse'"):
            read_coco(coco_drop(), IngestOptions(category="mose"))

    def test_one_keypoint_is_points(self, coco_drop: Drop, tmp_path: Path) -> None:
        build_version(coco_drop(keypoints=1), tmp_path / "dots", "dots")
        assert open_dataset(tmp_path / "dots").info.task == "points"


class TestLabels:
    def test_crowds_and_unlabelled_people_are_kept(self, coco_drop: Drop, tmp_path: Path) -> None:
        def edit(content: dict) -> None:
            content["annotations"][0].update(
                iscrowd=1, keypoints=[0] * 9, segmentation={"counts": [768], "size": [24, 32]}
            )
            content["annotations"][1].update(keypoints=[0] * 9, num_keypoints=0)

        report = build_version(coco_drop(edit=edit), tmp_path / "mice", "mice")
        store = open_dataset(tmp_path / "mice")
        truths = [store.instances(one) for one in store.image_ids]
        assert report.instances == 4
        assert sum(int(truth.crowd.sum()) for truth in truths) == 1
        assert sum(int((truth.keypoints[..., 2] > 0).sum()) for truth in truths) == 6

    def test_box_and_area_from_the_segmentation(self, coco_drop: Drop, tmp_path: Path) -> None:
        def edit(content: dict) -> None:
            one = content["annotations"][0]
            one.pop("area"), one.pop("bbox")
            one["segmentation"] = [[4, 5, 14, 5, 14, 11, 4, 11]]

        drop = read_coco(coco_drop(edit=edit), OPTIONS)
        label = drop.images[0].labels[0]
        assert label.box == (4, 5, 14, 11)
        assert label.area == 60

    def test_a_missing_area_is_the_boxs(self, coco_drop: Drop, tmp_path: Path) -> None:
        report = build_version(
            coco_drop(edit=lambda c: [one.pop("area") for one in c["annotations"]]), tmp_path / "mice", "mice"
        )
        store = open_dataset(tmp_path / "mice")
        assert {float(store.instances(one).areas[0]) for one in store.image_ids} == {380}
        assert "areas taken from the boxes: 4" in report.notes

    def test_boxes_over_the_border_are_cut_off(self, coco_drop: Drop, tmp_path: Path) -> None:
        drop = coco_drop(edit=lambda c: c["annotations"][0].update(bbox=[-5, 10, 90, 90]))
        report = build_version(drop, tmp_path / "mice", "mice")
        store = open_dataset(tmp_path / "mice")
        assert [0, 10, 32, 24] in [store.instances(one).boxes[0].tolist() for one in store.image_ids]
        assert "boxes over the border cut off there: 1" in report.notes

    @pytest.mark.parametrize("box", [[20, 5, -12, 8], [20, 15, 6, -8], [20, 15, -6, -8]])
    def test_a_box_of_negative_size_is_named_and_can_be_left_out(
        self, coco_drop: Drop, tmp_path: Path, box: list[int]
    ) -> None:
        drop = coco_drop(edit=lambda c: c["annotations"][1].update(id=77, bbox=box))
        with pytest.raises(UserError, match=rf"annotation 77\]: bad box: .*negative.*: {box[2]} x {box[3]} pixels"):
            build_version(drop, tmp_path / "mice", "mice")
        assert not (tmp_path / "mice").exists()
        report = build_version(drop, tmp_path / "mice", "mice", skip_bad=True)
        assert report.instances == 3
        recorded = json.loads((tmp_path / "mice" / "dataset.json").read_text())["left_out"]
        assert [(one["kind"], one["id"]) for one in recorded] == [("bad box", "annotation 77")]

    def test_an_empty_box_is_no_box(self, coco_drop: Drop, tmp_path: Path) -> None:
        drop = coco_drop(edit=lambda c: c["annotations"][1].update(bbox=[0, 0, 0, 0]))
        report = build_version(drop, tmp_path / "mice", "mice")
        assert report.instances == 4
        assert any(note.startswith("boxes made from keypoints") for note in report.notes)

    def test_a_missing_box_is_made_from_the_keypoints(self, coco_drop: Drop, tmp_path: Path) -> None:
        drop = coco_drop(edit=lambda c: [one.pop("bbox") for one in c["annotations"]])
        build_version(drop, tmp_path / "mice", "mice")
        store = open_dataset(tmp_path / "mice")
        for one in store.image_ids:
            truth = store.instances(one)
            xy = truth.keypoints[0, :, :2]
            assert (truth.boxes[0, :2] <= xy.min(0)).all()
            assert (truth.boxes[0, 2:] >= xy.max(0)).all()

    def test_unlabelled_coordinates_are_zero(self, coco_drop: Drop, tmp_path: Path) -> None:
        drop = coco_drop(edit=lambda c: c["annotations"][0]["keypoints"].__setitem__(slice(0, 3), [500, -3, 0]))
        build_version(drop, tmp_path / "mice", "mice")
        store = open_dataset(tmp_path / "mice")
        assert any((store.instances(one).keypoints[0, 0] == 0).all() for one in store.image_ids)


class TestFiles:
    def test_broken_json(self, coco_drop: Drop) -> None:
        drop = coco_drop()
        path = drop / "annotations.json"
        path.write_text(path.read_text()[:-20])
        with pytest.raises(UserError, match=r"annotations\.json is no valid JSON"):
            read_coco(drop, OPTIONS)

    def test_several_files_are_one_drop(self, coco_drop: Drop, tmp_path: Path) -> None:
        drop = coco_drop("a")
        other = coco_drop("b", seed=1, count=2)
        (drop / "annotations.json").rename(drop / "train.json")
        (other / "annotations.json").rename(drop / "val.json")
        for path in (other / "images").iterdir():
            path.rename(drop / "images" / path.name)
        assert build_version(drop, tmp_path / "mice", "mice").images == 6

    def test_images_that_are_not_listed(self, coco_drop: Drop, tmp_path: Path) -> None:
        drop = coco_drop()
        (drop / "images" / "extra.png").write_bytes(
            cv2.imencode(".png", np.full((24, 32, 3), 9, np.uint8))[1].tobytes()
        )
        report = build_version(drop, tmp_path / "a", "mice")
        assert report.images == 4
        assert any("1 image files" in note for note in report.notes)
        report = build_version(drop, tmp_path / "b", "mice", options=IngestOptions(unlabelled="empty"))
        assert (report.images, report.instances) == (5, 4)


point = st.tuples(st.floats(0, 31, width=32), st.floats(0, 23, width=32), st.sampled_from([0, 1, 2]))
instance = st.tuples(
    st.lists(point, min_size=2, max_size=2),
    st.tuples(st.integers(0, 20), st.integers(0, 14), st.integers(1, 12), st.integers(1, 10)),
    st.booleans(),
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(instance, max_size=3), min_size=1, max_size=4).filter(any))
def test_any_valid_labels_come_through(tmp_path_factory: pytest.TempPathFactory, sets: list) -> None:
    folder = tmp_path_factory.mktemp("round")
    images, annotations = [], []
    for number, instances in enumerate(sets):
        pixels = np.full((24, 32, 3), number, np.uint8)
        (folder / f"{number}.png").write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
        images.append({"id": number, "file_name": f"{number}.png", "width": 32, "height": 24})
        for points, box, crowd in instances:
            one = {"id": len(annotations), "image_id": number, "category_id": 3, "bbox": box, "iscrowd": int(crowd)}
            annotations.append({**one, "keypoints": [value for point in points for value in point]})
    category = {"id": 3, "name": "thing", "keypoints": ["a", "b"]}
    content = {"images": images, "annotations": annotations, "categories": [category]}
    (folder / "labels.json").write_text(json.dumps(content))
    build_version(folder, folder / "out", "round")
    store = open_dataset(folder / "out")
    assert len(store) == len(sets)
    for image_id in store.image_ids:
        instances = sets[int(Path(store.record(image_id).file_name).stem)]
        truth = store.instances(image_id)
        want = {
            tuple(value for x, y, v in points for value in ((x, y, v) if v else (0, 0, 0))): (box, crowd)
            for points, box, crowd in instances
        }
        assert len(truth) == len(instances)
        for keypoints in truth.keypoints:
            assert tuple(keypoints.ravel().tolist()) in want
        assert sorted(truth.crowd.tolist()) == sorted(crowd for *_, crowd in instances)
        boxes = sorted([x, y, x + w, y + h] for _, (x, y, w, h), _ in instances)
        assert sorted(truth.boxes.tolist()) == boxes


DATA = Path(os.environ.get("KP_DATA", "../shared/data"))
SMALL = [
    path
    for path in [*DATA.glob("*"), *DATA.glob("schema-zoo/*")]
    if (path / "annotations.json").is_file() and sum(one.stat().st_size for one in path.glob("images/*")) < 8e6
]


@pytest.mark.skipif(not SMALL, reason=f"no real data in {DATA} (set KP_DATA)")
@pytest.mark.parametrize("source", SMALL, ids=lambda path: path.name)
def test_real_sets(source: Path, tmp_path: Path) -> None:
    content = json.loads((source / "annotations.json").read_text())
    report = build_version(source, tmp_path / "set", "real")
    assert report.images == len(content["images"])
    assert report.instances == len(content["annotations"])
    assert report.left_out == {}
    store = open_dataset(tmp_path / "set")
    names = {store.record(one).file_name: one for one in store.image_ids}
    entry = content["images"][0]
    truth = store.instances(names[entry["file_name"]])
    for one in content["annotations"]:
        if one["image_id"] == entry["id"] and one.get("keypoints"):
            given = np.reshape(one["keypoints"], (-1, 3))
            row = truth.ids.index(str(one["id"]))
            np.testing.assert_allclose(truth.keypoints[row][given[:, 2] > 0], given[given[:, 2] > 0], rtol=1e-5)
