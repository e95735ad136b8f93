"""Addresses as they may stand in logs, errors and records: without what may be a secret in them."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit


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
