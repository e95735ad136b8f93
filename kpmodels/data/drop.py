"""What a reader makes of a drop: images with where their bytes are, their labels, and what the labels mean."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from kpmodels.config.ingest import IngestOptions
from kpmodels.data.problems import Problems
from kpmodels.errors import UserError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".jp2", ".pgm", ".ppm"})


@dataclass(slots=True)
class Label:
    """One instance as the source has it.

    Attributes:
        keypoints_K3: float32, x, y, visibility 0/1/2; [0, 3] for boxes.
        label: Index into the drop's categories.
        box: x1, y1, x2, y2, or None where the source has none.
        area: Square pixels, or None.
        crowd: A region of many instances.
        id: The source's id, or "".
    """

    keypoints_K3: NDArray[np.float32]
    label: int = 0
    box: tuple[float, float, float, float] | None = None
    area: float | None = None
    crowd: bool = False
    id: str = ""


@dataclass(slots=True)
class DropImage:
    """One image as the source has it.

    Attributes:
        name: As the source names it; goes into the store as ``file_name``.
        path: The file, or None where ``load`` makes the bytes (frames inside a video).
        labels: Its instances; empty for an image without objects.
        id: The source's id, or "".
        folder: The folder or video it comes from: its group, where grouping by folder is asked for.
        size: (width, height) that the source claims, or None. Labels are read in it, so the image must agree.
        load: Gives the encoded bytes.
    """

    name: str
    path: Path | None
    labels: list[Label] = field(default_factory=list)
    id: str = ""
    folder: str = ""
    size: tuple[int, int] | None = None
    load: Callable[[], bytes] | None = None

    def read(self) -> bytes:
        if self.load is not None:
            return self.load()
        assert self.path is not None
        with open(self.path, "rb", buffering=0) as file:
            return file.read()

    def file_bytes(self) -> int:
        """Size of the file; 0 where there is none, or where it cannot be read, which ``read`` tells."""
        try:
            return 0 if self.path is None else os.stat(self.path).st_size
        except OSError:
            return 0


@dataclass
class Drop:
    """A drop, read; images are not opened yet.

    Attributes:
        format: Which reader read it.
        images: In a stable order.
        categories: Names; labels index into them.
        keypoints: Names, the same for all categories; () for boxes.
        limbs, flip_pairs: Index pairs from 0; ``flip_pairs`` is None where the source does not speak of them.
        sigmas: OKS constants or None; ``sigmas_assumed`` where the source says that nobody measured them.
        problems: What cannot be taken in.
        notes: What the user should know.
        source, licence: In the source's own words.
    """

    format: str
    images: list[DropImage] = field(default_factory=list)
    categories: tuple[str, ...] = ()
    keypoints: tuple[str, ...] = ()
    limbs: tuple[tuple[int, int], ...] = ()
    flip_pairs: tuple[tuple[int, int], ...] | None = None
    sigmas: tuple[float, ...] | None = None
    sigmas_assumed: bool = False
    problems: Problems = field(default_factory=Problems)
    notes: list[str] = field(default_factory=list)
    source: str = ""
    licence: str = ""


class Files:
    """The image files of a folder, found by the names that labels give them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.paths = sorted(walk_files(root, IMAGE_SUFFIXES))
        self._by_name: dict[str, list[Path]] = {}
        for path in self.paths:
            self._by_name.setdefault(path.name, []).append(path)

    def find(self, name: str, near: Iterable[Path] = ()) -> Path | None:
        """The file that a label means by ``name``: relative to a folder in ``near``, to the root or its ``images``,
        or the only one of that base name anywhere. None where there is none, or more than one.

        Raises:
            ValueError: When the name climbs out of the folder.
        """
        if climbs_out(name):
            raise ValueError(f"the path {name!r} climbs out of the folder")
        name = name.replace("\\", "/")
        same = self._by_name.get(name.rsplit("/", 1)[-1], [])
        if len(same) == 1:
            return same[0]
        relative = PurePosixPath(name)
        for base in (*near, self.root, self.root / "images"):
            if (base / relative) in same:
                return base / relative
        ends = [path for path in same if path.parts[-len(relative.parts) :] == relative.parts]
        return ends[0] if len(ends) == 1 else None

    def name_of(self, path: Path) -> str:
        """The path within the folder, with slashes; without a leading ``images/``."""
        return path.relative_to(self.root).as_posix().removeprefix("images/")


def climbs_out(name: str) -> bool:
    """Whether a relative path from a file leaves its folder: absolute, with a drive, or with '..' in it."""
    slashed = name.replace("\\", "/")
    return slashed.startswith("/") or ".." in slashed.split("/") or name[1:2] == ":" or "\x00" in name


def walk_files(root: Path, suffixes: frozenset[str]) -> Iterable[Path]:
    """The files below ``root`` with one of the suffixes (lower case), without hidden ones.

    Links are followed (data under DVC is often links into its cache), each folder once; archives never bring links.
    """
    seen: set[str] = set()
    for folder, folders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        folders[:] = [] if real in seen else sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        if real in seen:
            continue
        seen.add(real)
        for name in sorted(names):
            if os.path.splitext(name)[1].lower() in suffixes and not name.startswith("."):
                yield Path(folder) / name


def locate(files: Files, drop: Drop, name: str, id: str, near: Iterable[Path], labels_file: str) -> Path | None:
    """``files.find`` that adds a problem to the drop where the image is missing or its path climbs out."""
    try:
        path = files.find(name, near)
    except ValueError as error:
        drop.problems.add(
            "path out of the folder", name, id, f"{error} (in {labels_file})", "give paths inside the drop"
        )
        return None
    if path is None:
        remedy = "add the image, or take its labels out"
        drop.problems.add(
            "missing image", name, id, f"{labels_file} has labels for it, but there is no such file", remedy
        )
    return path


def unlisted_images(files: Files, drop: Drop, options: IngestOptions, labels_file: str) -> None:
    """Deal with the images of the folder that the labels do not mention, as ``options.unlabelled`` says."""
    known = {image.path for image in drop.images}
    known_names = {problem.file for problem in drop.problems.found}
    for path in files.paths:
        if path in known or files.name_of(path) in known_names:
            continue
        name = files.name_of(path)
        if options.unlabelled == "empty":
            drop.images.append(DropImage(name, path, folder=path.parent.name))
        else:
            remedy = "list it without points, remove it, or take all such images as empty with --set unlabelled=empty"
            drop.problems.add("unlabelled image", name, "", f"{labels_file} does not mention it", remedy)


def need_names(where: str, count: int) -> UserError:
    """The question that is asked when a source has keypoints but no names for them."""
    return UserError(
        f"{where}: {count} keypoints per instance, but the source does not name them",
        f"name all {count} in their order with --set keypoints=NAME,NAME,...",
    )
