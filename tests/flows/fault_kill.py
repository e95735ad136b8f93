"""``kp`` that kills itself with SIGKILL: ``fault_kill.py MODULE:NAME before|after[=WORD] ARGUMENTS OF KP...``.

Before or after the first call of the function (of the first with WORD among its arguments). Pushes are tried again
without delay.
"""

from __future__ import annotations

import functools
import importlib
import os
import signal
import sys
from typing import Any


def arm(target: str, moment: str) -> None:
    """Replace a function by one that kills this process."""
    module, _, path = target.partition(":")
    *outer, name = path.split(".")
    holder = functools.reduce(getattr, outer, importlib.import_module(module))
    original = getattr(holder, name)
    when, _, word = moment.partition("=")

    @functools.wraps(original)
    def armed(*words: Any, **named: Any) -> Any:
        meant = not word or any(word in str(value) for value in words)
        if meant and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*words, **named)
        if meant:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(holder, name, armed)


if __name__ == "__main__":
    from flows import cli, ingest, retrain

    for module in (ingest, retrain):
        module.publish.retry_delay_seconds = 0.2
    point, moment = sys.argv[1:3]
    if point != "-":
        arm(point, moment)
    sys.argv[1:3] = []
    cli.main()
