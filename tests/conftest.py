"""Settings of every test: nothing reports usage, nothing reads the user's own configuration, few threads."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

for name, value in {
    "RAY_USAGE_STATS_ENABLED": "0",
    "DVC_NO_ANALYTICS": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_SERVER_LEVEL": "WARNING",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
    "GIT_CONFIG_NOSYSTEM": "1",
    "HF_HUB_OFFLINE": "1",
}.items():
    os.environ[name] = value

settings.register_profile("project", deadline=None, print_blob=True)
settings.load_profile("project")

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def repository_root() -> Path:
    """The checkout that is tested."""
    return ROOT


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real labelled images; tests on it skip where it is absent."""
    folder = Path(os.environ.get("KP_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; name its folder with KP_DATA")
    return folder
