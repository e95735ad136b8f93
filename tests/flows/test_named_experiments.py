from __future__ import annotations

import pytest

from flows.named_experiments import choose_experiment, experiment_names
from kpmodels.errors import UserError


def test_every_named_experiment_is_valid(repository_root) -> None:
    names = experiment_names(repository_root)
    assert len(names) >= 2
    for name in names:
        assert choose_experiment(repository_root, name=name).name == name


def test_data_and_detector_name_the_model(repository_root) -> None:
    chosen = choose_experiment(repository_root, data="mice@v3", detector="locator", assignments=("train.epochs=7",))
    assert (chosen.name, chosen.data.name, chosen.data.version) == ("mice-locator", "mice", "v3")
    assert (chosen.detector.kind, chosen.train.epochs) == ("locator", 7)


def test_own_name_wins(repository_root) -> None:
    assert choose_experiment(repository_root, data="mice", assignments=("name=snout",)).name == "snout"


def test_without_anything_params_decide(repository_root) -> None:
    assert choose_experiment(repository_root).name == "shapes-heatmap"


def test_unknown_name_gives_the_nearest(repository_root) -> None:
    with pytest.raises(UserError, match="did you mean 'cells-locator'"):
        choose_experiment(repository_root, name="cell-locator")


def test_unknown_detector_gives_the_nearest(repository_root) -> None:
    with pytest.raises(UserError, match="did you mean 'locator'"):
        choose_experiment(repository_root, data="mice", detector="locater")
