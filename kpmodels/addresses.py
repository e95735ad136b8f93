"""Addresses as they may stand in parameters, logs, errors and records: without what may be a secret in them."""

from __future__ import annotations

import os
import re
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from kpmodels.errors import UserError

SECRET = re.compile(r"\$\{(KP_SECRET_[A-Z0-9_]+)\}")
PASSWORD = r"://[^/@]*:[^/@$][^/@]*@"
NO_PASSWORD: dict[str, Any] = {"not": {"pattern": PASSWORD}}
"""For JSON schemas, which are the forms: no password in clear."""


def shown(address: str) -> str:
    """An address without user, password, query and fragment; a path of this machine as it is.

    >>> shown("https://user:pass@host:8443/drop.zip?signature=abc")
    'https://host:8443/drop.zip'
    >>> shown("data/drop.zip")
    'data/drop.zip'
    """
    try:
        parts = urlsplit(address)
    except ValueError:
        return "an address that cannot be read"
    if not parts.scheme or not parts.netloc:
        return address
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def filled(text: str) -> str:
    """A part of an address with the environment variables that it names, as ``?${KP_SECRET_DROP}``, filled in.

    Names begin with ``KP_SECRET_``: who may name an address is not to read any variable with it.

    Raises:
        UserError: one of them is not set.
    """

    def value(match: re.Match[str]) -> str:
        if match[1] not in os.environ:
            raise UserError(
                f"the address names {match[1]}, which is not set",
                "set it in the environment of the process that runs flows",
            )
        return os.environ[match[1]].strip()

    return SECRET.sub(value, text)


def refuse_password(address: str) -> None:
    """Raise a UserError for an address with a password in clear: parameters of flows are stored and shown."""
    if re.search(PASSWORD, address):
        raise UserError(
            f"{shown(address)}: the address holds a password in clear, which would be stored with the run",
            "put it into an environment variable KP_SECRET_<NAME>, and write https://user:${KP_SECRET_<NAME>}@...",
        )
