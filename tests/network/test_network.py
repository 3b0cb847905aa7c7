"""The network that is built is the network that was planned, in every mode that torch has."""

import dataclasses
import functools
import hashlib
import json
from pathlib import Path

import pytest
import torch
from torch import nn

from resnets.architecture import CATALOG, ResNetSpec, names, plan
from resnets.errors import SpecError
from resnets.network import ResNet, create

STATE_NAMES = json.loads((Path(__file__).parents[1] / "golden" / "state_names.json").read_text())

VARIANTS = {
    "keras_v1": ResNetSpec(
        block="bottleneck", stride_conv="first", bias="always", pool_padding="zero", norm_eps=1.001e-5
    ),
    "slim_v2": ResNetSpec(block="bottleneck", order="pre", stride_unit="last", bias="unnormed", pool_padding="same"),
    "caffe": ResNetSpec(block="bottleneck", stride_conv="first", bias="stem", pool_padding="ceil"),
    "early_keras": ResNetSpec(block="bottleneck", stride_conv="first", bias="always", pool_padding="valid"),
    "tutorial": ResNetSpec(bias="always", stem_activation=False),
    "tf_same": ResNetSpec(conv_padding="same", pool_padding="same"),
    "five_stages": ResNetSpec(depths=(1, 2, 1, 1, 1), widths=(8, 8, 16, 16, 32), stem_width=8, stem="deep"),
    "akamaster": dataclasses.replace(CATALOG["resnet20"], pad_side="both"),
    "v1_avgpool": ResNetSpec(shortcut="avgpool", stem="cifar"),
    "option_c": ResNetSpec(shortcut="all"),
    "option_c_last": ResNetSpec(shortcut="all", stride_unit="last", block="bottleneck", order="pre"),
}


def observed(net, size):
    """Parameters, multiply-adds and output shape of every leaf as a real forward pass shows them."""
    roles, shapes, macs = {module: name for name, module in net.named_modules()}, {}, 0

    def hook(module, inputs, output):
        nonlocal macs
        shapes[roles[module]] = tuple(output.shape[1:])
        if isinstance(module, nn.Conv2d):
            macs += output[0].numel() * module.weight[0].numel()
        elif isinstance(module, nn.Linear):
            macs += module.weight.numel()

    handles = [module.register_forward_hook(hook) for module in net.modules()]
    with torch.inference_mode():
        net(torch.zeros(1, net.plan.in_channels, size, size))
    for handle in handles:
        handle.remove()
    return sum(p.numel() for p in net.parameters()), macs, shapes


@pytest.mark.parametrize("name", [*names(), *VARIANTS])
def test_the_built_network_agrees_with_its_plan(name):
    size = 33  # odd, so that every padding rule shows
    made = plan(VARIANTS.get(name, name), num_classes=7, image_size=size)
    with torch.device("meta"):  # shapes alone: no memory, no arithmetic
        parameters, macs, shapes = observed(ResNet(made).eval(), size)
    assert parameters == made.parameters
    assert macs == made.macs
    for row in made.rows:
        if row.kind == "linear":
            assert shapes[row.role] == (7,)
        elif row.role in shapes:  # an addition and a unit's last relu are no modules of that name
            assert shapes[row.role] == (row.output if row.kind != "global_pool" else row.output[:1])
        else:
            assert row.kind in ("add", "relu")


@functools.cache
def state_names(name):
    with torch.device("meta"):
        return tuple(ResNet(plan(name)).state_dict())


@pytest.mark.parametrize("name", names())
def test_state_names_are_golden(name):
    keys = "\n".join(state_names(name))
    assert hashlib.sha256(keys.encode()).hexdigest() == STATE_NAMES[name]


def test_state_names_are_roles():
    assert [key for key in create("resnet10").state_dict() if "stage2" in key and key.endswith("weight")] == [
        "stage2.unit1.conv1.weight",
        "stage2.unit1.norm1.weight",
        "stage2.unit1.conv2.weight",
        "stage2.unit1.norm2.weight",
        "stage2.unit1.shortcut.conv.weight",
        "stage2.unit1.shortcut.norm.weight",
    ]


def check_modes(spec, size, backend):
    """torch.export with a free batch size, torch.compile in one graph, and channels_last agree with eager."""
    net = create(spec, num_classes=5, seed=0).double().train()  # float64: a difference is a fault, not rounding
    x = torch.randn(2, 3, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():  # one update of the running statistics, so that a deep network stays finite
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 1.0
        net(x)
    net.eval()
    with torch.no_grad():
        expected = net(x)
        assert torch.isfinite(expected).all()
        exported = torch.export.export(net, (x,), dynamic_shapes=({0: torch.export.Dim("n", min=2)},)).module()
        torch._dynamo.reset()
        compiled = torch.compile(net, backend=backend, fullgraph=True)(x)
        strided = net.to(memory_format=torch.channels_last)(x.contiguous(memory_format=torch.channels_last))
        scale = float(expected.abs().max())
        for result in (exported(x), compiled, strided, exported(torch.cat([x, x]))[:2]):
            assert torch.allclose(result, expected, atol=1e-6 * scale, rtol=0)


def made_small(spec):
    """The same choices with one unit a stage and an eighth of the widths."""
    return dataclasses.replace(
        spec,
        depths=(1,) * len(spec.depths),
        widths=tuple(max(min(width, 512) // 8, 4) for width in spec.widths),
        width_per_group=64 if spec.width_per_group % 64 == 0 else 128,
        groups=min(spec.groups, 2),
        stem_width=max(spec.stem_width // 8, 4),
    )


def two_stages(spec):
    """A stage of the first kind and one of the second: the third and fourth of an entry are like the second."""
    return dataclasses.replace(spec, depths=spec.depths[:2], widths=spec.widths[:2]) if len(spec.depths) < 5 else spec


# Entries that differ in size alone become one.
SMALL = {two_stages(made_small(spec)): name for name, spec in {**CATALOG, **VARIANTS}.items()}


@pytest.mark.parametrize("spec", SMALL, ids=SMALL.values())
def test_every_kind_of_entry_can_be_exported_and_compiled(spec):
    check_modes(spec, 33, backend="eager")


@pytest.mark.slow
@pytest.mark.parametrize("name", names())
def test_every_entry_as_it_is_can_be_exported_and_compiled(name):
    check_modes(CATALOG[name], 64, backend="aot_eager")


@pytest.mark.parametrize("name", ["resnet50", "resnet18", "resnetv2_50", "resnet50_v1", *VARIANTS])
def test_output_stride_gives_the_same_features_more_densely(name):
    """Every (32 / s)-th pixel of the dense features is a pixel of the strided ones: only then do weights carry over."""
    spec = VARIANTS.get(name, CATALOG.get(name))
    if spec.shortcut == "avgpool" or spec.stem == "cifar":
        pytest.skip("an average over neighbours has no exact dense form; a CIFAR network never exceeds stride 8")
    # 'same' padding is asymmetric exactly where a stride is; without the stride there is nothing to compare.
    spec = dataclasses.replace(made_small(spec), conv_padding="symmetric", depths=(2,) * len(spec.depths))
    x = torch.randn(1, 3, 65, 65, generator=torch.Generator().manual_seed(0))
    last = f"stage{len(spec.depths)}"
    with torch.inference_mode():
        sparse = create(spec, 3, seed=1).eval().double().features(x.double())[last]
        for output_stride in (8, 16):
            dense = create(spec, 3, output_stride=output_stride, seed=1).eval().double().features(x.double())[last]
            step = 32 // output_stride
            assert dense.shape[2] > sparse.shape[2]
            assert torch.allclose(dense[:, :, ::step, ::step], sparse, rtol=1e-9, atol=1e-9)


def test_output_stride_keeps_the_state_names():
    with torch.device("meta"):
        for name in names():
            assert tuple(ResNet(plan(name, output_stride=8)).state_dict()) == state_names(name), name


@pytest.mark.parametrize("name", ["resnet18", "resnetv2_50", "resnet20", "plain20"])
def test_features_end_in_the_logits(name):
    net = create(name, num_classes=4, in_channels=1, seed=0).eval()
    with torch.inference_mode():
        x = torch.randn(2, 1, 40, 48)
        features = net.features(x)
        again = {key: value.clone() for key, value in net.features(x).items()}
        assert torch.equal(net.head(features[net.stage_names[-1]]), net(x))
    assert list(features) == ["stem", *net.stage_names]
    assert all(torch.equal(features[key], again[key]) for key in features)  # nobody wrote into what was handed out


def test_the_seed_decides_the_weights():
    a, b, c = (create("resnet10", seed=s).state_dict() for s in (1, 1, 2))
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert not torch.equal(a["stem.conv.weight"], c["stem.conv.weight"])


def test_initialisation_has_the_papers_variance():
    net = create("resnet18", seed=0)
    weight = net.get_parameter("stage3.unit2.conv1.weight")
    assert float(weight.detach().std()) == pytest.approx((2 / (9 * 256)) ** 0.5, rel=0.01)
    assert float(net.head.linear.weight.detach().std()) == pytest.approx(0.01, rel=0.05)


@pytest.mark.parametrize("order", ["post", "pre"])
def test_zero_init_last_starts_every_unit_as_its_shortcut(order):
    spec = ResNetSpec(depths=(2, 2), widths=(8, 16), stem_width=8, order=order, zero_init_last=True)
    net = create(spec, 3, seed=0).eval()
    x = torch.rand(1, 8, 9, 9)
    with torch.inference_mode():
        assert torch.equal(net.stage1.unit2(x), x)


def test_option_a_puts_the_zeros_where_the_spec_says():
    x = torch.ones(1, 16, 4, 4)
    for side, zeros in (("end", slice(16, 32)), ("both", [*range(8), *range(24, 32)])):
        net = create(dataclasses.replace(CATALOG["resnet20"], pad_side=side))
        y = net.stage2.unit1.shortcut(x)
        assert y.shape == (1, 32, 2, 2)
        assert float(y[:, zeros].abs().sum()) == 0
        assert float(y.sum()) == 16 * 4


def test_an_unknown_network_is_a_spec_error():
    with pytest.raises(SpecError, match="resnet18"):
        create("resnet_18")
