"""``kp data``: data sets by name and version."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

data_app = typer.Typer(no_args_is_help=True, help="Data versions: ingest, list, compare, check, look at.")

FORMATS = "auto, coco, sleap, dlc, labelstudio, ultralytics, points, masks"
OTHERS = "task, keypoints, limbs, unlabelled, verify, source, licence"  # of IngestOptions, which is slow to import

Version = Annotated[str, typer.Argument(metavar="NAME[@vN]", help="A data set, by default its newest version.")]


@data_app.command(
    epilog="Examples: kp data ingest frames.zip --name openfield | kp data ingest ./drop --name cells --format points "
    "--set unlabelled=empty | kp data ingest ./drop --name mice --dry-run"
)
def ingest(
    source: Annotated[str, typer.Argument(metavar="SRC", help="Folder, archive or URL of images and labels.")],
    name: Annotated[str, typer.Option(help="Name of the data set.")],
    label_format: Annotated[
        str, typer.Option("--format", help=f"Form of the labels: {FORMATS}. auto recognizes it.")
    ] = "auto",
    category: Annotated[str, typer.Option(help="Take only this category.")] = "",
    sigmas: Annotated[str, typer.Option(help="OKS sigma for all keypoints, or one each, with commas.")] = "",
    flip_pairs: Annotated[str, typer.Option(help="left:right pairs of names with commas, auto, or none.")] = "",
    group_by: Annotated[str, typer.Option(help="folder, or a regular expression with one bracket.")] = "",
    split: Annotated[str, typer.Option(help="Fractions of train, val and test, as 0.8,0.1,0.1.")] = "",
    assignments: Annotated[list[str], typer.Option("--set", help=f"key=value of any other option: {OTHERS}.")] = [],  # noqa: B006
    skip_bad: Annotated[bool, typer.Option(help="Leave broken images and labels out, and record which.")] = False,
    dry_run: Annotated[bool, typer.Option(help="Read and check everything, write nothing.")] = False,
) -> None:
    """Make a new data version out of a folder, archive or URL of images and labels."""
    from flows.environment import prepare_environment
    from kpmodels.config import override
    from kpmodels.config.ingest import parse_ingest

    named = {"category": category, "sigmas": sigmas, "flip_pairs": flip_pairs, "group_by": group_by, "split": split}
    content = {"format": label_format, **{key: value for key, value in named.items() if value}}
    options = parse_ingest(override(content, assignments))
    prepare_environment(_repository())
    from flows.ingest import ingest as ingest_flow
    from flows.ingest import print_result

    print_result(ingest_flow(_absolute(source), name, options, skip_bad=skip_bad, dry_run=dry_run))


@data_app.command("list", epilog="Example: kp data list")
def list_versions() -> None:
    """List the data versions."""
    from flows.tables import print_data_versions

    print_data_versions(_repository())


@data_app.command(epilog="Example: kp data diff openfield@v1 openfield@v2")
def diff(
    old: Annotated[str, typer.Argument(metavar="NAME@vN", help="The older version.")],
    new: Annotated[str, typer.Argument(metavar="NAME@vM", help="The newer version.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what changed between two versions: images, instances, how far keypoints moved, splits."""
    from kpmodels.cli_data import diff as diff_folders

    diff_folders(_folder(old), _folder(new), as_json)


@data_app.command(epilog="Example: kp data check openfield")
def check(
    name: Version,
    strict: Annotated[bool, typer.Option(help="Exit with status 1 when anything is suspicious.")] = False,
) -> None:
    """List everything suspicious in a data set, with ids; also near-duplicates across splits."""
    from kpmodels.cli_data import check as check_folder

    check_folder(_folder(name), strict)


@data_app.command(epilog="Example: kp data show openfield --out openfield.png")
def show(
    name: Version,
    out: Annotated[Path, typer.Option(help="The PNG (or .jpg) to write.")] = Path("contact-sheet.png"),
    count: Annotated[int, typer.Option(help="Images on the sheet.", min=1, max=400)] = 24,
    split: Annotated[str, typer.Option(help="train, val, test or all.")] = "all",
    seed: Annotated[int, typer.Option(help="Which images: each number draws others.")] = 0,
) -> None:
    """Draw a contact sheet of a data set with its labels."""
    from kpmodels.cli_data import show as show_folder

    show_folder(_folder(name), out, count, split, seed)


def _absolute(source: str) -> str:
    """A local source by its absolute path, since the flow works in a folder of its own."""
    return source if "://" in source else str(Path(source).expanduser().resolve())


def _folder(name: str) -> Path:
    from flows.views import dataset_folder

    return dataset_folder(_repository(), name)


def _repository() -> Path:
    from flows.repository import find_repository

    return find_repository(Path.cwd())
