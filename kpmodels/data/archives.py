"""Where a drop comes from: a folder, a file, an archive or an address; the outcome is a folder.

Archives are not trusted: a member that climbs out, a link, too many bytes or a ratio that only a bomb has stop
the import before anything else happens.
"""

from __future__ import annotations

import shutil
import tarfile
import tempfile
import urllib.error
import urllib.request
import zipfile
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import InvalidURL
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlparse, urlsplit, urlunsplit

from kpmodels.addresses import filled, shown
from kpmodels.data.drop import climbs_out
from kpmodels.errors import UserError

MAX_BYTES = 200 * 2**30
"""Bytes that an archive may unpack to, and that a download may have."""
MAX_MEMBERS = 5_000_000
MAX_RATIO = 200
"""Unpacked over packed bytes. Images hardly pack; label files pack 20 to 1 at most."""
SMALL = 64 * 2**20
"""Below so many unpacked bytes the ratio does not matter."""

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Source:
    """A drop on disk.

    Attributes:
        root: The folder of images and labels.
        file: The label file, where the user named one and not a folder.
        label: What the drop is called in records: its base name, never a path of this machine.
    """

    root: Path
    file: Path | None
    label: str


@contextmanager
def opened(source: str | Path, scratch: Path | None = None) -> Iterator[Source]:
    """The drop as a folder; what had to be unpacked or downloaded is gone afterwards.

    Args:
        source: Folder, label file, archive (zip, tar, tar.gz, tar.bz2, tar.xz) or http(s) or file address, in which
            ``${KP_SECRET_NAME}`` stands for that environment variable: in user, password or query.
        scratch: Where temporary folders are made; the system's place when None.

    Raises:
        UserError: When it does not exist, cannot be fetched, or is not safe to unpack.
    """
    text = str(source)
    scheme = urlparse(text).scheme
    if scheme == "file":
        text = unquote(urlparse(text).path)
    with tempfile.TemporaryDirectory(prefix="kp-drop-", dir=scratch) as temporary:
        path = _download(text, Path(temporary)) if scheme in ("http", "https") else Path(text).expanduser()
        if not path.exists():
            raise UserError(f"no such file or folder: {source}", "check the path")
        if path.is_dir():
            yield Source(path, None, path.resolve().name)
        elif _is_archive(path):
            unpacked = Path(temporary) / "unpacked"
            unpacked.mkdir()
            unpack(path, unpacked)
            yield Source(_only_folder(unpacked), None, path.name)
        else:
            yield Source(path.resolve().parent, path.resolve(), path.name)


def _only_folder(root: Path) -> Path:
    """The folder inside, where an archive holds nothing but one folder."""
    while True:
        entries = [path for path in root.iterdir() if not path.name.startswith((".", "__MACOSX"))]
        if len(entries) != 1 or not entries[0].is_dir() or entries[0].name in ("images", "masks", "labels"):
            return root
        root = entries[0]


def _download(address: str, folder: Path) -> Path:
    name = Path(unquote(urlparse(address).path)).name or "download"
    target, visible = folder / name, shown(address)
    request = _request(address)
    try:
        with urllib.request.urlopen(request, timeout=60) as response, open(target, "wb") as file:
            _copy(response, file, MAX_BYTES, visible)
            stated = response.headers.get("Content-Length")
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        raise UserError(f"{visible} cannot be fetched: {error}", "check the address and the network") from None
    except InvalidURL:  # its message holds the query
        raise UserError(f"{visible} cannot be fetched: characters that an address cannot hold", "check it") from None
    if stated is not None and int(stated) != target.stat().st_size:
        raise UserError(f"{visible}: {target.stat().st_size} of {stated} bytes came", "try again")
    return target


def _request(address: str) -> urllib.request.Request:
    """With the secrets that the address names. User and password go to its host alone, not where that redirects to."""
    parts = urlsplit(address)
    user, at, host = parts.netloc.rpartition("@")
    made = urllib.request.Request(
        urlunsplit((parts.scheme, host, parts.path, filled(parts.query), "")), headers={"User-Agent": "kp-platform"}
    )
    if at:
        made.add_unredirected_header("Authorization", "Basic " + b64encode(filled(unquote(user)).encode()).decode())
    return made


def _copy(source: IO[bytes], target: IO[bytes], limit: int, name: str) -> int:
    """Copy at most ``limit`` bytes; more is an error."""
    done = 0
    while chunk := source.read(_CHUNK):
        done += len(chunk)
        if done > limit:
            raise UserError(f"{name} holds more than {limit} bytes", "split the drop")
        target.write(chunk)
    return done


def _is_archive(path: Path) -> bool:
    return zipfile.is_zipfile(path) or tarfile.is_tarfile(path)


def unpack(archive: Path, folder: Path) -> None:
    """Unpack regular files of a zip or tar archive into a folder.

    Raises:
        UserError: For a member that climbs out of the folder, a link, a device, an encrypted member, a bomb, or an
            archive that is damaged.
    """
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as content:
                _unpack_zip(content, archive, folder)
        else:
            with tarfile.open(archive) as tar:
                _unpack_tar(tar, archive, folder)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, ValueError, NotImplementedError) as error:
        raise UserError(f"{archive.name} is damaged: {error}", "fetch it again") from None
    except OSError as error:
        if error.__class__ is not OSError or error.errno is not None:
            raise
        raise UserError(f"{archive.name} is damaged: {error}", "fetch it again") from None


def _unpack_zip(content: zipfile.ZipFile, archive: Path, folder: Path) -> None:
    members = content.infolist()
    bad = [m.filename for m in members if climbs_out(m.filename) or (m.external_attr >> 16) & 0o170000 == 0o120000]
    _refuse(archive, bad)
    _refuse_bomb(archive, sum(member.file_size for member in members), len(members))
    if any(member.flag_bits & 1 for member in members):
        raise UserError(f"{archive.name} is encrypted", "pack it without a password")
    for member in members:
        if not member.is_dir():
            with content.open(member) as source:
                _write(source, folder / member.filename, member.file_size, f"{archive.name}: {member.filename}")


def _unpack_tar(content: tarfile.TarFile, archive: Path, folder: Path) -> None:
    """In two passes: first all names and sizes, so that nothing is written from an archive that is refused."""
    total = 0
    bad: list[str] = []
    members: list[tarfile.TarInfo] = []
    for member in content:
        total += member.size
        _refuse_bomb(archive, total, len(members))
        if climbs_out(member.name) or not (member.isfile() or member.isdir()):
            bad.append(member.name)
        elif member.isfile():
            members.append(member)
    _refuse(archive, bad)
    for member in members:
        source = content.extractfile(member)
        assert source is not None
        with source:
            _write(source, folder / member.name, member.size, f"{archive.name}: {member.name}")


def _write(source: Any, path: Path, size: int, name: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as target:
        done = _copy(source, target, size, name)
    if done != size:
        raise UserError(f"{name}: {done} of {size} bytes", "the archive is damaged; fetch it again")


def _refuse(archive: Path, bad: list[str]) -> None:
    if bad:
        names = ", ".join(repr(name) for name in bad[:10]) + (f" and {len(bad) - 10} more" if len(bad) > 10 else "")
        what = f"{archive.name}: members that climb out of the archive's folder, or are links or devices: {names}"
        raise UserError(f"{what}; nothing was unpacked", "pack the files themselves, with relative names")


def _refuse_bomb(archive: Path, total: int, members: int) -> None:
    packed = max(archive.stat().st_size, 1)
    if total > MAX_BYTES or members > MAX_MEMBERS or (total > SMALL and total / packed > MAX_RATIO):
        what = f"{archive.name} unpacks from {packed} to {total} bytes in {members} members or more: that looks like a bomb"
        raise UserError(f"{what}; nothing was unpacked", "unpack it yourself and give the folder")
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if total > free:
        raise UserError(f"{archive.name} needs {total} bytes to unpack, {free} are free", "make room, or set TMPDIR")
