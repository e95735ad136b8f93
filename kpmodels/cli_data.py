"""The commands on stored data sets: build, check, show, diff, splits, compact."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
import yaml

if TYPE_CHECKING:
    from collections.abc import Callable

data_app = typer.Typer(no_args_is_help=True, help="Data sets: add to them, check them, look at them, compare versions.")

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of the data set.", exists=True, file_okay=False)]


@data_app.command(epilog="Example: python -m kpmodels data build drop.zip --out datasets/openfield --name openfield")
def build(
    source: Annotated[str, typer.Argument(metavar="SRC", help="Folder, archive or URL of images and labels.")],
    out: Annotated[Path, typer.Option(help="Folder of the data set, made or added to.")],
    name: Annotated[str, typer.Option(help="Name of the data set.")],
    options: Annotated[str, typer.Option(help="Ingest options, as JSON or YAML.")] = "{}",
    skip_bad: Annotated[bool, typer.Option(help="Leave broken images and labels out, and record which.")] = False,
    dry_run: Annotated[bool, typer.Option(help="Read and check everything, write nothing.")] = False,
    report: Annotated[Path | None, typer.Option(help="Also write what was done here, as JSON.")] = None,
) -> None:
    """Add a drop of images and labels to a data set folder, or make it."""
    from kpmodels.config.ingest import parse_ingest
    from kpmodels.data.ingest import build_version

    chosen = parse_ingest(yaml.safe_load(options) or {})
    done = build_version(source, out, name, options=chosen, skip_bad=skip_bad, dry_run=dry_run, progress=_progress())
    print(done.text())
    if report is not None:
        report.write_text(json.dumps(done.to_dict(), indent=2) + "\n")


@data_app.command(epilog="Example: kp data check openfield")
def check(
    folder: Folder,
    strict: Annotated[bool, typer.Option(help="Exit with status 1 when anything is suspicious.")] = False,
) -> None:
    """List everything suspicious in a data set, with ids."""
    from kpmodels.data.checks import check_dataset, print_findings
    from kpmodels.data.store import open_dataset

    findings = check_dataset(open_dataset(folder), progress=_progress())
    print_findings(findings)
    if strict and findings:
        raise typer.Exit(1)


@data_app.command(epilog="Example: kp data show openfield --out openfield.png")
def show(
    folder: Folder,
    out: Annotated[Path, typer.Option(help="The PNG (or .jpg) to write.")] = Path("contact-sheet.png"),
    count: Annotated[int, typer.Option(help="Images on the sheet.", min=1, max=400)] = 24,
    split: Annotated[str, typer.Option(help="train, val, test or all.")] = "all",
    seed: Annotated[int, typer.Option(help="Which images: each number draws others.")] = 0,
) -> None:
    """Draw a contact sheet of a data set with its labels."""
    from kpmodels.data.contact_sheet import contact_sheet
    from kpmodels.data.store import open_dataset

    contact_sheet(open_dataset(folder), out, count=count, seed=seed, split=split)
    print(f"{out.resolve()}")


@data_app.command(epilog="Example: kp data diff openfield@v1 openfield@v2")
def diff(
    old: Annotated[Path, typer.Argument(help="Folder of the older version.", exists=True, file_okay=False)],
    new: Annotated[Path, typer.Argument(help="Folder of the newer version.", exists=True, file_okay=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what changed between two versions: images, instances, how far keypoints moved, splits."""
    from kpmodels.data.diff import diff_versions, print_diff
    from kpmodels.data.store import open_dataset

    difference = diff_versions(open_dataset(old), open_dataset(new))
    if as_json:
        print(json.dumps(difference.to_dict(), indent=2))
    else:
        print_diff(difference)


@data_app.command(epilog="Example: python -m kpmodels data splits datasets/openfield --need test")
def splits(
    folder: Folder,
    need: Annotated[list[str], typer.Option(help="Fail when this split has no images; several times.")] = [],  # noqa: B006
) -> None:
    """Say how many images each split of a data set has."""
    from kpmodels.data.needed import needed_ids
    from kpmodels.data.splits import SPLITS
    from kpmodels.data.store import open_dataset

    store = open_dataset(folder)
    for split in need:
        needed_ids(store, split)
    print(", ".join(f"{split} {len(store.split(split))}" for split in SPLITS))


@data_app.command(epilog="Example: python -m kpmodels data compact datasets/openfield")
def compact(folder: Folder) -> None:
    """Merge small image shards. This rewrites and pushes them once."""
    from kpmodels.data.compact import compact as run_compact

    print(run_compact(folder))


@data_app.command(epilog="Example: python -m kpmodels data shapes drop --kind points")
def shapes(
    out: Annotated[Path, typer.Argument(help="Folder to write images and annotations.json to.")],
    count: Annotated[int, typer.Option(help="Images.", min=1, max=100000)] = 160,
    seed: Annotated[int, typer.Option(help="Seed of the drawing.")] = 0,
    kind: Annotated[Literal["pose", "points"], typer.Option(help="What is drawn.")] = "pose",
) -> None:
    """Draw the synthetic set that comes with the project, or a larger one like it."""
    from kpmodels.data.synthetic import make_shapes

    make_shapes(out, count=count, seed=seed, kind=kind)
    print(f"{count} images: {out.resolve()}")


def _progress() -> Callable[[int, int], Any]:
    """A progress callback: a bar on a terminal, a line each tenth of the way elsewhere."""
    from kpmodels.progress import progress_printer

    return progress_printer("images")
