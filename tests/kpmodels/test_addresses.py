"""What of an address may stand in a log."""

from __future__ import annotations

import re

import pytest

from kpmodels.addresses import NO_PASSWORD, filled, refuse_password, shown
from kpmodels.errors import UserError


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


def test_named_variables_are_filled_in_and_no_others(monkeypatch):
    monkeypatch.setenv("KP_SECRET_DROP", "word\n")
    monkeypatch.setenv("OTHER", "not yours")
    assert filled("sig=${KP_SECRET_DROP}&x=${OTHER}") == "sig=word&x=${OTHER}"
    with pytest.raises(UserError, match="KP_SECRET_MISSING, which is not set"):
        filled("${KP_SECRET_MISSING}")


@pytest.mark.parametrize("address", ["https://user:word@host/a.zip", "http://:word@host:80/"])
def test_a_password_in_clear_is_refused_and_not_repeated(address):
    with pytest.raises(UserError, match="password in clear") as caught:
        refuse_password(address)
    assert "word@" not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    ["https://user:${KP_SECRET_DROP}@host/a.zip", "https://host:8443/a@b", "/mnt/a:b@c", "https://user@host/"],
)
def test_addresses_without_a_password_pass(address):
    assert not re.search(NO_PASSWORD["not"]["pattern"], address), "the form refuses it"
    refuse_password(address)
