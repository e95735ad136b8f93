from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kpmodels.data.splits import SPLITS, SplitRule, split_key, split_of

RULE = SplitRule()


def test_fractions_are_met() -> None:
    counts = Counter(split_of(f"image {number}", RULE) for number in range(20000))
    assert counts["train"] / 20000 == pytest.approx(0.8, abs=0.01)
    assert counts["val"] / 20000 == pytest.approx(0.1, abs=0.01)
    assert counts["test"] / 20000 == pytest.approx(0.1, abs=0.01)


def test_known_keys_never_move() -> None:
    # were these to change, every data set would be divided anew
    expected = {"a": "train", "0123456789abcdef": "train", "group:video 7": "train", "q": "val", "r": "test"}
    assert {key: split_of(key, RULE) for key in expected} == expected


@given(st.text(max_size=40), st.floats(0.01, 1), st.floats(0, 1))
def test_a_key_is_always_in_one_split_with_a_part(key: str, train: float, rest: float) -> None:
    rule = SplitRule(train, (1 - train) * rest, (1 - train) * (1 - rest))
    split = split_of(key, rule)
    assert split in SPLITS
    assert split == split_of(key, rule)
    assert rule.to_dict()[split] > 0


@given(st.text(min_size=1, max_size=20), st.text(max_size=16))
def test_images_of_a_group_stay_together(group: str, image_id: str) -> None:
    assert split_key(image_id, group) == split_key("other", group)
    assert split_key(image_id, "") == image_id


def test_growing_train_moves_only_into_train() -> None:
    keys = [str(number) for number in range(2000)]
    small, large = SplitRule(0.6, 0.2, 0.2), SplitRule(0.8, 0.1, 0.1)
    assert all(split_of(key, large) == "train" for key in keys if split_of(key, small) == "train")


@pytest.mark.parametrize("fractions", [(0.5, 0.2, 0.2), (1.2, -0.1, -0.1)])
def test_wrong_fractions_are_refused(fractions: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="add up to 1"):
        SplitRule(*fractions)


def test_the_rule_survives_its_file() -> None:
    rule = SplitRule(0.5, 0.25, 0.25, "salt")
    assert SplitRule.from_dict(rule.to_dict()) == rule
