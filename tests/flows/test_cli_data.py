from __future__ import annotations

from flows.cli_data import FORMATS, OTHERS
from kpmodels.config import ingest

NAMED = {"format", "category", "sigmas", "flip_pairs", "group_by", "split"}  # with an option of their own


def test_the_help_names_what_there_is() -> None:
    assert tuple(FORMATS.split(", ")) == ingest.FORMATS
    assert set(OTHERS.split(", ")) == ingest.IngestOptions.model_fields.keys() - NAMED
