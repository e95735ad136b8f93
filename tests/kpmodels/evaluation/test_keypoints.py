from __future__ import annotations

import numpy as np
import pytest

from kpmodels.evaluation.keypoints import best_scored, counted, keypoint_errors, pair_instances, sizes
from kpmodels.structures import Instances


def test_errors_of_a_known_shift(cases):
    truth = Instances.make([cases.animal()])
    found = Instances.make([np.add(cases.animal(), [3, 4, -1])])
    errors = keypoint_errors(truth, found)
    assert errors.pixels == pytest.approx([5, 5, 5])
    assert errors.scaled == pytest.approx([0.05] * 3)
    assert errors.keypoint.tolist() == [0, 1, 2]


def test_unlabelled_keypoints_are_not_measured(cases):
    truth = Instances.make([cases.animal(visibility=(2, 0, 1))])
    moved = cases.animal()
    moved[1, :2] += 500
    errors = keypoint_errors(truth, Instances.make([moved]))
    assert errors.pixels.tolist() == [0, 0]
    assert errors.keypoint.tolist() == [0, 2]
    assert errors.labelled.tolist() == [1, 0, 1]


def test_pairs_are_one_to_one_and_near(cases):
    truth = Instances.make([cases.animal(0), cases.animal(200)])
    found = Instances.make([cases.animal(203), cases.animal(1), cases.animal(1), cases.animal(900)])
    pairs = pair_instances(truth, found)
    assert dict(zip(pairs.truth.tolist(), pairs.found.tolist(), strict=True)).keys() == {0, 1}
    assert pairs.found[pairs.truth == 1].tolist() == [0]
    assert pairs.found[pairs.truth == 0][0] in (1, 2)


def test_far_prediction_is_paired_only_when_it_must_be_meant(cases):
    truth, found = Instances.make([cases.animal(0)]), Instances.make([cases.animal(250)])
    assert len(pair_instances(truth, found).truth) == 0
    errors = keypoint_errors(truth, found, single=True)
    assert errors.pixels == pytest.approx([250] * 3)


def test_one_wild_keypoint_does_not_tear_a_pair_apart(cases):
    wild = cases.animal()
    wild[2, :2] = 5000
    errors = keypoint_errors(Instances.make([cases.animal()]), Instances.make([wild]))
    assert errors.pixels[:2].tolist() == [0, 0]
    assert errors.pixels[2] > 1000


def test_predictions_with_ids_are_paired_by_them(cases):
    truth = Instances.make([cases.animal(0), cases.animal(50)], ids=["a", "b"])
    found = Instances.make([cases.animal(0), cases.animal(50)], ids=["b", "a"])
    assert keypoint_errors(truth, found).pixels == pytest.approx([50] * 6)


def test_best_scored_takes_as_many_as_there_are(cases):
    truth = Instances.make([cases.animal(0)])
    found = Instances.make([cases.animal(0), cases.animal(5)], scores=[0.2, 0.9])
    assert best_scored(truth, found).keypoints[0, 0, 0] == 5


def test_crowds_and_unlabelled_instances_do_not_count(cases):
    blank = np.zeros((3, 3))
    truth = Instances.make([cases.animal(), blank, cases.animal()], crowd=[False, False, True])
    assert counted(truth).tolist() == [True, False, False]


def test_sizes_are_positive_even_for_one_keypoint(cases):
    truth = Instances.make([cases.animal(visibility=(2, 0, 0)), cases.animal(side=40)], areas=[0, 1600])
    assert sizes(truth).tolist() == [1, 40]


def test_nothing_on_either_side(cases):
    none = Instances.empty(3)
    some = Instances.make([cases.animal()])
    assert len(keypoint_errors(none, some).pixels) == 0
    assert keypoint_errors(some, none).labelled.tolist() == [1, 1, 1]
    assert len(keypoint_errors(none, none).pixels) == 0
