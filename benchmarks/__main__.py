"""``make bench``: every benchmark, one after another, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BENCHMARKS = (
    "hausdorff",
    "corner_pooling",
    "corner_decoding",
    "corner_targets",
    "detector_memory",
    "loader",
    "ingest",
    "pushed_bytes",
    "training_tax",
)


def main() -> int:
    """Run the named benchmarks, or all; the status is that of the first that failed."""
    folder = Path(__file__).parent
    status = 0
    for name in sys.argv[1:] or BENCHMARKS:
        print(f"\n== {name}", flush=True)
        status = status or subprocess.run([sys.executable, str(folder / f"{name}.py")], check=False).returncode
    return status


if __name__ == "__main__":
    raise SystemExit(main())
