from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from itertools import dropwhile
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner

from flows.cli import app
from kpmodels.cli import app as models_app
from kpmodels.errors import UserError

HEAVY = ("torch", "ray", "cv2", "matplotlib", "pyarrow", "prefect", "dvc")


def kp(*words: str) -> str:
    done = CliRunner().invoke(app, list(words), env={"COLUMNS": "160"})
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.output


def test_help_loads_nothing_heavy() -> None:
    code = f"import sys, flows.cli\nprint(*sorted(name for name in {HEAVY!r} if name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split() == []


def commands(of: typer.Typer, *before: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """All commands of an application with the words that call them."""

    def walk(command: Any, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
        if not hasattr(command, "commands"):
            yield words, command
            return
        for name, inner in command.commands.items():
            yield from walk(inner, (*words, name))

    return walk(typer.main.get_command(of), before)


def examples(command: Any) -> list[list[str]]:
    """The examples at the end of a command's help, each as words without what it sets in the environment."""
    _, _, text = (command.epilog or "").partition(": ")
    lines = [shlex.split(example) for example in text.split(" | ")]
    return [list(dropwhile(lambda word: re.match(r"[A-Z_]+=", word), line)) for line in lines]


EVERY = [*commands(app, "kp"), *commands(models_app, "python", "-m", "kpmodels")]


@pytest.mark.parametrize(("words", "command"), EVERY, ids=[" ".join(words) for words, _ in EVERY])
def test_the_help_of_every_command_ends_with_examples_that_it_takes(words: tuple[str, ...], command: Any) -> None:
    assert re.match(r"Examples?: ", command.epilog or "")
    known = {opt for param in command.params for opt in (*param.opts, *param.secondary_opts)}
    named = words[1:] if words[0] == "kp" else words[3:]
    for example in examples(command):
        start = 1 if example[0] == "kp" else 3
        assert example[:start] in (["kp"], ["python", "-m", "kpmodels"])
        assert tuple(example[start : start + len(named)]) == named
        assert {word for word in example if word.startswith("--")} <= known


@pytest.mark.parametrize("words", [(), ("retrain",), ("data",), ("data", "ingest"), ("options",), ("predict",)])
def test_every_command_has_help(words: tuple[str, ...]) -> None:
    assert "Usage" in kp(*words, "--help")


def test_flow_commands_and_model_commands_stand_side_by_side() -> None:
    listed = kp("--help")
    for name in (
        "demo",
        "up",
        "retrain",
        "models",
        "promote",
        "rollback",
        "gc",
        "train",
        "evaluate",
        "predict",
        "export",
    ):
        assert name in listed


def test_dry_run_prints_the_resolved_experiment() -> None:
    text = kp(
        "retrain", "--data", "mice@v2", "--detector", "locator", "--workers", "3", "--set", "train.seed=4", "--dry-run"
    )
    content = yaml.safe_load(text)
    assert content["name"] == "mice-locator"
    assert content["data"] == {"name": "mice", "version": "v2"}
    assert (content["train"]["workers"], content["train"]["seed"]) == (3, 4)
    assert content["detector"]["alpha"] == -1.0


def test_promote_asks_which_version() -> None:
    with pytest.raises(UserError, match="kp promote mice@v1"):
        kp("promote", "mice")


class TestInAFreshRepository:
    @pytest.fixture(autouse=True)
    def _inside(self, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(checkout)

    def test_empty_registry_says_what_to_do(self) -> None:
        assert "kp retrain" in kp("models")

    def test_unknown_model_is_named(self) -> None:
        with pytest.raises(UserError, match="nobody"):
            kp("rollback", "nobody")
        with pytest.raises(UserError, match="nobody"):
            kp("models", "--history", "nobody")

    def test_bundled_data_can_be_looked_at_by_name(self, tmp_path: Path) -> None:
        sheet = tmp_path / "sheet.png"
        kp("data", "show", "shapes", "--out", str(sheet), "--count", "4")
        assert sheet.read_bytes().startswith(b"\x89PNG")
        assert "shapes@v1" in kp("data", "list")

    def test_the_stdout_of_a_pipe_holds_the_result_alone(self, checkout: Path, tmp_path: Path) -> None:
        def piped(*words: str) -> subprocess.CompletedProcess[str]:
            command = [sys.executable, "-c", "from flows.cli import main; main()", *words]
            return subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=True)

        sheet = tmp_path / "sheet.png"
        assert piped("data", "show", "shapes", "--out", str(sheet), "--count", "1").stdout == f"{sheet}\n"
        done = piped("data", "check", "shapes")
        assert "160/160 images" in done.stderr
        assert "160/160 images" not in done.stdout

    def test_gc_tells_before_it_deletes(self, checkout: Path) -> None:
        kp("data", "show", "shapes", "--out", str(checkout / ".runs" / "sheet.png"), "--count", "1")
        views = {path.name for path in (checkout / ".runs").iterdir() if (path / ".git").is_file()}
        assert views
        told = kp("gc", "--older", "0")
        assert all(f"would delete {name}" in told for name in views)
        assert all((checkout / ".runs" / name).exists() for name in views)
        kp("gc", "--older", "0", "--yes")
        assert not any((checkout / ".runs" / name).exists() for name in views)


def test_outside_of_a_repository_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="not inside a git repository"):
        kp("models")
