"""The five orders of He 2016, Table 2: said in the spec, and followed by everything that reads a plan."""

import dataclasses
from itertools import product

import pytest
import torch
import torch.nn.functional as F

from resnets.architecture import CATALOG, ResNetSpec, plan, profile
from resnets.architecture.spec import CHOICES, ORDERS
from resnets.data.preprocess import Preprocessing
from resnets.errors import ModelFileError, SpecError
from resnets.inference import Classifier, engines
from resnets.inference.export import write as export
from resnets.inference.lower import lower
from resnets.inference.quantize import Rounded, measure_ranges
from resnets.inference.torch_engines import TorchEngine
from resnets.inspection import compare, layer_table
from resnets.network import create
from resnets.weights import Model
from resnets.weights.convert import exported
from resnets.weights.worlds import DIALECTS

NEW = ("norm_after_add", "relu_before_add", "relu_pre")
BLOCKS = CHOICES["block"]
CIFAR110 = {
    "post": "resnet110",
    "norm_after_add": "resnet110_norm_after_add",
    "relu_before_add": "resnet110_relu_before_add",
    "relu_pre": "resnet110_relu_pre",
    "pre": "preact_resnet110",
}


def spec(order, block="basic", shortcut="projection", **fields):
    """Two small stages behind CIFAR's stem."""
    base = {"depths": (2, 2), "widths": (4, 8), "stem": "cifar", "stem_width": 4}
    return ResNetSpec(**{**base, "order": order, "block": block, "shortcut": shortcut, **fields})


def made(wanted, size=17, **options):
    """A network in float64 whose norms do something, and pictures for it."""
    network = create(wanted, 5, seed=0, **options).double()
    drawn = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1, generator=drawn)
            module.running_var.uniform_(0.5, 1.5, generator=drawn)
            module.weight.data.uniform_(0.5, 1.0, generator=drawn)
            module.bias.data.normal_(0, 0.1, generator=drawn)
    return network, torch.randn(3, 3, size, size, generator=drawn, dtype=torch.float64)


class Paper:
    """The networks as the paper draws them (Figure 4), by hand: it knows tensors by name, and no plan."""

    def __init__(self, wanted, state, output_stride):
        self.wanted, self.state, self.output_stride = wanted, state, output_stride

    def conv(self, x, name, stride=1, dilation=1):
        weight = self.state[f"{name}.weight"]
        return F.conv2d(x, weight, None, stride, dilation * (weight.shape[2] - 1) // 2, dilation)

    def norm(self, x, name):
        return F.batch_norm(x, None, None, self.state[f"{name}.weight"], self.state[f"{name}.bias"], True)

    def branch(self, x, unit, i, stride, before, after):
        """The i-th convolution; the 3x3 that strides is the first of a basic unit, the second of a bottleneck."""
        striding = 1 if self.wanted.block == "basic" else 2
        wide = self.state[f"{unit}.conv{i}.weight"].shape[2] > 1
        dilation = (before if i <= striding else after) if wide else 1
        return self.conv(x, f"{unit}.conv{i}", stride if i == striding else 1, dilation)

    def shortcut(self, x, unit, stride, channels, changes, normed):
        if not changes:
            return x
        if self.wanted.shortcut == "pad":
            return F.pad(x[:, :, ::stride, ::stride], (0, 0, 0, 0, 0, channels - x.shape[1]))
        if self.wanted.shortcut == "avgpool" and stride > 1:
            x, stride = F.avg_pool2d(x, 2, stride, ceil_mode=True, count_include_pad=False), 1
        x = self.conv(x, f"{unit}.shortcut.conv", stride)
        return self.norm(x, f"{unit}.shortcut.norm") if normed else x

    def unit(self, x, unit, channels, stride, before, after):
        n = 2 if self.wanted.block == "basic" else 3
        changes = x.shape[1] != channels or stride > 1 or (after > before and self.wanted.shortcut != "pad")
        changes |= self.wanted.shortcut == "all"
        # Zero padding of no channels is the identity, at a lower resolution: it reads what an identity reads.
        activated = changes and (self.wanted.shortcut != "pad" or x.shape[1] != channels)

        def conv(y, i):
            return self.branch(y, unit, i, stride, before, after)

        def norm(y, i):
            return self.norm(y, f"{unit}.norm{i}")

        def shortcut(y, normed):
            return self.shortcut(y, unit, stride, channels, changes, normed)

        y = x
        match self.wanted.order:
            case "post":  # (a) original
                for i in range(1, n):
                    y = torch.relu(norm(conv(y, i), i))
                y = norm(conv(y, n), n)
                return torch.relu(y if self.wanted.shortcut == "none" else y + shortcut(x, True))
            case "norm_after_add":  # (b) BN after addition
                for i in range(1, n):
                    y = torch.relu(norm(conv(y, i), i))
                return torch.relu(norm(conv(y, n) + shortcut(x, False), n))
            case "relu_before_add":  # (c) ReLU before addition
                for i in range(1, n + 1):
                    y = torch.relu(norm(conv(y, i), i))
                return y + shortcut(x, True)
            case "relu_pre":  # (d) ReLU-only pre-activation
                for i in range(1, n + 1):
                    y = norm(conv(torch.relu(y), i), i)
                return y + shortcut(torch.relu(x) if activated else x, True)
            case "pre":  # (e) full pre-activation
                first = torch.relu(norm(x, 1))
                y = conv(first, 1)
                for i in range(2, n + 1):
                    y = conv(torch.relu(norm(y, i)), i)
                return y if self.wanted.shortcut == "none" else y + shortcut(first if activated else x, False)

    def __call__(self, x):
        wanted, order, reached = self.wanted, self.wanted.order, 1 if self.wanted.stem == "cifar" else 4
        x = self.conv(x, "stem.conv", 1 if reached == 1 else 2)
        x = x if order == "pre" else self.norm(x, "stem.norm")
        x = x if order in ("pre", "relu_pre") else torch.relu(x)
        x = x if reached == 1 else F.max_pool2d(x, 3, 2, 1)
        dilation = 1
        for s, depth in enumerate(wanted.depths):
            for u in range(depth):
                stride, before = 2 if s and not u else 1, dilation
                if stride == 2 and reached >= self.output_stride:
                    stride, dilation = 1, 2 * dilation
                reached *= stride
                channels = wanted.widths[s] * (1 if wanted.block == "basic" else 4)
                x = self.unit(x, f"stage{s + 1}.unit{u + 1}", channels, stride, before, dilation)
        x = self.norm(x, "head.norm") if order == "pre" else x
        x = torch.relu(x) if order in ("pre", "relu_pre") else x
        return F.linear(x.mean((2, 3)), self.state["head.linear.weight"], self.state["head.linear.bias"])


def assert_the_papers(wanted, size, output_stride=32):
    """Logits and the gradients of the picture and of every weight, in training."""
    network, x = made(wanted, size, output_stride=output_stride)
    state = {name: tensor.detach().clone().requires_grad_() for name, tensor in network.named_parameters()}
    mine, theirs = (x.clone().requires_grad_() for _ in range(2))
    logits, expected = network.train()(mine), Paper(wanted, state, output_stride)(theirs)
    torch.testing.assert_close(logits, expected)
    way = torch.randn(logits.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    (logits * way).sum().backward()
    (expected * way).sum().backward()
    torch.testing.assert_close(mine.grad, theirs.grad)
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(parameter.grad, state[name].grad, msg=name)


@pytest.mark.parametrize("shortcut", CHOICES["shortcut"])
@pytest.mark.parametrize(("order", "block"), [*product(ORDERS, BLOCKS)])
def test_a_network_is_the_papers_forward_and_backward(order, block, shortcut):
    if shortcut == "none" and order in NEW:
        with pytest.raises(SpecError, match=f"Without an addition order='{order}' computes what order='post' does"):
            spec(order, block, shortcut)
        return
    assert_the_papers(spec(order, block, shortcut), 17)


@pytest.mark.parametrize("output_stride", [8, 16, 32])
@pytest.mark.parametrize(("order", "block", "shortcut"), [*product(ORDERS, BLOCKS, ["projection", "pad", "all"])])
def test_at_every_output_stride(order, block, shortcut, output_stride):
    wanted = spec(order, block, shortcut, stem="imagenet", depths=(1, 1, 2, 1), widths=(4, 4, 6, 8))
    assert_the_papers(wanted, 49, output_stride)


@pytest.mark.parametrize(("order", "block"), [*product(ORDERS, BLOCKS)])
def test_every_engine_follows(order, block):
    network, x = made(spec(order, block), 32)
    network, x = network.float().eval(), x.float()
    graph = lower(network)
    with torch.inference_mode():
        own = network(x)
    spread = float(own.max() - own.min())

    def off(logits):
        return float((logits - own).abs().max()) / spread

    assert off(TorchEngine(graph)(x)) < 1e-5
    assert off(engines.make("onnxruntime", network)(x)) < 1e-5
    assert off(TorchEngine(graph, "bfloat16")(x)) < 0.05
    quantisation = measure_ranges(graph, [x])
    rounding = off(Rounded(graph, quantisation)(x))
    for name in ("torch", "onnxruntime"):
        assert off(engines.make(name, network, "int8", quantisation=quantisation)(x)) < max(2 * rounding, 0.06), name
    kinds = {step.kind for step in graph.steps}
    assert ("relu" in kinds) is (order == "relu_pre")
    assert ("add" in kinds) is (order == "relu_before_add")


@pytest.mark.parametrize("order", NEW)
def test_an_exported_file_is_the_network(order, tmp_path):
    network = made(spec(order, "bottleneck"), 32)[0].float().eval()
    classifier = Classifier(Model(network, tuple("abcde"), Preprocessing.evaluation(32)))
    (row,) = export(tmp_path / "net.pt2", classifier, precision="float32", raw=True)
    assert row["relative"] < 1e-5


@pytest.mark.parametrize(("order", "block"), [*product(ORDERS, BLOCKS)])
def test_roles_say_what_they_are(order, block):
    network, _ = made(spec(order, block))
    rows = network.plan.rows
    assert len({row.role for row in rows}) == len(rows)
    last = {"basic": 2, "bottleneck": 3}[block]
    unit = {row.role.removeprefix("stage1.unit2."): row for row in network.plan.stages[0][1].rows}
    numbers = range(1, last + 1)
    assert {f"{kind}{i}" for kind in ("conv", "norm", "relu") for i in numbers} == set(unit) - {"add"}
    after = {"post": [f"relu{last}"], "norm_after_add": [f"norm{last}", f"relu{last}"]}.get(order, [])
    assert [row.role.rpartition(".")[2] for row in network.plan.stages[0][1].after] == after
    state = {name.rpartition(".")[0] for name in network.state_dict()}
    assert state == {row.role for row in rows if row.parameters}


@pytest.mark.parametrize(("order", "block"), [*product(ORDERS, BLOCKS)])
def test_zero_init_last_starts_a_unit_as_its_shortcut(order, block):
    assert spec(order, block).starts_as_shortcuts == (order != "relu_before_add")
    if order == "relu_before_add":  # where a ReLU would keep every gradient from what is zero
        with pytest.raises(SpecError, match="the branch would never learn"):
            spec(order, block, zero_init_last=True)
        return
    network = create(spec(order, block, zero_init_last=True), 3, seed=0).eval()
    unit = network.stage1.unit2
    x = torch.rand(1, 4 if block == "basic" else 16, 9, 9)
    with torch.inference_mode():
        expected = torch.relu(getattr(unit, f"norm{2 if block == 'basic' else 3}")(x)) if order == NEW[0] else x
        assert torch.equal(unit(x), expected)


@pytest.mark.parametrize("order", ORDERS)
def test_what_an_order_has_decides_what_it_can_be_combined_with(order):
    if order == "pre":
        assert spec(order, bias="unnormed").bias == "unnormed"
    else:
        with pytest.raises(SpecError, match=f"With order='{order}' a norm follows every convolution"):
            spec(order, bias="unnormed")
    if order in ("pre", "relu_pre"):
        with pytest.raises(SpecError, match=f"With order='{order}' the stem never has an activation"):
            spec(order, stem_activation=False)
    else:
        assert "stem.relu" not in {row.role for row in plan(spec(order, stem_activation=False)).rows}


@pytest.mark.parametrize("order", ORDERS)
def test_the_catalog_has_the_papers_network_in_each_order(order):
    one = plan(CIFAR110[order])
    assert one.spec == dataclasses.replace(CATALOG["resnet110"], order=order)
    assert round(one.parameters / 1e6, 1) == 1.7
    assert sum(row.kind in ("conv", "linear") for row in one.rows) == 110
    assert profile(one.rows).macs == plan("resnet110").macs
    assert len(layer_table(one)) == len(layer_table(plan("resnet110")))


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ("norm_after_add", "B puts norm and ReLU after each convolution, the last ones behind the addition (He 2016)"),
        ("relu_before_add", "B puts norm and ReLU after each convolution, the last ReLU before the addition (He 2016)"),
        ("relu_pre", "B puts norm and ReLU around each convolution, the ReLU before it (ReLU-only pre-activation)"),
    ],
)
def test_the_order_is_said_in_words(order, words):
    found = compare(plan("resnet110"), plan(CIFAR110[order]), ("A", "B"))
    assert found.words[0] == f"{words}; A after each convolution (post-activation, v1)."
    assert found.choices == {"order": ("post", order)}


@pytest.mark.parametrize(("order", "world"), [*product(NEW, DIALECTS)])
def test_a_world_that_cannot_say_an_order_refuses_it(order, world, tmp_path):
    network = create(spec(order, depths=(1, 1)), 3, seed=0).eval()
    model = Model(network, tuple("abc"), Preprocessing.evaluation(32))
    with pytest.raises(
        ModelFileError, match=f"^{world} has no network with order='{order}': choose another `target_dialect`\\.$"
    ):
        exported(model, tmp_path / "net", world)
