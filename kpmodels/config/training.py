"""Options of training: how long, how fast, on how many workers."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from kpmodels.config.base import Options


class TrainOptions(Options):
    """Options of training. Sizes of batches are global: over all workers and accumulation steps."""

    epochs: int = Field(60, ge=1, le=100000, description="Passes over the training images.")
    batch_size: int = Field(16, ge=1, le=65536, description="Images per optimizer step, over all workers.")
    accumulate: int = Field(1, ge=1, le=1024, description="Parts that a batch is computed in, to save memory.")
    optimizer: Literal["adamw", "adam", "sgd"] = Field("adamw", description="The optimizer.")
    learning_rate: float = Field(1e-3, gt=0, le=10, description="Peak learning rate.")
    backbone_rate: float = Field(1.0, gt=0, le=1, description="Factor on the learning rate of pretrained layers.")
    weight_decay: float = Field(1e-4, ge=0, le=1, description="Weight decay (not on norms and biases).")
    schedule: Literal["cosine", "step", "constant"] = Field(
        "cosine", description="Course of the learning rate after warm-up."
    )
    milestones: tuple[float, ...] = Field(
        (0.7, 0.9), description="Where schedule: step divides by 10, as parts of the run."
    )
    warmup: float = Field(0.03, ge=0, lt=1, description="Part of the run in which the learning rate rises.")
    clip: float = Field(10.0, ge=0, description="Largest norm of the gradient; 0 is off.")
    ema: float = Field(0.99, ge=0, lt=1, description="Decay of the averaged weights that are kept; 0 is off.")
    precision: Literal["fp32", "bf16", "fp16"] = Field("fp32", description="Arithmetic of the forward pass.")
    channels_last: bool = Field(True, description="Memory layout that suits convolutions on most machines.")
    compile: bool = Field(False, description="torch.compile the network.")
    sync_batchnorm: bool = Field(True, description="Normalize over the batches of all workers.")
    validate_every: int = Field(5, ge=1, description="Epochs between validations.")
    patience: int = Field(0, ge=0, description="Stop when so many validations brought nothing better; 0 is off.")
    max_minutes: float = Field(
        0.0, ge=0, description="Stop after this time; 0 is off. A run stopped so is not reproducible."
    )
    seed: int = Field(0, ge=0, lt=2**31, description="Seed of everything random.")
    workers: int = Field(1, ge=0, le=4096, description="Ray Train workers; 0 trains in this process, without Ray.")
    threads: int = Field(
        0, ge=0, le=1024, description="Torch threads per worker; 0: the processors shared among the workers."
    )
    loader_processes: int = Field(0, ge=0, le=256, description="Extra processes per worker that load images.")
    gpu: bool = Field(False, description="One GPU per worker.")
