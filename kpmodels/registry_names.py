"""How the registry's tags and its versions are written: the one place that the flows, who write them, and `resolve`, who reads them, share.

GTO 1.10 knows three-part versions only: our version `v3` is its tag `name@v3.0.0`, which `dvc artifacts get --rev v3.0.0`
and `gto show` read. Beside it stands a plain tag `name@v3` on the same commit, so that what people write is a git
revision (`git checkout name@v3`); GTO ignores it. Stage tags are GTO's own: `name#champion#2`, of which the newest counts.
A `!` takes a version or a stage away.
"""

from __future__ import annotations

import re

NAME = r"[A-Za-z0-9](?:[A-Za-z0-9_-]*[A-Za-z0-9])?"
VERSION_TAG = re.compile(rf"(?P<name>{NAME})@(?P<version>v[0-9]+\.[0-9]+\.[0-9]+)(?P<cancel>!?)(?:#[0-9]+)?")
STAGE_TAG = re.compile(rf"(?P<name>{NAME})#(?P<stage>{NAME})(?P<cancel>!?)(?:#(?P<counter>[0-9]+))?")
ALIAS_TAG = re.compile(rf"(?P<name>{NAME})@(?P<version>v[0-9]+)")
MODEL = re.compile(rf"(?P<name>{NAME})(?:@(?P<version>v[0-9]+(?:\.[0-9]+){{0,2}})|#(?P<stage>{NAME}))?")


def short_version(version: str) -> str:
    """`v3` for `v3.0.0`; any other as it is.

    >>> short_version("v3.0.0"), short_version("v3.1.0")
    ('v3', 'v3.1.0')
    """
    return version.removesuffix(".0.0")


def long_version(version: str) -> str:
    """`v3.0.0` for `v3`, as GTO and `dvc artifacts get --rev` want it.

    >>> long_version("v3"), long_version("v3.1"), long_version("v3.1.2")
    ('v3.0.0', 'v3.1.0', 'v3.1.2')
    """
    return version + ".0" * (2 - version.count("."))


def version_number(version: str) -> tuple[int, ...]:
    """What versions are ordered by."""
    return tuple(int(part) for part in long_version(version)[1:].split("."))
