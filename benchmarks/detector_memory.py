"""Peak memory of one training step of each detector of corners: forward, loss, backward and optimizer step.

    python benchmarks/detector_memory.py [--papers-own]

Each in a process of its own: how far the peak resident size rises above that before the detector was built, so weights,
gradients, the optimizer's state and the activations are in it. By default as `kp retrain` trains them (EfficientNet-Lite0,
256x256, batch 8); ``--papers-own``: hourglass-104, 512x512, one image.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

import torch
from hausdorff import peak_resident

from kpmodels.config import parse_experiment
from kpmodels.detectors.build import build_detector
from kpmodels.structures import Batch, DatasetInfo, Skeleton

KINDS = ("cornernet", "centernet-triplets", "centripetalnet")
INFO = DatasetInfo("boxes", "boxes", ("a", "b", "c"), Skeleton(()))
OBJECTS = 20


def make_batch(rows: int, size: int) -> Batch:
    """Noise with boxes anywhere."""
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand((rows, OBJECTS, 2, 2), generator=generator) * (size - 1)
    boxes = torch.cat([corners.amin(2), corners.amax(2)], dim=-1)
    shape = (rows, OBJECTS)
    return Batch(
        images_B3HW=torch.randint(0, 256, (rows, 3, size, size), generator=generator, dtype=torch.uint8),
        keypoints_BNK3=torch.zeros(*shape, 0, 3),
        boxes_BN4=boxes,
        labels_BN=torch.randint(0, 3, shape, generator=generator),
        areas_BN=torch.ones(shape),
        crowd_BN=torch.zeros(shape, dtype=torch.bool),
        present_BN=torch.ones(shape, dtype=torch.bool),
        to_original_B23=torch.eye(2, 3).expand(rows, 2, 3).contiguous(),
        image_ids=[""] * rows,
        instance_ids=[""] * rows,
        sizes=[(size, size)] * rows,
    )


def measure(kind: str, papers_own: bool) -> dict[str, float]:
    """Millions of weights, and MiB at the peak of a step."""
    size, rows = (512, 1) if papers_own else (256, 8)
    backbone = {"name": "hourglass-104"} if papers_own else {"pretrained": False}
    experiment = parse_experiment({"detector": {"kind": kind, "input_size": size, "backbone": backbone}})
    batch = make_batch(rows, size)
    before = peak_resident()
    detector = build_detector(experiment, INFO).train().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(detector.parameters())
    sum(detector.loss(detector(batch.images_B3HW), batch).values()).backward()
    optimizer.step()
    weights = sum(p.numel() for p in detector.parameters()) / 1e6
    return {"weights_millions": round(weights, 2), "peak_mib": round((peak_resident() - before) / 1024)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--papers-own", action="store_true", help="hourglass-104, 512x512, one image")
    parser.add_argument("--kind", choices=KINDS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.kind:
        print(json.dumps(measure(options.kind, options.papers_own)))
        return
    own = ["--papers-own"] if options.papers_own else []
    results = {}
    for kind in KINDS:
        command = [sys.executable, __file__, "--kind", kind, *own]
        results[kind] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
