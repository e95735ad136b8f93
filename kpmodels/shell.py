"""What every command line of the project does alike: errors without tracebacks, and exit codes."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import typer

from kpmodels.errors import UserError


def run_app(app: typer.Typer) -> NoReturn:
    """Run a command line; a :class:`UserError` is printed without a traceback and ends with status 2."""
    try:
        app()
    except UserError as error:
        if os.environ.get("KP_TRACEBACK"):
            raise
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        raise SystemExit(130) from None
    raise SystemExit(0)
