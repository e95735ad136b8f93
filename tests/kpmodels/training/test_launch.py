"""The driver without Ray: which run it is, whether it is done already, what it writes."""

import json
import re

import pytest
from toys import build_toys, write_dataset

from kpmodels.config import parse_experiment
from kpmodels.errors import UserError
from kpmodels.run_lock import run_lock
from kpmodels.training.identity import code_hash, identify, relevant_options, run_name
from kpmodels.training.launch import train

BASE = {"epochs": 3, "batch_size": 6, "workers": 0, "threads": 1, "validate_every": 1}


def experiment(**changes):
    return parse_experiment({"name": "toys", "train": {**BASE, **changes}})


@pytest.fixture
def go(tmp_path):
    data = write_dataset(tmp_path / "data")

    def run(force=False, **changes):
        return train(experiment(**changes), data, tmp_path / "out", tmp_path / "storage", force=force, build=build_toys)

    return run


def calls(tmp_path):
    return len((tmp_path / "storage" / "calls").read_text().split())


def weights(tmp_path):
    return (tmp_path / "out" / "weights.safetensors").read_bytes()


def test_two_runs_make_equal_folders(go, tmp_path):
    """Every file of the model, byte for byte: a run made again is the same version."""
    go()
    first = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    go(force=True)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == first


def test_a_run_writes_the_model_its_history_and_says_how_it_went(go, tmp_path, capsys):
    summary = go()
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir()} == {"weights.safetensors", "model.json", "history.jsonl"}
    records = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in records] == [1, 2, 3]
    assert (summary["epochs"], summary["resumed_from"], summary["reused"]) == (3, 0, False)
    assert not {"seconds", "images_per_second", "eta"} & set(records[0])
    printed = capsys.readouterr().out
    assert re.search(r"^epoch 3/3  loss [\d.]+ \(points [\d.]+, rows [\d.]+\)  val score", printed, re.M)
    events = [json.loads(line)["event"] for line in (tmp_path / "storage" / summary["run"] / "progress.jsonl").open()]
    assert events == ["start", "epoch", "epoch", "epoch", "end"]


def test_a_finished_run_is_used_again_unless_forced(go, tmp_path, capsys, monkeypatch):
    first = go()
    before = weights(tmp_path)
    (tmp_path / "out" / "weights.safetensors").unlink()
    assert go() == {**first, "reused": True}
    assert weights(tmp_path) == before
    assert calls(tmp_path) == 1
    assert "is finished" in capsys.readouterr().out
    assert not go(force=True)["reused"]
    monkeypatch.setenv("KP_FORCE", "1")
    assert not go()["reused"]
    assert calls(tmp_path) == 3
    assert weights(tmp_path) == before
    assert len(list((tmp_path / "storage").glob("heatmap-*.before-*"))) == 2


def test_another_name_takes_the_same_run_and_is_told_in_the_model(go, tmp_path):
    summary = go()
    renamed = parse_experiment({"name": "others", "train": BASE, "gate": {"policy": "guidance"}})
    again = train(renamed, tmp_path / "data", tmp_path / "named", tmp_path / "storage", build=build_toys)
    assert (again["run"], again["reused"], calls(tmp_path)) == (summary["run"], True, 1)
    first, second = (json.loads((tmp_path / name / "model.json").read_text()) for name in ("out", "named"))
    assert (first["experiment"]["name"], second["experiment"]["name"]) == ("toys", "others")
    assert second["experiment"]["gate"]["policy"] == "guidance"
    assert first["experiment"]["detector"] == second["experiment"]["detector"]
    assert (tmp_path / "named" / "weights.safetensors").read_bytes() == weights(tmp_path)


def test_other_inputs_are_another_run(go, tmp_path):
    first, second = go()["run"], go(learning_rate=0.02)["run"]
    assert first != second
    assert calls(tmp_path) == 2
    assert go()["reused"]


def test_a_broken_exported_model_is_exported_again(go, tmp_path):
    run = go()["run"]
    before = weights(tmp_path)
    (tmp_path / "storage" / run / "model" / "weights.safetensors").write_bytes(b"nonsense")
    assert not go()["reused"]
    assert weights(tmp_path) == before


def test_a_run_of_another_process_is_left_alone(go, tmp_path):
    run = go()["run"]
    with run_lock(tmp_path / "storage" / run), pytest.raises(UserError, match=r"is being trained by process \d+"):
        go()


def test_a_folder_with_another_runs_record_is_refused(go, tmp_path):
    run = go()["run"]
    (tmp_path / "storage" / run / "run.json").write_text("{}")
    with pytest.raises(UserError, match="other inputs"):
        go()


def test_what_cannot_work_is_said_before_anything_starts(go, tmp_path):
    with pytest.raises(UserError, match="4 workers"):
        go(workers=4, batch_size=3)
    with pytest.raises(UserError, match="no GPU"):
        go(gpu=True)
    assert not (tmp_path / "storage" / "calls").exists()


def test_errors_of_the_worker_arrive(go, tmp_path):
    (tmp_path / "storage").mkdir()
    (tmp_path / "storage" / "plan.json").write_text(json.dumps({"events": [["user-error", 1, 0, 0]]}))
    with pytest.raises(UserError, match="image abc is broken"):
        go()
    assert go()["resumed_from"] == 1  # the event happens once


def test_identity_holds_what_decides_the_result():
    base = identify(experiment(), "data")
    assert re.fullmatch(r"heatmap-[0-9a-f]{12}", run_name(base))
    assert run_name(identify(experiment(loader_processes=2), "data")) == run_name(base)
    for other in (identify(experiment(seed=1), "data"), identify(experiment(), "other"), {**base, "code": "x"}):
        assert run_name(other) != run_name(base)
    gate = parse_experiment({"name": "toys", "train": BASE, "gate": {"policy": "never"}, "evaluate": {"samples": 3}})
    assert run_name(identify(gate, "data")) == run_name(base)
    radius = parse_experiment({"name": "toys", "train": BASE, "evaluate": {"radius": 9}})
    assert relevant_options(radius) != relevant_options(experiment())


def test_local_weights_count_by_content(tmp_path):
    path = tmp_path / "w.safetensors"

    def name():
        backbone = {"weights": str(path)}
        return run_name(identify(parse_experiment({"detector": {"kind": "heatmap", "backbone": backbone}}), "data"))

    with pytest.raises(UserError, match=r"w\.safetensors"):
        name()
    path.write_bytes(b"one")
    first = name()
    path.write_bytes(b"two")
    assert name() != first


def test_the_code_hash_sees_sources_but_not_the_command_line(tmp_path):
    (tmp_path / "losses").mkdir()
    (tmp_path / "losses" / "a.py").write_text("a = 1")
    (tmp_path / "cli.py").write_text("b = 1")
    first = code_hash(tmp_path)
    (tmp_path / "cli.py").write_text("b = 2")
    assert code_hash(tmp_path) == first
    (tmp_path / "losses" / "a.py").write_text("a = 2")
    assert code_hash(tmp_path) != first
