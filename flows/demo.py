"""``kp demo``: the whole cycle on the bundled data set."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from flows import git
from flows.environment import prepare_environment
from flows.named_experiments import choose_experiment

if TYPE_CHECKING:
    from flows.retrain import RetrainResult


def run_demo(repository: Path) -> RetrainResult:
    """Retrain what ``params.yaml`` says: it reads the bundled data set.

    Where git knows no name to commit under (a fresh machine), the demo's commits get a neutral one.
    """
    prepare_environment(repository)
    if not git.succeeds(repository, "var", "GIT_COMMITTER_IDENT"):
        print("git does not know your name; the demo commits as 'kp demo' (git config user.name sets yours)")
        for role in ("AUTHOR", "COMMITTER"):
            os.environ[f"GIT_{role}_NAME"] = "kp demo"
            os.environ[f"GIT_{role}_EMAIL"] = "demo@localhost"
    from flows.retrain import retrain

    return retrain(choose_experiment(repository))
