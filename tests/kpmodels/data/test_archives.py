from __future__ import annotations

import http.server
import io
import json
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kpmodels.data import archives
from kpmodels.data.archives import opened, unpack
from kpmodels.data.drop import climbs_out
from kpmodels.data.ingest import build_version
from kpmodels.errors import UserError

Drop = Callable[..., Path]


def zip_of(folder: Path, target: Path, prefix: str = "") -> Path:
    with zipfile.ZipFile(target, "w") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, prefix + path.relative_to(folder).as_posix())
    return target


def tar_with(target: Path, member: tarfile.TarInfo, data: bytes = b"") -> Path:
    with tarfile.open(target, "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("harmless.txt"), io.BytesIO(b""))
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    return target


class TestIngestFromArchives:
    def test_zip_and_tar_give_what_the_folder_gives(self, coco_drop: Drop, tmp_path: Path) -> None:
        drop = coco_drop()
        reference = build_version(drop, tmp_path / "a", "mice", dry_run=False)
        zipped = zip_of(drop, tmp_path / "drop.zip", prefix="inner/")
        with tarfile.open(tmp_path / "drop.tar.xz", "w:xz") as archive:
            archive.add(drop, "inner")
        for number, source in enumerate((zipped, tmp_path / "drop.tar.xz")):
            report = build_version(source, tmp_path / f"b{number}", "mice")
            assert (report.images, report.instances) == (reference.images, reference.instances)

    def test_an_address(self, coco_drop: Drop, tmp_path: Path, served: tuple[Path, str]) -> None:
        folder, address = served
        zip_of(coco_drop(), folder / "drop.zip")
        assert build_version(f"{address}/drop.zip", tmp_path / "mice", "mice").images == 4
        with pytest.raises(UserError, match="cannot be fetched"):
            build_version(f"{address}/other.zip", tmp_path / "mice", "mice")

    @pytest.mark.parametrize("form", ["http://user:${KP_SECRET_DROP}@HOST", "http://HOST?sig=${KP_SECRET_DROP}"])
    def test_an_address_with_a_secret_of_the_environment(
        self, coco_drop: Drop, tmp_path: Path, served: tuple[Path, str], monkeypatch: pytest.MonkeyPatch, form: str
    ) -> None:
        folder, address = served
        (folder / "private").mkdir()
        zip_of(coco_drop(), folder / "private" / "drop.zip")
        where = f"{address.removeprefix('http://')}/private/drop.zip"
        asked = form.replace("HOST", where)
        with pytest.raises(UserError, match="KP_SECRET_DROP, which is not set"):
            build_version(asked, tmp_path / "mice", "mice")
        monkeypatch.setenv("KP_SECRET_DROP", "guess")
        with pytest.raises(UserError, match="401"):
            build_version(asked, tmp_path / "mice", "mice")
        monkeypatch.setenv("KP_SECRET_DROP", "word")
        assert build_version(asked, tmp_path / "mice", "mice").images == 4
        assert not any(b"word" in path.read_bytes() for path in (tmp_path / "mice").rglob("*.json"))

    def test_a_file_address_and_a_label_file(self, coco_drop: Drop, tmp_path: Path) -> None:
        drop = coco_drop()
        assert build_version(f"file://{drop}", tmp_path / "a", "mice").images == 4
        assert build_version(drop / "annotations.json", tmp_path / "b", "mice").images == 4

    def test_nothing_there(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="no such file or folder"):
            build_version(tmp_path / "nowhere", tmp_path / "mice", "mice")

    def test_a_download_over_the_cap(
        self, tmp_path: Path, served: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder, address = served
        (folder / "large.zip").write_bytes(bytes(5000))
        monkeypatch.setattr(archives, "MAX_BYTES", 4000)
        with pytest.raises(UserError, match="more than 4000 bytes"):
            build_version(f"{address}/large.zip", tmp_path / "mice", "mice")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and the address it is served at."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            """Files of ``private`` ask for a password, or for a signature."""
            allowed = self.headers.get("Authorization") == "Basic dXNlcjp3b3Jk" or self.path.endswith("?sig=word")
            if self.path.startswith("/private") and not allowed:
                self.send_error(401)
            else:
                super().do_GET()

        def log_message(self, format: str, *args: object) -> None:
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


class TestUnsafeArchives:
    @pytest.mark.parametrize(
        "name", ["../evil.txt", "/etc/evil.txt", "a/../../evil.txt", "..\\evil.txt", "C:\\evil.txt"]
    )
    def test_members_that_climb_out(self, tmp_path: Path, name: str) -> None:
        target = tmp_path / "out"
        target.mkdir()
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            archive.writestr("harmless.txt", "x")
            archive.writestr(zipfile.ZipInfo(name), "x")
        tar_with(tmp_path / "a.tar.gz", tarfile.TarInfo(name), b"x")
        for source in ("a.zip", "a.tar.gz"):
            with pytest.raises(UserError, match="climb out") as caught:
                unpack(tmp_path / source, target)
            assert "evil" in str(caught.value)
            assert list(target.iterdir()) == []
        assert not list(tmp_path.glob("**/evil.txt"))

    @pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
    def test_links_and_devices_in_tar(self, tmp_path: Path, kind: bytes) -> None:
        member = tarfile.TarInfo("link")
        member.type, member.linkname = kind, "/etc/passwd"
        (tmp_path / "out").mkdir()
        with pytest.raises(UserError, match="links or devices"):
            unpack(tar_with(tmp_path / "a.tar.gz", member), tmp_path / "out")
        assert list((tmp_path / "out").iterdir()) == []

    def test_links_in_zip(self, tmp_path: Path) -> None:
        info = zipfile.ZipInfo("link")
        info.external_attr = 0o120777 << 16
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            archive.writestr(info, "/etc/passwd")
        (tmp_path / "out").mkdir()
        with pytest.raises(UserError, match="links"):
            unpack(tmp_path / "a.zip", tmp_path / "out")

    def test_a_bomb(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("zeros", bytes(archives.SMALL + 1))
        (tmp_path / "out").mkdir()
        with pytest.raises(UserError, match="bomb"):
            unpack(tmp_path / "a.zip", tmp_path / "out")
        assert list((tmp_path / "out").iterdir()) == []

    @pytest.mark.parametrize("cut", [200, 1000, 5000])
    def test_damaged(self, coco_drop: Drop, tmp_path: Path, cut: int) -> None:
        with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
            archive.add(coco_drop(), "drop")
        data = (tmp_path / "a.tar.gz").read_bytes()
        (tmp_path / "a.tar.gz").write_bytes(data[:-cut])
        with pytest.raises(UserError):
            build_version(tmp_path / "a.tar.gz", tmp_path / "mice", "mice")
        assert not (tmp_path / "mice").exists()

    def test_no_archive(self, tmp_path: Path) -> None:
        (tmp_path / "a.zip").write_bytes(b"not a zip")
        with pytest.raises(UserError, match="neither an archive nor a label file"):
            build_version(tmp_path / "a.zip", tmp_path / "mice", "mice")


def test_temporary_folders_go_away(coco_drop: Drop, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with opened(zip_of(coco_drop(), tmp_path / "a.zip"), scratch) as source:
        assert json.loads((source.root / "annotations.json").read_text())["images"]
        assert source.label == "a.zip"
    assert list(scratch.iterdir()) == []


@given(
    st.lists(st.sampled_from(["..", ".", "a", "b c", "", "ü", "\\..", "C:", "\x00"]), min_size=1, max_size=6),
    st.booleans(),
)
def test_a_name_that_does_not_climb_out_stays_inside(parts: list[str], absolute: bool) -> None:
    name = ("/" if absolute else "") + "/".join(parts)
    if not climbs_out(name):
        assert "\x00" not in name
        assert (Path("/base") / name).resolve().is_relative_to("/base")
