from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from kpmodels.config import (
    DETECTOR_OPTIONS,
    AugmentOptions,
    Experiment,
    LocatorOptions,
    override,
    parse_experiment,
    read_experiment,
    write_experiment,
)
from kpmodels.errors import UserError


class TestParse:
    @pytest.mark.parametrize(
        ("content", "words"),
        [
            ({"trian": {}}, ["trian", "did you mean 'train'"]),
            ({"train": {"epocs": 3}}, ["train.epocs", "did you mean 'epochs'"]),
            ({"detector": {"kind": "heatmpa"}}, ["detector.kind", "did you mean 'heatmap'"]),
            ({"detector": {"kind": "locator", "sigm": 3}}, ["detector.sigm", "did you mean 'sigma'"]),
            ({"detector": {"kind": "heatmap", "codec": "upd"}}, ["detector.codec", "did you mean 'udp'"]),
            ({"detector": {"kind": "heatmap", "backbone": {"neck": "x"}}}, ["backbone.neck", "deconv, upsample"]),
            ({"train": {"epochs": 0}}, ["train.epochs", "greater than or equal to 1"]),
            ({"losses": {"hausdorff": {"alpha": 2}}}, ["losses.hausdorff.alpha"]),
            ({"name": "Has Spaces"}, ["name"]),
        ],
    )
    def test_problem_names_the_key_and_the_nearest_valid_one(self, content: dict, words: list[str]) -> None:
        with pytest.raises(UserError) as caught:
            parse_experiment(content)
        assert all(word in str(caught.value) for word in words), str(caught.value)

    def test_the_form_offers_the_detectors(self) -> None:
        schema = Experiment.model_json_schema()
        offered = [choice["$ref"].split("/")[-1] for choice in schema["properties"]["detector"]["anyOf"]]
        assert offered == [model.__name__ for model in DETECTOR_OPTIONS.values()]
        assert all("const" in schema["$defs"][name]["properties"]["kind"] for name in offered)

    def test_every_field_has_help(self) -> None:
        def fields(model):
            for name, field in model.model_fields.items():
                yield f"{model.__name__}.{name}", field
                for part in [field.annotation, *getattr(field.annotation, "__args__", ())]:
                    if hasattr(part, "model_fields"):
                        yield from fields(part)

        missing = [
            name for model in (Experiment, *DETECTOR_OPTIONS.values()) for name, f in fields(model) if not f.description
        ]
        assert missing == []


def test_boxes_are_not_turned_unless_asked() -> None:
    assert AugmentOptions().for_task("pose").rotation == 30
    assert AugmentOptions().for_task("boxes").rotation == 0
    assert AugmentOptions(rotation=5).for_task("boxes").rotation == 5


class TestFiles:
    def test_round_trip_keeps_everything(self, tmp_path) -> None:
        experiment = Experiment(name="a", detector=LocatorOptions(alpha=-3, tiling="tile"))
        write_experiment(experiment, tmp_path / "params.yaml")
        assert read_experiment(tmp_path / "params.yaml") == experiment

    def test_written_file_holds_defaults_too(self, tmp_path) -> None:
        write_experiment(Experiment(), tmp_path / "params.yaml")
        assert yaml.safe_load((tmp_path / "params.yaml").read_text())["train"]["clip"] == 10.0

    @pytest.mark.parametrize(("text", "word"), [("a: [", "not YAML"), ("- 1", "no mapping")])
    def test_broken_file_is_named(self, tmp_path, text: str, word: str) -> None:
        path = tmp_path / "params.yaml"
        path.write_text(text)
        with pytest.raises(UserError, match=word) as caught:
            read_experiment(path)
        assert str(path) in str(caught.value)

    def test_missing_file_is_named(self, tmp_path) -> None:
        with pytest.raises(UserError, match="no such file"):
            read_experiment(tmp_path / "none.yaml")

    def test_params_of_this_repository_are_valid(self, repository_root) -> None:
        assert read_experiment(repository_root / "params.yaml").data.name == "shapes"


class TestOverride:
    def test_value_types_are_those_of_yaml(self) -> None:
        done = override({}, ["a.b=3", "a.c=true", "d=x", "e=[1, 2]"])
        assert done == {"a": {"b": 3, "c": True}, "d": "x", "e": [1, 2]}

    def test_input_is_left_alone(self) -> None:
        content = {"a": {"b": 1}}
        override(content, ["a.b=2"])
        assert content == {"a": {"b": 1}}

    def test_new_kind_drops_the_old_detectors_options(self) -> None:
        content = {"detector": {"kind": "heatmap", "codec": "dark"}}
        done = override(content, ["detector.sigma=3", "detector.kind=locator"])
        assert done["detector"] == {"kind": "locator", "sigma": 3}

    @pytest.mark.parametrize("assignment", ["train.epochs", "=3"])
    def test_malformed_assignment_is_refused(self, assignment: str) -> None:
        with pytest.raises(UserError, match="key=value"):
            override({}, [assignment])

    @given(st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=4), st.integers())
    def test_any_path_can_be_set(self, path: list[str], value: int) -> None:
        node = override({}, [f"{'.'.join(path)}={value}"])
        for part in path:
            node = node[part]
        assert node == value
