"""The code that a job runs: what the wheel of this checkout holds.

Ray would install a wheel with ``pip install``, dependencies and all, and takes two wheels of one file name for the same.
So the wheel is built here, and its content goes to the nodes as a module that Ray names by its bytes.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from kpmodels.errors import UserError
from kpmodels.training.identity import code_hash, package_folder

PARTS = ("pyproject.toml", "README.md", "LICENSE", "NOTICE", "kpmodels", "flows")


def package_to_send(scratch: Path) -> Path:
    """A folder ``kpmodels`` as the wheel has it; the installed one where this process does not run from a checkout.

    Args:
        scratch: An empty folder to work in.

    Raises:
        UserError: the wheel cannot be built, or does not hold the code that runs here.
    """
    package = package_folder()
    if not (package.parent / "pyproject.toml").is_file():
        return package
    with zipfile.ZipFile(build_wheel(package.parent, scratch)) as wheel:
        wheel.extractall(scratch / "wheel")
    sent = scratch / "wheel" / package.name
    if code_hash(sent) != code_hash(package):
        raise UserError(
            f"the wheel of {package.parent} does not hold the code that runs here",
            "see `packages` in pyproject.toml: every folder of kpmodels needs an __init__.py",
        )
    return sent


def build_wheel(checkout: Path, scratch: Path) -> Path:
    """Build from a copy, so that nothing is written to the checkout; without the network."""
    source = scratch / "source"
    source.mkdir()
    for name in PARTS:
        path = checkout / name
        if path.is_dir():
            shutil.copytree(path, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif path.is_file():
            shutil.copy2(path, source / name)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--no-build-isolation", "--no-index", "--wheel-dir", str(scratch / "dist"), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list((scratch / "dist").glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        raise UserError(
            f"the wheel of {checkout} cannot be built: {_last_line(done.stderr)}", "pip install 'setuptools>=77'"
        )
    return wheels[0]


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no message"
