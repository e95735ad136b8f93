"""What `datasets.dvc` points to: the files of every data set, read and put together without any of their bytes.

The one pointer names a listing in the DVC cache (a `.dir` object: JSON, one `{md5, relpath}` per file, sorted by path;
its name is the MD5 of its text; see "Structure of the cache directory" in DVC's guide). To take one data set from one
commit and another from another, DVC's commands would need the bytes of both; so the listing is put together here.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import yaml

from flows import dvc
from kpmodels.errors import UserError

FILE = "datasets.dvc"
FOLDER = "datasets"
Listing = list[dict[str, Any]]


def read(worktree: Path, text: str | None) -> Listing:
    """The files that a pointer's text names, in all data sets; empty without a pointer.

    The listing is read from the cache of `worktree`, and fetched into it (only it, not the files) when missing.

    Raises UserError when no remote has it.
    """
    if not text:
        return []
    name = yaml.safe_load(text)["outs"][0]["md5"]
    path = _object(worktree, name)
    if not path.exists():
        _fetch(worktree, text)
    if not path.exists():
        known = ", ".join(dvc.remotes(worktree).order) or "none is configured"
        raise UserError(
            f"the listing of the data sets ({name}) is neither in the cache nor in a DVC remote ({known})",
            "dvc remote list; then push from the machine that made the data version",
        )
    listing: Listing = json.loads(path.read_bytes())
    return listing


def write(worktree: Path, listing: Listing) -> str:
    """Puts a listing into the cache and gives back the text of the pointer to it."""
    ordered = sorted(listing, key=lambda entry: str(entry["relpath"]))
    content = json.dumps(ordered, sort_keys=True).encode()
    name = hashlib.md5(content, usedforsecurity=False).hexdigest() + ".dir"
    path = _object(worktree, name)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_name(path.name + ".part")
        scratch.write_bytes(content)
        scratch.chmod(0o444)
        scratch.replace(path)
    out = {"md5": name, "nfiles": len(ordered), "hash": "md5", "path": FOLDER}
    return yaml.safe_dump({"outs": [out]}, sort_keys=False)


def names(listing: Listing) -> list[str]:
    """The data sets in a listing."""
    return sorted({str(entry["relpath"]).partition("/")[0] for entry in listing if "/" in str(entry["relpath"])})


def of(listing: Listing, name: str) -> Listing:
    """The files of one data set."""
    return [entry for entry in listing if str(entry["relpath"]).startswith(f"{name}/")]


def without(listing: Listing, name: str) -> Listing:
    """The files of all other data sets."""
    return [entry for entry in listing if not str(entry["relpath"]).startswith(f"{name}/")]


def _object(worktree: Path, name: str) -> Path:
    cache = dvc.local_config(worktree).get("cache", "dir", fallback=str(worktree / ".dvc" / "cache"))
    return Path(cache) / "files" / "md5" / name[:2] / name[2:]


def _fetch(worktree: Path, text: str) -> None:
    """Asks every remote for the listing alone: fetching a path that is in no data set brings nothing else."""
    path = worktree / FILE
    before = path.read_text() if path.exists() else None
    try:
        path.write_text(text)
        name = yaml.safe_load(text)["outs"][0]["md5"]
        for remote in dvc.remotes(worktree).order:
            words = ("fetch", "--remote", remote, f"{FOLDER}/.listing")
            dvc.dvc(worktree, *words, check=False)
            if _object(worktree, name).exists():
                return
    finally:
        if before is None:
            path.unlink()
        else:
            path.write_text(before)
