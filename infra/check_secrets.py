#!/usr/bin/env python3
"""Refuses to start with secrets that are missing, short, or still those of .env.example.

check_secrets.py NAME...        looks at these environment variables; for NAME_FILE or NAME_PATH, at the file it names
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

EXAMPLE = "change-me"
SHORTEST = 16
USERS = ("PREFECT_API_AUTH_STRING", "PREFECT_SERVER_API_AUTH_STRING")  # user:password


def problem(name: str, environment: Mapping[str, str]) -> str:
    """What is wrong with a secret, never the secret itself; empty where it will do."""
    value = environment.get(name, "").strip()
    if not value:
        return f"{name} is not set"
    if name.endswith(("_FILE", "_PATH")):
        try:
            value = Path(value).read_text().strip()
        except OSError as error:
            return f"{name}: the file cannot be read: {error.strerror}"
    if EXAMPLE in value.lower():
        return f"{name} still holds the example's value"
    if name in USERS:
        user, colon, value = value.partition(":")
        if not user or not colon:
            return f"{name} must be user:password"
    if len(value) < SHORTEST:
        return f"{name} is shorter than {SHORTEST} characters"
    return ""


def main(names: list[str]) -> int:
    problems = [text for name in names if (text := problem(name, os.environ))]
    for text in problems:
        print(f"refused: {text}", file=sys.stderr)
    if problems:
        print("  -> write a secret of your own to infra/.env: openssl rand -hex 32", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
