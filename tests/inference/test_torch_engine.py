"""The torch engine: it computes what the network computes, over the whole catalog, whatever the size and the batch."""

import functools
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

import resnets
from resnets.architecture.rows import INPUT
from resnets.inference import fused, torch_engines
from resnets.inference.fused import Fused
from resnets.inference.int8 import Quantised
from resnets.inference.lower import OUTPUT, lower
from resnets.inference.quantize import measure_ranges, stored
from resnets.inference.runner import Runner, max_pool
from resnets.inference.torch_engines import TorchEngine

LARGEST = 30e6  # parameters; larger networks have the same kinds of layers, only more of them
DEEPEST = 200  # units; so have deeper ones
KINDS = (
    *("resnet18", "resnet20", "resnet50", "resnet50d", "preact_resnet110", "plain20", "slim_resnet_v2_50"),
    *("keras_resnet50v2", "resnext50_32x4d", "caffe_resnet50"),
)
NAMES = [
    pytest.param(name, marks=[pytest.mark.slow] if sum(map(len, planned.stages)) > DEEPEST else [])
    for name, planned in ((name, resnets.plan(name)) for name in resnets.names())
    if planned.parameters < LARGEST
]


def made(name, classes=10, **options):
    """A network whose norms do something, and images for it."""
    network = resnets.create(name, num_classes=classes, seed=0, **options).eval()
    drawn = torch.Generator().manual_seed(1)
    units = sum(map(len, network.plan.stages))
    scale = 1.0 if units < 60 else 0.3  # the sums of a very deep network would overflow
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1, generator=drawn)
            module.running_var.uniform_(0.5, 1.5, generator=drawn)
            module.weight.data.uniform_(0.5, 1.0, generator=drawn).mul_(scale)
            module.bias.data.normal_(0, 0.1, generator=drawn)
    size = 32 if network.plan.spec.stem == "cifar" else 65
    return network, torch.randn(3, network.plan.in_channels, size, size, generator=drawn)


# For tests that follow one another with the same network and change nothing.
made_once = functools.lru_cache(maxsize=1)(made)


@functools.lru_cache(maxsize=1)
def calibrated(name):
    """(steps, ranges, images, the network's own logits)"""
    network, x = made_once(name)
    graph = lower(network, x.shape[-1])
    with torch.inference_mode():
        return graph, measure_ranges(graph, [x]), x, network(x)


def off(logits, network, x):
    """The largest difference to the network's own logits, over their standard deviation."""
    with torch.inference_mode():
        own = network(x)
    return float((logits - own).abs().max() / own.std())


@pytest.mark.parametrize("name", NAMES)
def test_the_fused_steps_compute_what_the_network_computes(name):
    network, x = made(name)
    graph = lower(network, x.shape[-1])
    before = x.clone()
    assert off(Fused(graph)(x), network, x) < 1e-4
    assert off(TorchEngine(graph, "bfloat16")(x), network, x) < 0.15
    assert torch.equal(x, before)
    assert graph.steps[-1].name == OUTPUT
    assert {step.name for step in graph.convolutions} == {r.role for r in network.plan.rows if r.kind == "conv"}


@pytest.mark.parametrize("shape", [(1, 3, 64, 64), (2, 3, 33, 97), (5, 3, 70, 41)])
@pytest.mark.parametrize("name", ["resnet18", "resnet50d", "slim_resnet_v2_50", "keras_resnet50v2", "caffe_resnet50"])
def test_any_size_and_batch_will_do(name, shape):
    network, _ = made_once(name)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(2))
    engine = TorchEngine(lower(network), batch=4)
    assert off(engine(x), network, x) < 1e-4
    assert off(engine(x.contiguous(memory_format=torch.channels_last)), network, x) < 1e-4


@pytest.mark.parametrize("options", [{"in_channels": 1}, {"in_channels": 5}, {"output_stride": 8}, {"classes": 1}])
def test_other_plans(options):
    network, x = made("resnet26", **options)
    logits = TorchEngine(lower(network, 65))(x)
    with torch.inference_mode():
        torch.testing.assert_close(logits, network(x), rtol=1e-4, atol=1e-5)


def test_without_the_operators_torchs_own_give_the_same(monkeypatch, capsys):
    network, x = made("resnet18")
    monkeypatch.setattr(torch_engines, "fused_operators", lambda *_: False)
    engine = TorchEngine(lower(network, 65))
    assert type(engine._run) is Runner
    assert off(engine(x), network, x) < 1e-4
    assert "fuses no convolutions in" in capsys.readouterr().err


def test_a_missing_operator_is_noticed(monkeypatch):
    fused.fused_operators.cache_clear()
    assert fused.fused_operators()
    fused.fused_operators.cache_clear()
    monkeypatch.delattr(torch._C._nn, "mkldnn_reorder_conv2d_weight")
    assert not fused.fused_operators()
    fused.fused_operators.cache_clear()


def test_an_open_autocast_changes_nothing():
    network, x = made("resnet18")
    engine = TorchEngine(lower(network, 65))
    own = engine(x)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(engine(x), own)


def test_the_engine_does_not_hang_on_the_network():
    network, x = made("resnet18")
    engine = TorchEngine(lower(network, 65))
    own = engine(x)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    assert torch.equal(engine(x), own)


@pytest.mark.parametrize("kept", ["none", "first and last", "every second", "all"])
@pytest.mark.parametrize("name", KINDS)
def test_int8_computes_what_its_rounding_says(name, kept):
    """Against the same steps in plain torch, with every value that is stored rounded to its grid."""
    graph, ranges, x, own = calibrated(name)
    names = [step.name for step in graph.convolutions]
    floats = {"none": [], "first and last": [names[0], names[-1]], "every second": names[::2], "all": names}[kept]
    quantisation = ranges.keeping(floats)
    engine = Quantised(graph, quantisation)
    engine_logits = engine(x)
    simulated = _Rounded(graph, quantisation)(x)
    # Roundings that fall on the other side of a half are amplified by later layers; a wrong grid is far outside.
    rounding = float((simulated - own).std())
    assert float((engine_logits - simulated).std()) < max(0.5 * rounding, 0.06 * float(own.std()))
    assert float((engine_logits - own).std()) < max(2 * rounding, 0.06 * float(own.std()))


class _Rounded(Runner):
    def __init__(self, graph, quantisation):
        self.quantisation, self.stored = quantisation, stored(graph, quantisation)
        super().__init__(graph)

    def rounded(self, name, x):
        if name not in self.stored:
            return x
        scale, zero = self.quantisation.grid(name)
        return torch.fake_quantize_per_tensor_affine(x, scale, zero, 0, 255)

    def enter(self, x):
        return self.rounded(INPUT, super().enter(x))

    def kernel(self, step):
        if step.kind == "conv" and step.name not in self.quantisation.floats:
            scale = step.weight.abs().amax((1, 2, 3), keepdim=True) / 127
            step = replace(step, weight=(step.weight / scale).round() * scale)
        run = super().kernel(step)
        return lambda x, addend: self.rounded(step.name, run(x, None if addend is None else addend.clone()))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 3), (7, 8), (8, 7), (15, 15)])
def test_the_pool(size, dtype):
    x = torch.randn(2, 5, *size, generator=torch.Generator().manual_seed(0)) * 40 - 20
    x = (x.abs() if dtype == torch.uint8 else x).to(dtype).contiguous(memory_format=torch.channels_last)
    before = x.clone()
    assert torch.equal(max_pool(x), F.max_pool2d(x.float(), 3, 2, 1).to(dtype))
    assert torch.equal(x, before)
