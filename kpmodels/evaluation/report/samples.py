"""The best and the worst predictions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kpmodels.evaluation.report.html import escape, number
from kpmodels.evaluation.report.pictures import colours, data_uri
from kpmodels.evaluation.report.source import ReportSource
from kpmodels.evaluation.table import ImageTable

MAPS = "maps"  # the folder of results with a picture of the network's maps per image id


def quality(results: ImageTable) -> NDArray[np.float64]:
    """How good the predictions of each image are ``[N]``, higher is better; NaN where there is nothing to see.

    Poses: mean OKS, less a false alarm's share. Points: F1, of equals the one nearer by average Hausdorff distance.
    Boxes: overlap per true or falsely predicted box.
    """
    true, false = results.numbers("n_true"), results.numbers("fp")
    with np.errstate(invalid="ignore", divide="ignore"):
        if results.meta.task == "points":
            f1 = 2 * results.numbers("tp") / (true + results.numbers("tp") + false)
            value = f1 + 0.01 / (1 + results.numbers("average_hausdorff"))
        else:
            name = "overlaps" if results.meta.task == "boxes" else f"oks{results.meta.sigmas_ending}"
            values, rows = results.lists(name)
            value = np.bincount(rows, values, minlength=len(results)) / (true + false)
    value[true + false == 0] = np.nan
    return value


def best_and_worst(results: ImageTable, number_of_each: int) -> tuple[list[int], list[int]]:
    """Rows of the best and of the worst images, each beginning with the extreme; no image is in both."""
    value = quality(results)
    rows = np.flatnonzero(np.isfinite(value))
    order = rows[np.lexsort((rows, value[rows]))]
    each = min(number_of_each, len(order) // 2) or min(number_of_each, len(order))
    worst = order[:each]
    best = order[len(order) - min(each, len(order) - each) :][::-1]
    return best.tolist(), worst.tolist()


def images_with_maps(results: ImageTable, samples: int) -> list[str]:
    """The ids of the images whose maps are drawn: the worst two and the best two."""
    best, worst = best_and_worst(results, min(samples, 2))
    return [results.image_ids[row] for row in [*worst, *best]]


def map_strips(source: ReportSource) -> str:
    """The maps of the network for the worst and the best images; empty where none were drawn."""
    figures = ""
    for image_id in images_with_maps(source.new.table, source.new.options.samples):
        path = source.new.results / MAPS / f"{image_id}.jpg"
        if path.is_file():
            name = escape(source.store.record(image_id).file_name or image_id)
            figures += (
                f'<figure class="strip"><img alt="maps of the network for {name}" src="{data_uri(path.read_bytes())}">'
                f'<figcaption><span class="soft">{name}</span></figcaption></figure>'
            )
    return f'<div class="strips">{figures}</div>' if figures else ""


def gallery(source: ReportSource, rows: list[int], title: str) -> str:
    """Pictures with captions; empty without rows."""
    if not rows:
        return ""
    figures = "".join(_figure(source, row) for row in rows)
    return f'<h3 style="margin:18px 0 8px">{escape(title)}</h3><div class="pictures">{figures}</div>'


def legend(source: ReportSource) -> str:
    signs = "".join(
        f'<span><i style="{style}"></i>{escape(words)}</span>' for style, words in colours(source.store.info)
    )
    return f'<div class="key">{signs}</div>'


def _figure(source: ReportSource, row: int) -> str:
    results = source.new.table
    image_id = results.image_ids[row]
    name = escape(source.store.record(image_id).file_name or image_id)
    return (
        f'<figure><img alt="prediction and labels on {name}" src="{data_uri(source.picture(image_id))}">'
        f'<figcaption>{escape(_words(results, row))}<br><span class="soft">{name}</span></figcaption></figure>'
    )


def _words(results: ImageTable, row: int) -> str:
    """The numbers of one image."""

    def of(name: str) -> float:
        return float(results.numbers(name)[row])

    if results.meta.task == "pose":
        error = of("pixel_error")
        measured = "nothing found" if not np.isfinite(error) else f"mean error {number(error, 'px')} px"
        alarms = f", {of('fp'):.0f} false" if of("fp") else ""
        return f"{measured}, OKS {number(float(quality(results)[row]))}{alarms}"
    text = f"{of('tp'):.0f} found, {of('fn'):.0f} missed, {of('fp'):.0f} false"
    if results.meta.task == "points":
        text += f"; count {of('count_pred'):.1f} of {of('count_true'):.0f}"
    return text
