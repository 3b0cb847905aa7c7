"""Networks under names of no known kind: found by order and shapes, exactly, or refused with what does not fit."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch
from replicas import conv, trained
from test_convert import model_of, same, state, tiny
from torch import nn
from torch.nn.functional import relu

from resnets.architecture import CATALOG
from resnets.errors import ModelFileError
from resnets.weights.body import load_body
from resnets.weights.certificate import certificate
from resnets.weights.convert import classifier_of, read
from resnets.weights.open import open_file
from resnets.weights.recognise import recognise


def thin(name, **fields):
    spec = CATALOG[name]
    return replace(spec, widths=tuple(4 * 2**s for s in range(len(spec.widths))), stem_width=4, **fields)


def shuffled_names(tensors, seed=0):
    """The same tensors in the same order under random words."""
    draw = random.Random(seed)
    words = draw.sample([a + b + c for a in "bdgkmp" for b in "aeiou" for c in "lnrst"], 10)
    names = {}
    for number, name in enumerate(tensors):
        names[name] = ".".join(draw.choices(words, k=draw.randint(1, 3))) + f".{draw.choice(words)}{number}"
    return {names[name]: tensor for name, tensor in tensors.items()}


NETWORKS = {
    "resnet18": ("torchvision", thin("resnet18")),
    "resnet50": ("torchvision", thin("resnet50")),
    "resnet101": ("torchvision", thin("resnet101")),
    "groups": ("torchvision", thin("resnet50", groups=2, width_per_group=32)),
    "wide": ("torchvision", thin("resnet50", width_per_group=128)),
    "three stages": ("torchvision", tiny("resnet18")),
    "tutorial": ("tutorial", tiny("tutorial_resnet18")),
}


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("seed", range(3))
def test_random_words_in_the_same_order(tmp_path, network, seed):
    dialect, spec = NETWORKS[network]
    torch.save(shuffled_names(state(spec, tmp_path, dialect), seed), tmp_path / "net.pth")
    found = read(tmp_path / "net.pth")
    if dialect == "tutorial":  # whose stem has no relu, which no tensor shows
        spec = replace(spec, stem_activation=True)
        assert found.network.plan.spec == spec
        wanted = model_of(spec).network.state_dict()
        assert all(torch.equal(tensor, wanted[name]) for name, tensor in found.network.state_dict().items())
    else:
        assert same(found, model_of(spec))


def test_it_is_said_and_no_certificate_holds_for_it_unless_the_user_names_the_network(tmp_path, capsys):
    spec = thin("resnet50")
    torch.save(shuffled_names(state(spec, tmp_path)), tmp_path / "net.pth")
    capsys.readouterr()
    found = recognise(open_file(tmp_path / "net.pth"))
    assert "by the order and the shapes of its tensors it is" in capsys.readouterr().err
    proof = certificate(found.file, found.dialect.name, classifier_of(found).network, use_framework=False)
    assert not proof["holds"]
    assert proof["verdict"].startswith("The certificate does not hold: it was recognised by structure, and nobody says")
    assert "strides" in proof["assumed"]
    named = recognise(open_file(tmp_path / "net.pth"), network=replace(spec, stride_conv="first"))
    proof = certificate(named.file, named.dialect.name, classifier_of(named).network, use_framework=False)
    assert proof["holds"], proof["verdict"]
    assert proof["seen"]["strides"].startswith("in the first convolution")


# Families of names, each as its own code defines them: (module, its logits are those of ours).


class Kuangliu(nn.Module):
    """The names of kuangliu/pytorch-cifar's resnet.py."""

    def __init__(self, bottleneck=False) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv(3, 8, 3), nn.BatchNorm2d(8)
        channels = 8
        for s, width in enumerate((8, 16), start=1):
            units = []
            for u in range(2):
                stride = 2 if s > 1 and u == 0 else 1
                units.append(KuangliuBlock(channels, width, stride, bottleneck))
                channels = width * (4 if bottleneck else 1)
            setattr(self, f"layer{s}", nn.Sequential(*units))
        self.linear = nn.Linear(channels, 5)

    def forward(self, x):
        x = self.layer2(self.layer1(relu(self.bn1(self.conv1(x)))))
        return self.linear(x.mean((2, 3)))


class KuangliuBlock(nn.Module):
    def __init__(self, before, width, stride, bottleneck) -> None:
        super().__init__()
        after = width * (4 if bottleneck else 1)
        sizes = (
            [(before, width, 1), (width, width, 3), (width, after, 1)]
            if bottleneck
            else [(before, width, 3), (width, width, 3)]
        )
        strides = [1, stride, 1] if bottleneck else [stride, 1]
        self.count = len(sizes)
        for n, ((i, o, kernel), step) in enumerate(zip(sizes, strides, strict=True), start=1):
            setattr(self, f"conv{n}", conv(i, o, kernel, step))
            setattr(self, f"bn{n}", nn.BatchNorm2d(o))
        self.shortcut = nn.Sequential()
        if stride != 1 or before != after:
            self.shortcut = nn.Sequential(conv(before, after, 1, stride), nn.BatchNorm2d(after))

    def forward(self, x):
        y = x
        for n in range(1, self.count + 1):
            y = getattr(self, f"bn{n}")(getattr(self, f"conv{n}")(y))
            y = relu(y) if n < self.count else y
        return relu(y + self.shortcut(x))


class Weiaicunzai(nn.Module):
    """The names of weiaicunzai/pytorch-cifar100's resnet.py: conv2_x.0.residual_function.0."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(conv(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
        self.conv2_x = nn.Sequential(Residual(8, 8, 1), Residual(8, 8, 1))
        self.conv3_x = nn.Sequential(Residual(8, 16, 2), Residual(16, 16, 1))
        self.fc = nn.Linear(16, 5)

    def forward(self, x):
        return self.fc(self.conv3_x(self.conv2_x(self.conv1(x))).mean((2, 3)))


class Residual(nn.Module):
    def __init__(self, before, after, stride) -> None:
        super().__init__()
        self.residual_function = nn.Sequential(
            *(conv(before, after, 3, stride), nn.BatchNorm2d(after), nn.ReLU(), conv(after, after, 3)),
            nn.BatchNorm2d(after),
        )
        self.shortcut = nn.Sequential()
        if stride != 1 or before != after:
            self.shortcut = nn.Sequential(conv(before, after, 1, stride), nn.BatchNorm2d(after))

    def forward(self, x):
        return relu(self.residual_function(x) + self.shortcut(x))


class D2l(nn.Module):
    """The names of d2l.ai's resnet: convolutions with biases before their norms, and none behind the 1x1."""

    def __init__(self, before, after, stride) -> None:
        super().__init__()
        self.conv1 = conv(before, after, 3, stride, bias=True)
        self.conv2 = conv(after, after, 3, bias=True)
        self.conv3 = conv(before, after, 1, stride, bias=True) if stride != 1 or before != after else None
        self.bn1, self.bn2 = nn.BatchNorm2d(after), nn.BatchNorm2d(after)

    def forward(self, x):
        y = self.bn2(self.conv2(relu(self.bn1(self.conv1(x)))))
        return relu(y + (self.conv3(x) if self.conv3 else x))


def d2l():
    stem = nn.Sequential(conv(3, 8, 7, 2, bias=True), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
    stages = [nn.Sequential(D2l(8, 8, 1), D2l(8, 8, 1)), nn.Sequential(D2l(8, 16, 2), D2l(16, 16, 1))]
    return nn.Sequential(stem, *stages, nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(), nn.Linear(16, 5))


class Path(nn.Module):
    """The names of fastai's xresnet: convpath.0.0, idpath.0.0, and behind an average idpath.1.0."""

    def __init__(self, before, width, stride, averages=False) -> None:
        super().__init__()
        after = width * 4

        def layer(i, o, kernel, step=1, act=True):
            return nn.Sequential(conv(i, o, kernel, step), nn.BatchNorm2d(o), *([nn.ReLU()] if act else []))

        self.convpath = nn.Sequential(
            layer(before, width, 1), layer(width, width, 3, stride), layer(width, after, 1, act=False)
        )
        pool = [nn.AvgPool2d(2, ceil_mode=True)] if averages and stride > 1 else []
        step = 1 if averages else stride
        self.idpath = nn.Sequential(
            *([*pool, layer(before, after, 1, step, act=False)] if stride != 1 or before != after else [])
        )

    def forward(self, x):
        return relu(self.convpath(x) + self.idpath(x))


def fastai(averages=False):
    def layer(i, o, step=1):
        return nn.Sequential(conv(i, o, 3, step), nn.BatchNorm2d(o), nn.ReLU())

    stem = [layer(3, 4, 2), layer(4, 4), layer(4, 8), nn.MaxPool2d(3, 2, 1)]
    stages = [nn.Sequential(Path(8, 8, 1), Path(32, 8, 1)), nn.Sequential(Path(32, 16, 2, averages), Path(64, 16, 1))]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.1), nn.Linear(64, 5)]
    return nn.Sequential(*stem, *stages, *head)


class Early(nn.Module):
    """Its shortcut is defined before its branch."""

    def __init__(self, before, after, stride) -> None:
        super().__init__()
        self.skip = (
            nn.Sequential(conv(before, after, 1, stride), nn.BatchNorm2d(after)) if before != after else nn.Identity()
        )
        self.body = nn.Sequential(
            *(conv(before, after, 3, stride), nn.BatchNorm2d(after), nn.ReLU(), conv(after, after, 3)),
            nn.BatchNorm2d(after),
        )

    def forward(self, x):
        return relu(self.body(x) + self.skip(x))


def early():
    stem = [conv(3, 8, 7, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    return nn.Sequential(
        *stem, Early(8, 8, 1), Early(8, 16, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5)
    )


class Preactivated(nn.Module):
    """Norms first, with its shortcut where it reads them."""

    def __init__(self, before, after, stride) -> None:
        super().__init__()
        self.n1, self.c1 = nn.BatchNorm2d(before), conv(before, after, 3, stride)
        self.n2, self.c2 = nn.BatchNorm2d(after), conv(after, after, 3)
        self.skip = conv(before, after, 1, stride) if before != after else None

    def forward(self, x):
        y = relu(self.n1(x))
        shortcut = self.skip(y) if self.skip else x
        return self.c2(relu(self.n2(self.c1(y)))) + shortcut


def preactivated():
    units = [Preactivated(8, 8, 1), Preactivated(8, 16, 2)]
    head = [nn.BatchNorm2d(16), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5)]
    return nn.Sequential(conv(3, 8, 7, 2), nn.MaxPool2d(3, 2, 1), *units, *head)


def mmpretrain():
    """A body and a head that lie beside each other."""
    network = fastai(averages=True)
    module = nn.Module()
    module.backbone, module.head = network[:-1], nn.Module()
    module.head.fc = network[-1]
    module.forward = lambda x: module.head.fc(module.backbone(x))
    return module


FAMILIES = {
    "kuangliu": Kuangliu,
    "kuangliu bottleneck": lambda: Kuangliu(bottleneck=True),
    "weiaicunzai": Weiaicunzai,
    "d2l": d2l,
    "fastai": fastai,
    "fastai with averages": lambda: fastai(averages=True),
    "a head beside": mmpretrain,
    "shortcuts first": early,
    "pre-activated": preactivated,
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("wrapped", [False, True])
def test_families_of_names(tmp_path, family, wrapped):
    module = trained(FAMILIES[family]())
    tensors = module.float().state_dict()
    torch.save({"net": tensors, "acc": 93.1, "epoch": 7} if wrapped else tensors, tmp_path / "net.pth")
    ours = read(tmp_path / "net.pth").network.double()
    x = torch.randn(2, 3, 48, 47, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        theirs = module.double()(x)
        difference = (ours(x) - theirs).abs().max() / (theirs.max() - theirs.min())
    assert difference < 1e-6


def folded(module):
    """Every norm folded into the convolution before it, and gone."""
    for name, child in module.named_children():
        setattr(module, name, folded(child))
    kept = []
    for child in module.children():
        if isinstance(child, nn.BatchNorm2d):
            child = nn.utils.fusion.fuse_conv_bn_eval(kept.pop().eval(), child.eval())
        kept.append(child)
    return nn.Sequential(*kept) if isinstance(module, nn.Sequential) else module


def test_norms_that_were_folded_are_identities_and_training_is_warned(tmp_path, capsys):
    module = trained(early()).float()
    theirs = folded(module)
    assert not any("running" in name for name in theirs.state_dict())
    torch.save(theirs.state_dict(), tmp_path / "net.pth")
    ours = read(tmp_path / "net.pth")
    said = capsys.readouterr().err
    assert "6 of its norms are missing, as if folded" in said
    assert ours.network.plan.spec.bias == "always"
    x = torch.randn(2, 3, 48, 47, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(ours.network(x), theirs(x), atol=1e-5)


def test_a_pooled_shortcut_that_the_user_names(tmp_path):
    """No tensor shows it: by itself a strided projection is assumed."""
    spec = thin("resnet50d")
    torch.save(shuffled_names(model_of(spec).network.state_dict()), tmp_path / "net.pth")
    assert read(tmp_path / "net.pth").network.plan.spec == replace(spec, shortcut="projection")
    found = read(tmp_path / "net.pth", network=spec)
    assert found.network.plan.spec == spec
    wanted = model_of(spec).network.state_dict()
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in found.network.state_dict().items())


@pytest.mark.parametrize(
    "network", ["resnet18", "resnet50", "resnetv2_50", "wrn_16_8", "preact_resnet164", "resnet50d"]
)
def test_our_own_state_dict(tmp_path, network):
    spec = thin(network)
    torch.save(model_of(spec).network.state_dict(), tmp_path / "own.pth")
    found = read(tmp_path / "own.pth")
    wanted = replace(spec, shortcut="projection") if spec.shortcut == "avgpool" else spec
    assert found.network.plan.spec == wanted
    state = model_of(spec).network.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in found.network.state_dict().items())


def test_a_body_without_a_head(tmp_path):
    spec = thin("resnet50")
    tensors = {name: t for name, t in state(spec, tmp_path).items() if not name.startswith("fc.")}
    torch.save(shuffled_names(tensors), tmp_path / "body.pth")
    assert load_body(tmp_path / "body.pth").model.network.plan.spec == spec
    with pytest.raises(ModelFileError, match="without a head"):
        read(tmp_path / "body.pth")


class Dense(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv(3, 8, 7), nn.BatchNorm2d(8))
        self.layers = nn.Sequential(*(nn.Sequential(nn.BatchNorm2d(c), conv(c, 8, 3)) for c in (8, 16, 24, 32)))
        self.fc = nn.Linear(40, 5)


def vgg():
    layers = []
    for before, after in [(3, 8), (8, 8), (8, 16), (16, 16), (16, 32), (32, 32)]:
        layers += [conv(before, after, 3), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(32, 5))


def squeezed():
    """With a gate in each unit."""
    units = []
    for _ in range(2):
        units += [conv(8, 8, 3), nn.BatchNorm2d(8), conv(8, 8, 3), nn.BatchNorm2d(8), nn.Linear(8, 2), nn.Linear(2, 8)]
    return nn.Sequential(conv(3, 8, 7), nn.BatchNorm2d(8), *units, nn.Linear(8, 5))


def in_groups():
    norm = lambda channels: nn.GroupNorm(2, channels)  # noqa: E731
    units = [conv(8, 8, 3), norm(8), conv(8, 8, 3), norm(8)] * 1
    return nn.Sequential(conv(3, 8, 7), norm(8), *units, nn.Linear(8, 5))


def normed_stem():
    """Pre-activated, and with a norm behind its stem's convolution, too, which the grammar has not."""
    network = preactivated()
    return nn.Sequential(network[0], nn.BatchNorm2d(8), nn.ReLU(), *network[1:])


class PlainProjections(nn.Module):
    """Post-activated, interleaved, and its projections have norms before them: no order of ours."""

    def __init__(self) -> None:
        super().__init__()
        layers = [
            conv(3, 8, 7),
            nn.BatchNorm2d(8),
            conv(8, 8, 3),
            nn.BatchNorm2d(8),
            conv(8, 16, 3),
            nn.BatchNorm2d(16),
        ]
        self.layers = nn.Sequential(*layers, nn.Linear(16, 5))


def headless_preactivation():
    """kuangliu's PreActResNet, which ends in an addition: no norm before the head."""
    return nn.Sequential(
        conv(3, 8, 3), nn.BatchNorm2d(8), conv(8, 8, 3), nn.BatchNorm2d(8), conv(8, 8, 3), nn.Linear(8, 5)
    )


OTHERS = {
    "dense": (Dense, "takes 16 channels, and 8 come in|does not keep the channels"),
    "vgg": (vgg, "does not keep the channels|no projection from 16 channels: that there are shortcuts"),
    "gates": (squeezed, "5 linear layers"),
    "groups": (in_groups, "a norm has four"),
    "odd": (PlainProjections, "does not keep the channels"),
    "pre without a last norm": (headless_preactivation, "shortcuts do not show at all"),
    "pre with a norm in its stem": (normed_stem, "has no place in it"),
}


@pytest.mark.parametrize("other", OTHERS)
def test_what_is_no_residual_network_is_refused_with_what_does_not_fit(tmp_path, other):
    make, words = OTHERS[other]
    torch.save(make().state_dict(), tmp_path / "net.pth")
    with pytest.raises(ModelFileError, match=rf"is no residual network: by its structure, .*({words})"):
        read(tmp_path / "net.pth")


def test_a_file_without_order_is_refused(tmp_path):
    from safetensors.torch import save_file

    save_file(shuffled_names(state(thin("resnet18"), tmp_path)), tmp_path / "net.safetensors")
    with pytest.raises(ModelFileError, match="safetensors keeps no order of tensors"):
        read(tmp_path / "net.safetensors")


@pytest.mark.parametrize("seed", range(20))
def test_one_wrong_size_is_named(tmp_path, seed):
    """By its foreign name and its shape."""
    tensors = shuffled_names(state(thin("resnet50"), tmp_path), seed)
    draw = random.Random(seed)
    name = draw.choice([name for name, tensor in tensors.items() if tensor.ndim == 4][1:])
    tensors[name] = torch.cat([tensors[name]] * 3, 1)
    torch.save(tensors, tmp_path / "net.pth")
    with pytest.raises(ModelFileError, match="is no residual network: by its structure, "):
        read(tmp_path / "net.pth")


def test_two_networks_are_refused(tmp_path):
    tensors = shuffled_names(state(thin("resnet18"), tmp_path))
    torch.save({"student": tensors, "teacher": tensors}, tmp_path / "net.pth")
    with pytest.raises(ModelFileError, match="2 networks are in it: student/, teacher/"):
        read(tmp_path / "net.pth")


def test_a_scale_of_no_layer_is_not_left_away(tmp_path):
    """As those of SkipInit and ReZero: the network would be another."""
    torch.save({**state(thin("resnet50"), tmp_path), "layer1.0.alpha": torch.tensor(0.2)}, tmp_path / "net.pth")
    with pytest.raises(ModelFileError, match=r"layer1.0.alpha"):
        read(tmp_path / "net.pth")


def test_sorted_names_of_norms_are_another_order(tmp_path):
    tensors = model_of(thin("resnet18")).network.state_dict()
    tensors = {name.replace("norm", "n_").replace("conv", "c_"): t for name, t in sorted(tensors.items())}
    torch.save(tensors, tmp_path / "net.pth")
    with pytest.raises(ModelFileError, match=r"its tensors are in another order|is no residual network"):
        read(tmp_path / "net.pth")


class Late(Early):
    """Its norms are defined behind all of its convolutions: whose they are does not show."""

    def __init__(self, before, after, stride) -> None:
        nn.Module.__init__(self)
        self.c1, self.c2 = conv(before, after, 3, stride), conv(after, after, 3)
        self.skip = conv(before, after, 1, stride) if before != after else nn.Identity()
        self.n0 = nn.BatchNorm2d(after) if before != after else nn.Identity()
        self.n1, self.n2 = nn.BatchNorm2d(after), nn.BatchNorm2d(after)


class Bare(Early):
    """Post-activated, and its projection, the last that is defined, has no norm."""

    def __init__(self, before, after, stride) -> None:
        nn.Module.__init__(self)
        self.c1, self.n1 = conv(before, after, 3, stride), nn.BatchNorm2d(after)
        self.c2, self.n2 = conv(after, after, 3), nn.BatchNorm2d(after)
        self.skip = conv(before, after, 1, stride) if before != after else nn.Identity()


def test_norms_whose_convolution_does_not_show_are_refused(tmp_path):
    torch.save(
        nn.Sequential(conv(3, 8, 7), nn.BatchNorm2d(8), Late(8, 16, 2), nn.Linear(16, 5)).state_dict(),
        tmp_path / "n.pth",
    )
    with pytest.raises(ModelFileError, match="do not follow the convolutions"):
        read(tmp_path / "n.pth")


def test_a_projection_without_a_norm_makes_no_preactivated_network(tmp_path):
    units = [Bare(8, 8, 1), Bare(8, 16, 2)]
    torch.save(
        nn.Sequential(conv(3, 8, 7), nn.BatchNorm2d(8), *units, nn.Linear(16, 5)).state_dict(), tmp_path / "n.pth"
    )
    assert read(tmp_path / "n.pth").network.plan.spec.order == "post"


def test_what_has_no_shortcuts_to_be_seen_is_refused(tmp_path):
    layers = [conv(3, 16, 3), nn.BatchNorm2d(16)]
    for _ in range(6):
        layers += [conv(16, 16, 3), nn.BatchNorm2d(16)]
    torch.save(nn.Sequential(*layers, nn.Linear(16, 5)).state_dict(), tmp_path / "n.pth")
    with pytest.raises(ModelFileError, match="shortcuts do not show at all"):
        read(tmp_path / "n.pth")
