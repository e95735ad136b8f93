"""Whole runs without Ray: resumed ones end in the same bytes, several processes learn what one does."""

import math

import pytest
import torch
from group import run_group
from group_tasks import train_toy
from toys import ToyLoader, toy_parts

from kpmodels.config import TrainOptions
from kpmodels.errors import UserError
from kpmodels.training import loop
from kpmodels.training.checkpoint import Checkpoints
from kpmodels.training.loop import run
from kpmodels.training.place import Place
from kpmodels.training.state import RunState

BASE = {"epochs": 4, "batch_size": 6, "validate_every": 2, "learning_rate": 0.01, "threads": 1}


@pytest.fixture(autouse=True)
def _checkpoint_each_epoch(monkeypatch):
    monkeypatch.setattr(loop, "QUICK", 1e9)  # however slow the disk of this machine


class KilledError(Exception):
    pass


def raise_at(epoch, step):
    def before(now, index, rank):
        if (now, index) == (epoch, step):
            raise KilledError

    return before


def go(folder, before=None, events=None, samples=24, parts=None, poison="", **changes):
    options = TrainOptions(**{**BASE, **changes})
    parts = parts or toy_parts(options, Place(), folder, samples=samples, before=before, poison=poison)
    return run(parts, options, Place(), folder, (events if events is not None else []).append), parts


def model_bytes(folder):
    return (folder / "model" / "weights.safetensors").read_bytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return go(folder)[0], model_bytes(folder)


@pytest.mark.parametrize("moment", [(0, 2), (1, 0), (2, 3), (3, 1)])
def test_interrupted_and_resumed_ends_in_the_same_bytes(tmp_path, whole, moment):
    with pytest.raises(KilledError):
        go(tmp_path, raise_at(*moment))
    events = []
    state, _ = go(tmp_path, events=events)
    assert events[0]["resumed_from"] == moment[0]
    assert model_bytes(tmp_path) == whole[1]
    assert [r["loss"] for r in state.history] == [r["loss"] for r in whole[0].history]


def test_events_and_history(whole, tmp_path):
    events = []
    state, _ = go(tmp_path, events=events)
    assert [event["event"] for event in events] == ["start", *["epoch"] * 4, "end"]
    assert ["val" in record for record in state.history] == [False, True, False, True]
    assert state.history[-1]["loss"] < state.history[0]["loss"]
    assert set(state.history[0]["terms"]) == {"rows", "points"}
    assert events[-1]["best_score"] == state.best_score == max(r["val"]["score"] for r in state.history if "val" in r)


def test_a_broken_newest_checkpoint_falls_back(tmp_path, whole):
    with pytest.raises(KilledError):
        go(tmp_path, raise_at(3, 0))
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    with (checkpoints.path(3) / "optimizer.pt").open("r+b") as file:
        file.truncate(100)
    events = []
    go(tmp_path, events=events)
    assert "checkpoint of epoch 3 is not used" in events[0]["text"]
    assert events[1]["resumed_from"] == 2
    assert model_bytes(tmp_path) == whole[1]


def test_a_lost_best_checkpoint_is_said_and_sought_anew(tmp_path):
    with pytest.raises(KilledError):
        go(tmp_path, raise_at(3, 0))
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    (checkpoints.path(2) / "ema.safetensors").write_bytes(b"")
    events = []
    state, _ = go(tmp_path, events=events)
    assert "best checkpoint is not used" in events[0]["text"]
    assert state.best_epoch == 4


def test_a_finished_run_only_exports(tmp_path, whole):
    go(tmp_path)
    (tmp_path / "model" / "weights.safetensors").unlink()
    events = []
    _, parts = go(tmp_path, events=events)
    assert [event["event"] for event in events] == ["start", "end"]
    assert parts.loader.seen == []
    assert model_bytes(tmp_path) == whole[1]


def test_a_loss_that_is_not_finite_keeps_the_last_checkpoint(tmp_path):
    go(tmp_path, epochs=2, schedule="constant")
    with pytest.raises(UserError, match="image-5"):
        go(tmp_path, schedule="constant", poison="image-5")
    assert Checkpoints(tmp_path / "checkpoints").newest()[0] == 2


def test_without_validation_the_training_loss_decides(tmp_path):
    options = TrainOptions(**BASE)
    parts = toy_parts(options, Place(), tmp_path)
    parts = type(parts)(parts.detector, parts.loader, None, parts.export)
    events = []
    state, _ = go(tmp_path, parts=parts, events=events)
    assert "no validation images" in events[0]["text"]
    assert state.best_score == -min(state.history[1]["loss"], state.history[3]["loss"])


def validate_with(scores):
    rest = iter(scores)
    return lambda detector: {"score": next(rest)}


def with_scores(folder, scores, **changes):
    options = TrainOptions(**{**BASE, "validate_every": 1, **changes})
    parts = toy_parts(options, Place(), folder)
    parts = type(parts)(parts.detector, parts.loader, validate_with(scores), parts.export)
    return go(folder, parts=parts, validate_every=1, **changes)[0]


def test_patience_ends_the_run_and_the_best_is_exported(tmp_path):
    state = with_scores(tmp_path, [0.1, 0.5, 0.4, 0.3, 0.9], epochs=9, patience=2)
    assert (state.epoch, state.best_epoch, state.best_score) == (4, 2, 0.5)
    assert "2 validations" in state.stopped
    best = Checkpoints(tmp_path / "checkpoints").path(2) / "ema.safetensors"
    assert best.exists()


def test_scores_that_are_not_finite_are_never_the_best(tmp_path):
    state = with_scores(tmp_path, [float("nan"), float("inf"), 0.2, 0.1])
    assert (state.best_epoch, state.best_score) == (3, 0.2)
    state = with_scores(tmp_path / "none", [math.nan] * 4)
    assert state.best_epoch is None
    assert (tmp_path / "none" / "model" / "weights.safetensors").exists()


def test_time_is_up(tmp_path):
    state, _ = go(tmp_path, epochs=100000, max_minutes=1e-3)
    assert 0 < state.epoch < 1000
    assert "minutes" in state.stopped
    assert "val" in state.history[-1]


def test_two_newest_and_best_are_kept(tmp_path):
    with_scores(tmp_path, [0.1, 0.9, 0.2, 0.2, 0.2, 0.2], epochs=6)
    assert Checkpoints(tmp_path / "checkpoints").epochs() == [6, 5, 2]


def test_global_state_is_given_back(tmp_path):
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    go(tmp_path, epochs=1)
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before


def test_each_sample_once_per_epoch_over_all_ranks():
    options = TrainOptions(batch_size=6, accumulate=2)
    loaders = [ToyLoader(options, Place(rank, 2), samples=25) for rank in range(2)]
    seen = [one for loader in loaders for batch in loader for one in batch.image_ids]
    assert sorted(seen) == sorted(f"image-{i}" for i in range(25))


def test_two_and_three_processes_learn_what_one_does(tmp_path):
    keywords = {"samples": 27, "dropout": 0.0}
    (alone,) = [train_toy(0, 1, BASE, str(tmp_path / "1"), keywords)]
    for world in (2, 3):
        results = run_group(world, train_toy, BASE, str(tmp_path / str(world)), keywords)
        assert not any("error" in result for result in results), results
        first = results[0]
        seen = [one for result in results for one in result["seen"]]
        assert sorted(seen) == sorted(alone["seen"])
        for one, other in zip(alone["history"], first["history"], strict=True):
            assert other["terms"] == pytest.approx(one["terms"], rel=1e-3)
            assert other.get("val", {}) == pytest.approx(one.get("val", {}), rel=1e-2)
        for name, value in first["weights"].items():
            torch.testing.assert_close(value, alone["weights"][name], rtol=1e-2, atol=1e-3)
            assert all(torch.equal(value, other["weights"][name]) for other in results[1:]), name


def test_three_processes_interrupted_end_in_the_same_bytes(tmp_path):
    options, half = {**BASE, "schedule": "constant"}, {**BASE, "schedule": "constant", "epochs": 2}
    keywords = {"samples": 27}
    for chosen, name in ((options, "whole"), (half, "parts"), (options, "parts")):
        results = run_group(3, train_toy, chosen, str(tmp_path / name), keywords)
        assert not any("error" in result for result in results), results
    assert model_bytes(tmp_path / "parts") == model_bytes(tmp_path / "whole")


def test_all_processes_hear_of_a_loss_that_is_not_finite(tmp_path):
    results = run_group(2, train_toy, BASE, str(tmp_path), {"poison": "image-5"})
    errors = [result["error"] for result in results]
    assert errors[0] == errors[1]
    assert "UserError" in errors[0]
    assert "image-5" in errors[0]


def test_judging_scores():
    state = RunState(epoch=3)
    assert state.judge(0.2)
    assert not state.judge(0.2)
    assert not state.judge(float("nan"))
    assert state.stale == 2
    assert RunState.from_dict(state.to_dict()) == state
