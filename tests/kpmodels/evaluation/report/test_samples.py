from __future__ import annotations

import cv2
import numpy as np
import pytest

from kpmodels.config import EvaluateOptions
from kpmodels.evaluation.report.pictures import SIDE, picture
from kpmodels.evaluation.report.samples import best_and_worst, quality
from kpmodels.structures import Instances


def test_best_and_worst_do_not_overlap_and_begin_with_the_extreme(cases):
    truth = {f"{i}": Instances.make([cases.animal()]) for i in range(5)}
    found = {f"{i}": Instances.make([cases.animal() + np.array([i, 0, 0])]) for i in range(5)}
    table, _ = cases.results(truth, found, cases.pose_info())
    best, worst = best_and_worst(table, 8)
    assert best[0] == 0
    assert worst[0] == 4
    assert not set(best) & set(worst)
    assert best_and_worst(table, 1) == ([0], [4])
    assert best_and_worst(table, 0) == ([], [])


def test_images_with_nothing_to_see_are_not_shown(cases):
    truth = {"a": Instances.make([cases.animal()]), "b": Instances.empty(3), "c": Instances.empty(3)}
    found = {"a": truth["a"], "c": Instances.make([cases.animal()])}
    table, _ = cases.results(truth, found, cases.pose_info())
    assert np.isnan(quality(table)).tolist() == [False, True, False]
    assert quality(table)[2] == 0


@pytest.mark.parametrize("shape", [(40, 30), (300, 200), (900, 1600)])
@pytest.mark.parametrize("kind", ["pose", "points", "boxes"])
def test_pictures_of_any_size_and_task(cases, kind, shape):
    info = {"pose": cases.pose_info, "points": cases.points_info, "boxes": cases.boxes_info}[kind]()
    keypoints = cases.animal(5, 5, 20)[None, : info.num_keypoints] if info.num_keypoints else np.zeros((1, 0, 3))
    truth = Instances.make(keypoints, [[5, 5, 25, 25]])
    found = Instances.make(keypoints + np.array([900, 2, 0]), [[5, 5, 27, 25]])
    data = cv2.imencode(".png", np.full((*shape, 3), 90, np.uint8))[1].tobytes()
    for pair in ((truth, found), (truth, truth.select([])), (truth.select([]), truth.select([]))):
        drawn = cv2.imdecode(np.frombuffer(picture(data, *pair, info, EvaluateOptions()), np.uint8), cv2.IMREAD_COLOR)
        assert max(drawn.shape[:2]) == SIDE
