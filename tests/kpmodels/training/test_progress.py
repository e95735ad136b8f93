"""What a run tells: lines of JSON, and in words."""

import io
import json

import pytest

from kpmodels.training.progress import Follower, ProgressLog, describe, duration

EPOCH = {
    "event": "epoch", "epoch": 3, "epochs": 60, "loss": 0.25, "terms": {"heatmap": 0.2, "count": 0.05}, "lr": 1e-3,
    "images_per_second": 34.2, "eta": 75.0, "best": True, "val": {"oks_ap": 0.5, "score": 0.625, "b": 1.0, "c": 2.0, "d": 3},
}  # fmt: skip


def test_an_epoch_in_words():
    assert describe(EPOCH) == (
        "epoch 3/60  loss 0.25 (heatmap 0.2, count 0.05)  val score 0.625, oks_ap 0.5, b 1, c 2 *  lr 0.001  34 img/s  eta 1:15"
    )
    assert "val" not in describe({key: value for key, value in EPOCH.items() if key != "val"})


def test_other_events_in_words():
    start = {"event": "start", "run": "a-1", "epochs": 5, "steps": 7, "workers": 2, "resumed_from": 0}
    assert describe(start) == "run a-1: 5 epochs of 7 steps, 2 worker(s)"
    assert describe({**start, "resumed_from": 3}).endswith("going on after epoch 3")
    assert describe({"event": "note", "text": "hello"}) == "hello"
    assert "0.5000" in describe({"event": "end", "epochs": 5, "minutes": 1.0, "best_score": 0.5})
    assert "no finite score" in describe({"event": "end", "epochs": 5, "minutes": 1.0, "best_score": None})
    assert describe({"event": "step", "epoch": 1}) == ""


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (75, "1:15"), (3675, "1:01:15")])
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_events_go_to_the_run_and_to_another_file(tmp_path, monkeypatch):
    monkeypatch.setenv("KP_PROGRESS", str(tmp_path / "also.jsonl"))
    ProgressLog(tmp_path)(EPOCH)
    lines = [json.loads((tmp_path / name).read_text()) for name in ("progress.jsonl", "also.jsonl")]
    assert lines[0] == lines[1]
    assert {**EPOCH, "time": lines[0]["time"]} == lines[0]


def test_a_file_that_cannot_be_written_stops_nothing(tmp_path):
    ProgressLog(tmp_path, str(tmp_path / "missing" / "file"))(EPOCH)
    assert (tmp_path / "progress.jsonl").exists()


def test_the_follower_shows_what_is_new_and_whole(tmp_path):
    log = ProgressLog(tmp_path, "")
    log({"event": "note", "text": "old"})
    stream = io.StringIO()
    with Follower(tmp_path, stream, period=0.01):
        log({"event": "note", "text": "new"})
        with (tmp_path / "progress.jsonl").open("a") as file:
            file.write('{"event": "note", "te')
            file.flush()
            file.write('xt": "torn"}\nnot json\n{"event": "note"')
    assert stream.getvalue() == "new\ntorn\n"
