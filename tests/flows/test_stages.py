from __future__ import annotations

from flows.stages import user_error


def test_all_lines_of_a_users_mistake_are_kept() -> None:
    lines = [
        "epoch 1",
        "error: 2 problems in the drop",
        "  a.jpg: broken",
        "  b.jpg: broken",
        "  -> mend them",
        "",
        "ERROR: x",
    ]
    found = user_error(lines)
    assert found is not None
    assert found.message == "2 problems in the drop\n  a.jpg: broken\n  b.jpg: broken"
    assert found.remedy == "mend them"


def test_what_dvc_says_of_the_stage_is_left_out() -> None:
    found = user_error(["error: no such split", "ERROR: failed to reproduce 'train': failed to run: x, exited with 2"])
    assert found is not None
    assert str(found) == "no such split"


def test_a_failure_of_another_kind_is_none() -> None:
    assert user_error(["Traceback (most recent call last):", "ValueError: x"]) is None
