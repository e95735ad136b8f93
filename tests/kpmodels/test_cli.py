from __future__ import annotations

import subprocess
import sys

from typer.testing import CliRunner

from kpmodels.cli import app

HEAVY = ("torch", "ray", "cv2", "matplotlib", "pyarrow", "prefect", "dvc")


def loaded_by(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*sorted(name for name in {HEAVY!r} if name in sys.modules))"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_command_lines_load_nothing_heavy() -> None:
    assert loaded_by("import kpmodels.cli") == set()
    assert loaded_by("import kpmodels, kpmodels.config") == set()


def test_options_lists_every_key_of_a_detector() -> None:
    output = CliRunner().invoke(app, ["options", "--detector", "locator"], env={"COLUMNS": "200"}).output
    for key in ("detector.miss_weight", "losses.contrastive.temperature", "train.epochs", "gate.policy"):
        assert key in output


def test_user_error_has_no_traceback_and_status_2() -> None:
    command = [sys.executable, "-m", "kpmodels", "options", "--detector", "heatmpa"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "did you mean 'heatmap'" in done.stderr
    assert "Traceback" not in done.stderr
