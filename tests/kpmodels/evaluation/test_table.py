from __future__ import annotations

import pytest

from kpmodels.errors import UserError
from kpmodels.evaluation.metrics import main_metric, metrics_of
from kpmodels.evaluation.table import read_table
from kpmodels.structures import Instances


def test_a_table_read_again_gives_the_same_metrics(cases, tmp_path):
    truth = {"a": Instances.make([cases.animal()]), "b": Instances.empty(3)}
    found = {"a": Instances.make([cases.animal(13)]), "b": Instances.make([cases.animal()], scores=[0.4])}
    table, _ = cases.results(truth, found, cases.pose_info(None), {"a": "film"})
    table.write(tmp_path / "t.parquet")
    again = read_table(tmp_path / "t.parquet")
    assert again.meta == table.meta
    assert again.strings("group") == ["film", ""]
    for metric in metrics_of(table.meta):
        assert metric.value(again) == pytest.approx(metric.value(table), nan_ok=True)
    assert main_metric(again.meta) == "oks_ap_assumed_sigmas"


def test_equal_tables_are_equal_bytes(cases, tmp_path):
    truth = {"a": Instances.make([cases.animal()])}
    for name in ("one", "two"):
        cases.results(truth, truth, cases.pose_info())[0].write(tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_rows_are_sorted_and_selected(cases):
    truth = {key: Instances.make([cases.animal()]) for key in "cab"}
    table, _ = cases.results(truth, truth, cases.pose_info())
    assert table.image_ids == ["a", "b", "c"]
    assert table.select(["c", "a"]).image_ids == ["c", "a"]


def test_what_is_no_table_is_refused(tmp_path):
    with pytest.raises(UserError, match="no results per image"):
        read_table(tmp_path / "missing.parquet")
    (tmp_path / "text.parquet").write_text("no parquet")
    with pytest.raises(UserError, match="kp evaluate"):
        read_table(tmp_path / "text.parquet")
