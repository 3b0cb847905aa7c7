"""The gradient of weights as a matrix product: the same numbers as torch's own, and only where it is meant to be."""

import contextlib

import pytest
import torch
from torch import nn

from resnets import create
from resnets.training import gradients
from resnets.training.gradients import ByProduct


def of(conv, x, mode):
    """The gradients of one convolution's input, weight and bias in bfloat16 autocast."""
    conv.zero_grad()
    x = x.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16), mode:
        y = conv(x)
    assert y.dtype == torch.bfloat16
    (y.float() * torch.linspace(-1, 1, y.numel()).reshape(y.shape)).sum().backward()
    return [None if p is None else p.grad for p in (x, conv.weight, conv.bias)]


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize(
    ("side", "kernel", "stride", "padding", "bias"),
    [
        (4, 3, 1, 1, False),
        (7, 3, 2, 1, False),
        (8, 1, 2, 0, True),
        (6, 3, 1, 0, True),
        (5, 1, 1, 0, False),
        (9, 7, 2, 3, True),
    ],
)
def test_the_numbers_are_those_of_the_exact_gradient(layout, side, kernel, stride, padding, bias, monkeypatch):
    monkeypatch.setattr(gradients, "WIDE", 1)
    torch.manual_seed(0)
    conv = nn.Conv2d(8, 12, kernel, stride, padding, bias=bias).to(memory_format=layout)
    x = torch.randn(3, 8, side, side + 1).contiguous(memory_format=layout)
    called = []
    monkeypatch.setattr(gradients, "_weights", lambda *a, real=gradients._weights: called.append(a) or real(*a))
    mine, native = of(conv, x, ByProduct()), of(conv, x, contextlib.nullcontext())
    assert len(called) == 1
    double = nn.Conv2d(8, 12, kernel, stride, padding, bias=bias).double()
    double.load_state_dict(conv.state_dict())
    y = double(x.double().requires_grad_())
    (y * torch.linspace(-1, 1, y.numel(), dtype=torch.double).reshape(y.shape)).sum().backward()
    for own, theirs, exact in zip(
        mine[1:], native[1:], [double.weight.grad, double.bias.grad if bias else None], strict=True
    ):
        if exact is not None:
            scale = exact.abs().max()
            assert (own - exact).abs().max() <= max(0.01 * scale, 1.5 * (theirs - exact).abs().max())
    torch.testing.assert_close(mine[0], native[0])


def test_wide_rows_narrow_layers_groups_and_float32_are_left_to_torch(monkeypatch):
    monkeypatch.setattr(gradients, "_weights", lambda *_: pytest.fail("not here"))
    for conv, side in (
        (nn.Conv2d(128, 256, 3, padding=1), 9),
        (nn.Conv2d(64, 256, 3, padding=1), 4),
        (nn.Conv2d(256, 256, 3, padding=1, groups=32), 4),
        (nn.Conv2d(256, 256, 3, padding=2, dilation=2), 4),
    ):
        of(conv, torch.randn(2, conv.in_channels, side, side), ByProduct())
    with ByProduct():  # no autocast: the numbers are float32, and stay so
        y = nn.Conv2d(256, 256, 3, padding=1)(torch.randn(2, 256, 4, 4))
    assert y.dtype == torch.float32
    y.sum().backward()


def test_a_step_of_a_network_has_the_gradients_of_one_without():
    found = []
    for mode in (ByProduct(), contextlib.nullcontext()):
        network = create("resnet18", 10, seed=0).train()
        x = torch.randn(8, 3, 64, 64, generator=torch.Generator().manual_seed(1))
        with torch.autocast("cpu", torch.bfloat16), mode:
            logits = network(x)
        torch.nn.functional.cross_entropy(logits.float(), torch.arange(8)).backward()
        found.append({name: p.grad for name, p in network.named_parameters()})
    mine, native = found
    for name, theirs in native.items():
        assert (mine[name] - theirs).norm() <= 0.02 * theirs.norm(), name


def test_narrow_networks_do_without():
    assert gradients.gains(create("resnet18", 10, seed=0))
    assert not gradients.gains(create("resnet20", 10, seed=0))


def test_frozen_weights_and_what_is_not_asked_for_cost_nothing():
    conv = nn.Conv2d(256, 256, 3, padding=1, bias=False)
    conv.weight.requires_grad_(False)
    x, weight, bias = of(conv, torch.randn(2, 256, 4, 4), ByProduct())
    assert x is not None
    assert weight is None
    assert bias is None
