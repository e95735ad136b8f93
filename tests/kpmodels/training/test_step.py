"""One step: the same gradient however the batch is divided; what is not finite stops it."""

import pytest
import torch
from group import run_group
from group_tasks import gradients
from toys import ToyDetector, toy_batch

from kpmodels.config import TrainOptions
from kpmodels.errors import UserError
from kpmodels.training.optimizer import make_optimizer, parameter_groups, set_rates
from kpmodels.training.place import Place
from kpmodels.training.schedule import rate_factor
from kpmodels.training.step import Stepper

PLAIN = {"clip": 0, "sync_batchnorm": True}


def assert_same(found, expected):
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5, msg=lambda text, n=name: f"{n}: {text}")


@pytest.mark.parametrize("shares", [[[0, 1, 2], [3, 4, 5]], [[0, 1, 2, 4, 5], [3]]])
def test_two_processes_have_the_gradient_of_one(shares):
    # sample 0 and 3 have no points: in the second case a process has none at all, and fewer rows
    (whole,) = [gradients(0, 1, PLAIN, [[*shares[0], *shares[1]]])]
    first, second = run_group(2, gradients, PLAIN, shares)
    assert_same(first, whole)
    assert_same(second, whole)


def test_accumulation_has_the_gradient_of_the_whole_batch_where_no_counts_are_normalized(monkeypatch):
    original = ToyDetector.loss
    monkeypatch.setattr(ToyDetector, "loss", lambda *a: {"rows": original(*a)["rows"]})
    options = {**PLAIN, "accumulate": 1}
    stepper = []
    for parts in ([[0, 1, 2, 3, 4]], [[0, 1], [2, 3], [4]]):
        torch.manual_seed(0)
        one = Stepper(ToyDetector().eval(), TrainOptions(**options), Place())
        one.step([toy_batch(part) for part in parts], 0.0)  # in evaluation mode, since batch norm sees each part alone
        stepper.append({name: p.grad for name, p in one.detector.named_parameters()})
    assert_same(stepper[1], stepper[0])


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("channels_last", [True, False])
def test_half_precision_learns(precision, channels_last):
    options = TrainOptions(precision=precision, channels_last=channels_last, learning_rate=1e-2)
    torch.manual_seed(0)
    stepper = Stepper(ToyDetector(), options, Place())
    losses = [sum(stepper.step([toy_batch(range(6))], 1.0).terms.values()) for _ in range(12)]
    assert losses[-1] < losses[0] * 0.8
    restored = Stepper(ToyDetector(), options, Place())
    restored.load_state(stepper.state())
    assert restored.scaler.get_scale() == stepper.scaler.get_scale()


def test_a_loss_that_is_not_finite_changes_nothing_and_names_the_images():
    stepper = Stepper(ToyDetector(), TrainOptions(accumulate=2), Place())
    stepper.detector.poison = "image-4"
    before = {name: p.detach().clone() for name, p in stepper.detector.named_parameters()}
    with pytest.raises(UserError, match="rows") as caught:
        stepper.step([toy_batch([1, 2]), toy_batch([3, 4])], 1.0)
    assert "image-3" in str(caught.value)
    assert "image-4" in str(caught.value)
    assert all(torch.equal(p, before[name]) for name, p in stepper.detector.named_parameters())


def test_a_gradient_that_is_not_finite_changes_nothing(monkeypatch):
    stepper = Stepper(ToyDetector(), TrainOptions(), Place())
    stepper.detector.last.weight.register_hook(lambda gradient: gradient * float("inf"))
    before = stepper.detector.last.weight.detach().clone()
    with pytest.raises(UserError, match="the gradient is not finite"):
        stepper.step([toy_batch([1, 2])], 1.0)
    assert torch.equal(stepper.detector.last.weight, before)


def test_half_precision_skips_a_step_that_overflows():
    stepper = Stepper(ToyDetector(), TrainOptions(precision="fp16"), Place())
    stepper.detector.last.weight.register_hook(lambda gradient: gradient * float("inf"))
    before, scale = stepper.detector.last.weight.detach().clone(), stepper.scaler.get_scale()
    stepper.step([toy_batch([1, 2])], 1.0)
    assert torch.equal(stepper.detector.last.weight, before)
    assert stepper.scaler.get_scale() == scale / 2


def test_clipping_bounds_the_gradient():
    stepper = Stepper(ToyDetector(), TrainOptions(clip=0.01, optimizer="sgd"), Place())
    result = stepper.step([toy_batch([1, 2])], 1.0)
    norms = [p.grad.norm() for p in stepper.detector.parameters() if p.grad is not None]
    assert result.gradient_norm > 0.01
    assert float(torch.stack(norms).norm()) == pytest.approx(0.01, rel=1e-3)


def test_decay_spares_norms_and_biases_and_pretrained_layers_learn_slower():
    class Pretrained(ToyDetector):
        def pretrained_parameters(self):
            return list(self.first.parameters()) + list(self.norm.parameters())

    options = TrainOptions(learning_rate=0.1, backbone_rate=0.5, weight_decay=0.3)
    groups = parameter_groups(Pretrained(), options)
    described = {(g["peak"], g["weight_decay"]): sum(p.numel() for p in g["params"]) for g in groups}
    assert described == {(0.1, 0.0): 1, (0.1, 0.3): 72, (0.05, 0.0): 16, (0.05, 0.3): 216}
    optimizer = make_optimizer(Pretrained(), options)
    assert set_rates(optimizer, 0.5) == pytest.approx(0.05)
    assert sorted({g["lr"] for g in optimizer.param_groups}) == pytest.approx([0.025, 0.05])


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_every_optimizer_learns(name):
    torch.manual_seed(0)
    stepper = Stepper(ToyDetector(), TrainOptions(optimizer=name, learning_rate=0.02), Place())
    losses = [sum(stepper.step([toy_batch(range(6))], 1.0).terms.values()) for _ in range(15)]
    assert losses[-1] < losses[0] * 0.8


def test_schedules():
    cosine = [rate_factor(TrainOptions(warmup=0.1), step, 100) for step in range(100)]
    assert cosine[:10] == pytest.approx([(i + 1) / 11 for i in range(10)])
    assert cosine[10] == 1
    assert cosine[55] == pytest.approx(0.5)
    assert 0 < cosine[99] < 0.001
    steps = [rate_factor(TrainOptions(schedule="step", warmup=0), step, 100) for step in (0, 69, 70, 89, 90)]
    assert steps == pytest.approx([1, 1, 0.1, 0.1, 0.01])
    assert rate_factor(TrainOptions(schedule="constant", warmup=0), 99, 100) == 1
    assert rate_factor(TrainOptions(warmup=0.99), 0, 1) == 0.5
