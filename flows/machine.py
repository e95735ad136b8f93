"""What decides, beside code, data and options, whether a training makes the same bytes: processor, threads, packages."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from kpmodels.processors import processors

PACKAGES = (
    "torch", "torchvision", "timm", "numpy", "opencv-python-headless", "simplejpeg", "pyarrow", "pycocotools", "scipy", "ray",
)  # fmt: skip


def describe() -> dict[str, str]:
    """The processor, the threads that compute unless the options say how many, Python, and the packages, by name."""
    machine = {"processor": _processor(), "threads": _threads(), "python": platform.python_version()}
    return machine | {name: _version(name) for name in PACKAGES}


def differences(then: Mapping[str, str], now: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """What is not the same: then and now, by name.

    >>> differences({"torch": "2.1", "numpy": "2"}, {"torch": "2.2", "numpy": "2"})
    {'torch': ('2.1', '2.2')}
    """
    return {name: (then[name], now.get(name, "")) for name in then if then[name] != now.get(name, "")}


def _processor() -> str:
    """The processor's model, as Linux tells it; else what Python knows."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return model or platform.processor() or platform.machine()


def _threads() -> str:
    """As many as the environment says, else as there are processors: sums are split by them, and differ in the last digits."""
    return os.environ.get("OMP_NUM_THREADS") or str(processors())


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
