"""What sleap-io reads: SLEAP ``.slp`` (with its images inside or beside it), NWB, LEAP, AlphaTracker, DeepLabCut.

Coordinates: sleap-io gives pixel centres at integers (it shifts files from before that rule by itself), which is our
convention. DeepLabCut's clicks are taken as they are, as sleap-io does.
"""

from __future__ import annotations

import contextlib
import csv
import tempfile
import threading
import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from kpmodels.config.ingest import IngestOptions
from kpmodels.data.drop import Drop, DropImage, Files, Label, locate, walk_files
from kpmodels.errors import UserError

_ONE_AT_A_TIME = threading.Lock()  # video files and HDF5 are not read by several threads at once


def find_sleap(root: Path) -> list[Path]:
    """The files of a folder that only sleap-io reads."""
    return list(walk_files(root, frozenset({".slp", ".nwb", ".mat"})))


def read_sleap(root: Path, options: IngestOptions, paths: list[Path] | None = None) -> Drop:
    """SLEAP files (or another form of sleap-io's) as one drop; predictions in them are left out.

    Raises:
        UserError: When nothing can be read, when there are predictions only, or skeletons that differ.
    """
    import sleap_io

    paths = find_sleap(root) if paths is None else paths
    if not paths:
        raise UserError(f"{root}: no SLEAP file (.slp)", "check the source")
    drop, files = Drop("sleap"), Files(root)
    for path in paths:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                labels = sleap_io.load_file(str(path))
        except Exception as error:  # whatever a damaged file of any of ten formats raises
            raise UserError(f"{path.name} cannot be read by sleap-io: {error}", "check the file") from None
        if not isinstance(labels, sleap_io.Labels):
            raise UserError(f"{path.name} holds no labels", "give the file with the labels")
        _take(drop, files, labels, path, options)
    return drop


def find_dlc(root: Path) -> list[Path]:
    """The DeepLabCut CSV files of a folder (``CollectedData_*.csv`` with scorer, bodyparts, coords)."""
    from sleap_io.io.dlc import is_dlc_file

    return [path for path in walk_files(root, frozenset({".csv"})) if is_dlc_file(path)]


def read_dlc(root: Path, options: IngestOptions, paths: list[Path] | None = None) -> Drop:
    """DeepLabCut annotations as one drop. The binary ``.h5`` beside a CSV holds the same.

    Raises:
        UserError: When there is no CSV, or it cannot be read.
    """
    import sleap_io

    paths = find_dlc(root) if paths is None else paths
    if not paths:
        raise UserError(
            f"{root}: no DeepLabCut CSV", "the .h5 is not read: add the CSV that DeepLabCut writes beside it"
        )
    drop, files = Drop("dlc"), Files(root)
    config = next((path for path in walk_files(root, frozenset({".yaml"})) if path.name == "config.yaml"), None)
    for path in paths:
        with tempfile.TemporaryDirectory(prefix="kp-dlc-") as temporary:
            table = Path(temporary) / path.name
            order = _with_full_paths(drop, files, path, table)
            if not order:
                continue
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    labels = sleap_io.load_dlc(str(table), config=str(config) if config else False)
            except Exception as error:
                raise UserError(f"{path.name} cannot be read as DeepLabCut CSV: {error}", "export it again") from None
        _take(drop, files, labels, path, options, order)
    return drop


def _with_full_paths(drop: Drop, files: Files, path: Path, table: Path) -> tuple[str, ...]:
    """Copy a CSV with the images' full paths in its first column, and tell of missing images.

    sleap-io drops rows without an image silently, and shifts the others then.

    Returns:
        The names of the keypoints in the file's order (sleap-io sorts them); () where no row is left.
    """
    with open(path, newline="", encoding="utf-8-sig") as file:
        rows = [row for row in csv.reader(file) if any(row)]
    head = next((i + 1 for i, row in enumerate(rows) if row[0].strip().lower() == "coords"), 0)
    spread = 3 if any(not cell for cell in rows[0][1:3]) else 1  # newer files spread the path over three columns
    kept = [[row[0], *row[spread:]] for row in rows[:head]]
    names = next((row[1:] for row in kept if row[0].strip().lower() == "bodyparts"), [])
    for number, row in enumerate(rows[head:], head + 1):
        name = "/".join(row[:spread])
        found = locate(files, drop, name, f"{path.name} line {number}", (path.parent, path.parent.parent), path.name)
        if found is not None:
            kept.append([str(found), *row[spread:]])
    with open(table, "w", newline="") as file:
        csv.writer(file).writerows(kept)
    return tuple(dict.fromkeys(name for name in names if name)) if len(kept) > head else ()


def _take(
    drop: Drop, files: Files, labels: Any, path: Path, options: IngestOptions, order: tuple[str, ...] = ()
) -> None:
    """Add sleap-io's labels to the drop, with the keypoints in the given order where there is one."""
    skeletons = [skeleton for skeleton in labels.skeletons if skeleton.nodes]
    if not skeletons or len({tuple(skeleton.node_names) for skeleton in skeletons}) > 1:
        raise UserError(
            f"{path.name} has {len(skeletons)} different skeletons", "one skeleton per data set: split the file"
        )
    given = [str(name) for name in skeletons[0].node_names]
    names = order if sorted(order) == sorted(given) else tuple(given)
    rows = [given.index(name) for name in names]
    if drop.keypoints and drop.keypoints != names:
        raise UserError(
            f"{path.name}: keypoints {names} differ from {drop.keypoints} of the other files", "split the drop"
        )
    drop.keypoints = names
    drop.limbs = tuple((rows.index(int(a)), rows.index(int(b))) for a, b in skeletons[0].edge_inds)
    pairs = tuple(sorted((rows.index(int(a)), rows.index(int(b))) for a, b in skeletons[0].symmetry_inds))
    drop.flip_pairs = pairs or None
    drop.categories = (options.category or "object",)
    user = [frame for frame in labels.labeled_frames if frame.user_instances or not frame.predicted_instances]
    predicted = sum(len(frame.predicted_instances) for frame in labels.labeled_frames)
    if predicted and not any(frame.user_instances for frame in user):
        raise UserError(
            f"{path.name} holds predictions only", "correct them by hand in SLEAP first: they are no labels"
        )
    if predicted:
        drop.notes.append(f"{predicted} predicted instances in {path.name} were left out")
    _find_videos(files, labels)
    for frame in user:
        image = _image(drop, files, frame, path)
        if image is not None:
            image.labels = [_label(instance, rows) for instance in frame.user_instances]
            drop.images.append(image)


def _label(instance: Any, rows: list[int]) -> Label:
    xy = np.asarray(instance.numpy(), np.float32)[rows, :2]
    points = np.zeros((len(xy), 3), np.float32)
    seen = np.flatnonzero(np.isfinite(xy).all(1))
    points[seen, :2], points[seen, 2] = xy[seen], 2
    return Label(points)


def _find_videos(files: Files, labels: Any) -> None:
    """Point videos whose path is another machine's to the file of that name in the drop."""
    for video in labels.videos:
        if isinstance(video.filename, str) and not video.exists():
            same = list(files.root.rglob(Path(video.filename.replace("\\", "/")).name))
            if len(same) == 1:
                with contextlib.suppress(Exception):  # then it counts as missing
                    video.replace_filename(str(same[0]))


def _image(drop: Drop, files: Files, frame: Any, path: Path) -> DropImage | None:
    """The image of a labelled frame: a file, or a frame of a video as PNG."""
    video, index = frame.video, int(frame.frame_idx)
    if isinstance(video.filename, list) or Path(str(video.filename)).suffix.lower() in (
        ".png",
        ".jpg",
        ".jpeg",
        ".tif",
        ".bmp",
    ):
        name = str(video.filename[index] if isinstance(video.filename, list) else video.filename)
        base = Path(name) if Path(name).is_absolute() and Path(name).is_relative_to(files.root) else None
        relative = str(base.relative_to(files.root)) if base else Path(name.replace("\\", "/")).name
        found = locate(files, drop, relative, f"frame {index}", (path.parent,), path.name)
        return DropImage(files.name_of(found), found, folder=found.parent.name) if found else None
    name = f"{Path(str(video.filename)).stem}-{index:06d}.png"
    if not video.exists():
        remedy = "put the video beside the labels, or save them as a package (.pkg.slp)"
        drop.problems.add(
            "missing image", str(video.filename), f"frame {index}", f"{path.name} needs this video", remedy
        )
        return None

    def load() -> bytes:
        with _ONE_AT_A_TIME:
            pixels = np.asarray(video[index])
        code = cv2.COLOR_RGB2BGR if pixels.shape[-1] == 3 else None
        done, data = cv2.imencode(".png", cv2.cvtColor(pixels, code) if code is not None else pixels)
        if not done:
            raise OSError(f"frame {index} of {video.filename} cannot be written as PNG")
        return bytes(data)

    return DropImage(name, None, id=str(index), folder=Path(str(video.filename)).stem, load=load)
