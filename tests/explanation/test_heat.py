"""Heat: captum's own answer, the plan's layer, what stays as it was."""

from __future__ import annotations

import captum.attr
import numpy as np
import pytest
import torch

from resnets.architecture import ResNetSpec
from resnets.data.preprocess import Preprocessing
from resnets.errors import ResnetsError
from resnets.explanation import heat
from resnets.inference import Classifier
from resnets.network import create
from resnets.weights import Model

SMALL = {"depths": (1, 1, 1, 1), "widths": (8, 12, 16, 20), "stem_width": 8}
SPECS = {
    "post": ResNetSpec(**SMALL, block="basic"),
    "pre": ResNetSpec(**SMALL, block="bottleneck", order="pre"),
    "cifar": ResNetSpec(depths=(2, 1, 1), widths=(8, 16, 32), stem="cifar", stem_width=8, shortcut="pad"),
    "cifar, pre": ResNetSpec(depths=(1, 1), widths=(8, 16), stem="cifar", stem_width=8, block="basic", order="pre"),
    "same": ResNetSpec(**SMALL, block="basic", conv_padding="same", pool_padding="same"),
    "ceil": ResNetSpec(**SMALL, block="bottleneck", stride_conv="first", pool_padding="ceil"),
    "valid": ResNetSpec(**SMALL, block="basic", pool_padding="valid"),
    "last": ResNetSpec(**SMALL, block="bottleneck", order="pre", stride_unit="last", pool_padding="zero"),
}
each_spec = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)


def lively(spec: ResNetSpec, classes: int = 5) -> torch.nn.Module:
    """A network whose norms do something."""
    network = create(spec, num_classes=classes, seed=0).eval()
    torch.manual_seed(1)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0, 0.2)
    torch.nn.init.normal_(network.get_parameter("head.linear.weight"))
    return network


def some_classifier(spec: ResNetSpec, size: int = 64) -> Classifier:
    return Classifier(Model(lively(spec), tuple("abcde"), Preprocessing.evaluation(size)))


def some_pixels(count: int, size: int = 64) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def assert_close(mine: torch.Tensor, theirs: torch.Tensor) -> None:
    assert theirs.abs().max() > 0
    torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5 * float(theirs.abs().max()))


# against captum -------------------------------------------------------------------------------------------


@each_spec
@pytest.mark.parametrize("dense", [False, True])
def test_grad_cam_is_captums_at_what_the_head_pools(spec, dense):
    network = lively(spec)
    if dense:
        network = heat.dense(network)
    x, classes = torch.randn(3, 3, 64, 64), torch.tensor([0, 4, 2])
    layer = network.head.relu if spec.order == "pre" else getattr(network, network.stage_names[-1])
    theirs = captum.attr.LayerGradCam(network, layer).attribute(x, target=classes)
    assert_close(heat.grad_cam(network, x, classes), theirs[:, 0].detach())


@pytest.mark.parametrize("name", ["post", "pre", "cifar"])
def test_integrated_gradients_is_captums(name):
    network = lively(SPECS[name])
    x, classes = torch.randn(2, 3, 64, 64), torch.tensor([1, 3])
    theirs = captum.attr.IntegratedGradients(network).attribute(x, target=classes, n_steps=8)
    assert_close(heat.integrated_gradients(network, x, classes, steps=8), theirs.float())


# what the maps promise ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["post", "pre", "cifar"])
def test_integrated_gradients_adds_up_to_the_score(name):
    network = lively(SPECS[name])
    x, classes = torch.randn(2, 3, 32, 32), torch.tensor([1, 3])
    with torch.no_grad():
        rise = (network(x) - network(torch.zeros_like(x))).gather(1, classes[:, None])[:, 0]
    given = heat.integrated_gradients(network, x, classes, steps=64).sum(dim=(1, 2, 3))
    torch.testing.assert_close(given, rise, rtol=0.02, atol=0.02)


@each_spec
@pytest.mark.parametrize("size", [64, 75])
def test_a_dense_reading_keeps_what_the_network_says_and_adds_what_lies_between(spec, size):
    network = lively(spec)
    finer = heat.dense(network)
    x, classes = torch.randn(1, 3, size, size), torch.tensor([2])
    maps, fine = (heat.grad_cam(one, x, classes)[0] for one in (network, finer))
    if network.plan.output_stride <= heat.STRIDE or spec.stem == "cifar" or spec.conv_padding == "same":
        torch.testing.assert_close(maps, fine)
        return
    assert len(fine) > len(maps)
    places, finely = (heat.centres(one.plan, size).tolist() for one in (network, finer))
    assert (len(places), len(finely)) == (len(maps), len(fine))
    at = [finely.index(place) for place in places]
    maps, fine = maps * maps.numel(), fine[at][:, at] * fine.numel()
    torch.testing.assert_close(maps, fine, rtol=1e-3, atol=1e-3 * float(fine.abs().max()))


@each_spec
def test_cells_lie_where_the_network_looks(spec):
    """The middle of the pixels that a cell depends on, by gradients."""
    network = heat.dense(lively(spec))
    for module in network.modules():
        if isinstance(module, torch.nn.ReLU):
            module.inplace = False
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.constant_(module.weight, 0.01)
        if isinstance(module, torch.nn.BatchNorm2d):
            module.reset_parameters()
    x = torch.ones(1, 3, 257, 257, requires_grad=True)
    maps = network.features(x)[network.stage_names[-1]]
    cell = maps.shape[-1] // 2
    (gradient,) = torch.autograd.grad(maps[0, :, cell, cell].sum(), x)
    across = gradient.abs().sum(dim=(0, 1, 2))
    reached = across.nonzero()[:, 0]
    assert float(reached[0]) > 0, "not the whole picture, or its middle says nothing"
    # Among equal values a max pool hands its gradient to the first: one pixel of it, at the stem's stride.
    assert heat.centres(network.plan, 257)[cell] == pytest.approx(float(reached[0] + reached[-1]) / 2, abs=2)


@pytest.mark.parametrize("method", heat.METHODS)
@pytest.mark.parametrize("name", ["post", "pre", "cifar"])
def test_heat_is_between_0_and_1_and_the_same_in_any_batch(name, method, monkeypatch):
    classifier, pixels = some_classifier(SPECS[name]), some_pixels(5)
    classes = [4, 0, 1, 2, 3]
    maps = heat.heat(classifier, pixels, classes, method)
    assert (maps.shape, maps.dtype) == ((5, 64, 64), np.float32)
    assert maps.min() >= 0
    for one in maps:
        assert one.max() == 1 or not one.any()
    assert np.ptp(maps) > 0
    monkeypatch.setattr(heat, "BATCH", 2)
    np.testing.assert_allclose(heat.heat(classifier, pixels, np.array(classes), method), maps, atol=1e-4)
    other = heat.heat(classifier, pixels, [0, 1, 2, 3, 4], method)
    assert np.abs(other - maps).max() > 0.1, "another class, another map"


@pytest.mark.parametrize("method", heat.METHODS)
def test_explaining_leaves_the_network_as_it_was(method):
    classifier, pixels = some_classifier(SPECS["pre"]), some_pixels(2)
    network = classifier.network
    frozen = network.get_parameter("head.linear.bias").requires_grad_(False)
    wanted = [p.requires_grad for p in network.parameters()]
    before, engine, threads = classifier.digest, classifier.session, torch.get_num_threads()
    torch.manual_seed(3)
    state = torch.get_rng_state()
    with torch.inference_mode():
        heat.heat(classifier, pixels, [0, 1], method)
    assert torch.equal(torch.get_rng_state(), state)
    assert [p.requires_grad for p in network.parameters()] == wanted
    assert not frozen.requires_grad
    assert all(p.grad is None for p in network.parameters())
    assert not any(module.training for module in network.modules())
    assert not any(module._forward_hooks for module in network.modules())
    assert (classifier.digest, torch.get_num_threads()) == (before, threads)
    assert classifier.session is engine


def test_where_nothing_speaks_for_a_class_the_map_is_zero():
    classifier = some_classifier(SPECS["cifar"], 32)
    with torch.no_grad():
        classifier.network.get_parameter("head.linear.weight").neg_().abs_().neg_()  # every feature speaks against
    assert not heat.heat(classifier, some_pixels(2, 32), [0, 1]).any()


def test_the_trained_network_looks_at_the_digit(classifier):
    """The digits are bright on black: what is black all over cannot be what speaks for a class."""
    from resnets.data.cache import cached
    from resnets.data.open import open_source

    source = open_source("digits")
    cache = cached(source, source.samples[:200:10], classifier.preprocessing)
    classes = [classifier.classes.index(sample.label) for sample in cache.samples]
    maps = heat.heat(classifier, cache.images, classes)
    ink = cache.images.mean(axis=3) / 255
    assert (maps * ink).sum() / maps.sum() > ink.mean()


@pytest.mark.parametrize(("method", "said"), [("gradcam", 'Did you mean "grad-cam"'), ("?", "There are grad-cam and")])
def test_a_method_that_there_is_not(method, said):
    with pytest.raises(ResnetsError, match=said):
        heat.heat(some_classifier(SPECS["cifar"]), some_pixels(1), [0], method)


def test_an_overlay_is_brighter_where_it_is_hot():
    pixels = np.full((8, 8, 3), 100, np.uint8)
    hot = np.zeros((8, 8), np.float32)
    hot[2, 5] = 1
    over = heat.overlay(pixels, hot)
    assert (over.shape, over.dtype) == (pixels.shape, np.uint8)
    assert over[2, 5].sum() > over[0, 0].sum()
    assert (over[0, 0] == over[7, 7]).all()
