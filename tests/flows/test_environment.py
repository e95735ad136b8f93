from __future__ import annotations

import logging

import pytest

from flows.environment import without_user_tracebacks
from kpmodels.errors import UserError


def record(error: Exception) -> logging.LogRecord:
    return logging.LogRecord("x", logging.ERROR, "", 0, "failed: %s", ("x",), (type(error), error, None))


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("no such data set", "no such data set\n  -> kp data list"),
        ("2 problems\n  a.jpg: broken\n  b.jpg: broken", "2 problems ...\n  -> kp data list"),
    ],
)
def test_mistakes_are_told_in_words_and_long_lists_not_again(message: str, told: str) -> None:
    one = record(UserError(message, "kp data list"))
    assert without_user_tracebacks(one)
    assert one.getMessage() == told
    assert one.exc_info is None


def test_bugs_keep_their_traceback() -> None:
    one = record(ValueError("x"))
    assert without_user_tracebacks(one)
    assert one.exc_info is not None
