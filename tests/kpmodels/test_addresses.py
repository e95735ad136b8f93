"""What of an address may stand in a log."""

from __future__ import annotations

import pytest

from kpmodels.addresses import shown


@pytest.mark.parametrize(
    ("address", "visible"),
    [
        ("https://user:word@host:8443/a/drop.zip?X-Amz-Signature=word#word", "https://host:8443/a/drop.zip"),
        ("ssh://user:word@host/path", "ssh://host/path"),
        ("s3://bucket/path", "s3://bucket/path"),
        ("../.storage", "../.storage"),
        ("/mnt/a@b?c", "/mnt/a@b?c"),
        ("https://[word", "an address that cannot be read"),
    ],
)
def test_secrets_of_an_address_are_left_out(address, visible):
    assert shown(address) == visible
