"""Keras: whether the configuration in a file describes the network that its weights are read as."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from test_keras import KERAS, V1, as_keras, network

from resnets.architecture import ResNetSpec, plan
from resnets.architecture.catalog import CATALOG
from resnets.errors import ModelFileError
from resnets.weights.recognise import recognise

V2 = replace(CATALOG["keras_resnet50v2"], depths=(2, 3, 2), widths=(4, 8, 16), stem_width=8)


class Builder:
    """Notes layers as keras.applications makes them: `add` gives a layer's name, for others to read it."""

    def __init__(self, version: int) -> None:
        self.version = version
        self.layers: list[dict[str, Any]] = []

    def add(self, kind: str, name: str, *reads: str, **settings: Any) -> str:
        if self.version == 2:
            nodes: list[Any] = [[[x, 0, 0, {}] for x in reads]] if reads else []
        else:
            tensors = [{"class_name": "__keras_tensor__", "config": {"keras_history": [x, 0, 0]}} for x in reads]
            nodes = [{"args": [tensors] if kind == "Add" else tensors, "kwargs": {}}] if reads else []
        self.layers.append({"class_name": kind, "config": {"name": name, **settings}, "inbound_nodes": nodes})
        return name

    def pad(self, name: str, x: str, pixels: int) -> str:
        return self.add("ZeroPadding2D", name, x, padding=[[pixels] * 2] * 2, data_format="channels_last")

    def conv(self, name: str, x: str, kernel: int, stride: int = 1, padding: str = "valid") -> str:
        sizes = {"kernel_size": [kernel] * 2, "strides": [stride] * 2, "padding": padding, "dilation_rate": [1, 1]}
        return self.add("Conv2D", name, x, **sizes, groups=1, activation="linear", data_format="channels_last")

    def norm(self, name: str, x: str) -> str:
        axis = [3] if self.version == 2 else 3
        return self.add("BatchNormalization", name, x, axis=axis, epsilon=1e-3, momentum=0.9, center=True, scale=True)

    def relu(self, name: str, x: str) -> str:
        return self.add("Activation", name, x, activation="relu")

    def block1(self, b: str, x: str, stride: int, projects: bool) -> str:
        shortcut = self.norm(f"{b}_0_bn", self.conv(f"{b}_0_conv", x, 1, stride)) if projects else x
        x = self.relu(f"{b}_1_relu", self.norm(f"{b}_1_bn", self.conv(f"{b}_1_conv", x, 1, stride)))
        x = self.relu(f"{b}_2_relu", self.norm(f"{b}_2_bn", self.conv(f"{b}_2_conv", x, 3, padding="same")))
        x = self.norm(f"{b}_3_bn", self.conv(f"{b}_3_conv", x, 1))
        return self.relu(f"{b}_out", self.add("Add", f"{b}_add", shortcut, x))

    def block2(self, b: str, x: str, stride: int, projects: bool) -> str:
        active = self.relu(f"{b}_preact_relu", self.norm(f"{b}_preact_bn", x))
        if projects:
            shortcut = self.conv(f"{b}_0_conv", active, 1, stride)
        elif stride > 1:
            pool = {"pool_size": [1, 1], "strides": [2, 2], "padding": "valid"}
            shortcut = self.add("MaxPooling2D", f"max_pooling2d_{len(self.layers)}", x, **pool)
        else:
            shortcut = x
        x = self.relu(f"{b}_1_relu", self.norm(f"{b}_1_bn", self.conv(f"{b}_1_conv", active, 1)))
        x = self.conv(f"{b}_2_conv", self.pad(f"{b}_2_pad", x, 1), 3, stride)
        x = self.conv(f"{b}_3_conv", self.relu(f"{b}_2_relu", self.norm(f"{b}_2_bn", x)), 1)
        return self.add("Add", f"{b}_out", shortcut, x)

    def body(self, spec: ResNetSpec) -> str:
        v2 = spec.order == "pre"
        x = self.add("InputLayer", "input_7", batch_input_shape=[None, 160, 160, 3])
        x = self.conv("conv1_conv", self.pad("conv1_pad", x, 3), 7, 2)
        x = x if v2 else self.relu("conv1_relu", self.norm("conv1_bn", x))
        x = self.add("MaxPooling2D", "pool1_pool", self.pad("pool1_pad", x, 1), pool_size=[3, 3], strides=[2, 2])
        for s, depth in enumerate(spec.depths):
            for u in range(depth):
                if v2:
                    stride = 2 if u == depth - 1 and s < len(spec.depths) - 1 else 1
                else:
                    stride = 2 if u == 0 and s > 0 else 1
                x = (self.block2 if v2 else self.block1)(f"conv{s + 2}_block{u + 1}", x, stride, u == 0)
        return self.relu("post_relu", self.norm("post_bn", x)) if v2 else x

    def head(self, x: str, activation: str = "softmax") -> str:
        pooled = self.add("GlobalAveragePooling2D", "avg_pool", x, data_format="channels_last", keepdims=False)
        return self.add("Dense", "predictions", pooled, activation=activation, use_bias=True)

    def model(self, output: str) -> dict[str, Any]:
        place = [output, 0, 0]
        config = {"name": "net", "layers": self.layers, "output_layers": [place] if self.version == 2 else place}
        return {"class_name": "Functional", "config": config}


def built(spec: ResNetSpec = V1, version: int = 3, activation: str = "softmax") -> dict[str, Any]:
    builder = Builder(version)
    return builder.model(builder.head(builder.body(spec), activation))


def layer_of(config: dict[str, Any], name: str) -> dict[str, Any]:
    (layer,) = (layer for layer in config["config"]["layers"] if layer["config"]["name"] == name)
    return layer


def recognised(config: Any, spec: ResNetSpec = V1) -> Any:
    return recognise(as_keras(network(spec), config))


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("activation", ["softmax", "linear", None])
@pytest.mark.parametrize("spec", [V1, V2], ids=["v1", "v2"])
def test_what_keras_applications_builds_is_recognised(spec, version, activation):
    found = recognised(built(spec, version, activation), spec)
    assert (found.plan.spec.norm_eps, found.plan.spec.norm_momentum) == (1e-3, 0.1)
    assert KERAS.preprocessing(found.file, found.plan.spec).image_size == 160


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("spec", [V1, V2], ids=["v1", "v2"])
def test_a_body_within_a_model_is_recognised_with_layers_that_do_nothing_around_it(spec, version):
    body, whole = Builder(version), Builder(version)
    inner = body.model(body.body(spec))
    x = whole.add("RandomFlip", "flip", whole.add("InputLayer", "input_9"))
    x = whole.add("Functional", "base", x, layers=body.layers, output_layers=inner["config"]["output_layers"])
    x = whole.add("Dropout", "dropout", whole.add("GlobalAveragePooling2D", "pool", x))
    x = whole.add("Softmax", "softmax", whole.add("Dense", "predictions", x))
    recognised(whole.model(x), spec)


def test_a_sequential_model_reads_its_layers_in_turn():
    body = Builder(3)
    dense = {"class_name": "Dense", "config": {"name": "predictions"}}
    layers = [
        body.model(body.body(V1)),
        {"class_name": "GlobalAveragePooling2D", "config": {"name": "pool"}},
        {"class_name": "Flatten", "config": {"name": "flatten"}},
    ]
    recognised({"class_name": "Sequential", "config": {"layers": [*layers, dense]}})
    with pytest.raises(ModelFileError, match=r"'predictions' on top of 'conv4_block2_out'"):
        recognised({"class_name": "Sequential", "config": {"layers": [layers[0], dense]}})


def test_a_relu_may_be_a_layer_of_its_own_class_and_name():
    config = built()
    layer_of(config, "conv1_relu").update(class_name="ReLU", config={"name": "conv1_relu", "negative_slope": 0.0})
    recognised(config)


VALUES = {
    "conv1_pad": {"padding": [[7, 7], [7, 7]]},
    "conv1_conv": {"strides": [1, 1]},
    "conv2_block1_1_conv": {"activation": "tanh"},
    "conv2_block1_2_conv": {"dilation_rate": [4, 4]},
    "conv2_block2_2_conv": {"padding": "valid"},
    "conv2_block2_3_conv": {"groups": 2},
    "conv3_block1_0_conv": {"data_format": "channels_first"},
    "conv1_bn": {"axis": 1},
    "conv2_block1_1_bn": {"center": False},
    "conv2_block1_2_bn": {"scale": False},
    "conv2_block1_3_bn": {"renorm": True},
    "conv2_block1_out": {"activation": "swish"},
    "pool1_pool": {"pool_size": [5, 5]},
    "avg_pool": {"keepdims": True},
    "predictions": {"activation": "sigmoid"},
}


@pytest.mark.parametrize("name", VALUES)
def test_another_value_of_a_setting_is_refused_by_name(name):
    ((key, value),) = VALUES[name].items()
    config = built()
    layer_of(config, name)["config"][key] = value
    with pytest.raises(ModelFileError) as refused:
        recognised(config)
    assert f"its configuration has the {key} {value!r} in '{name}', which keras.appl" in str(refused.value)


@pytest.mark.parametrize("base", [V1, V2], ids=["v1", "v2"])
def test_a_stage_that_is_dilated_in_the_plan_must_be_so_in_the_configuration(base):
    """Behind a reduction by 32 our stages are dilated instead of strided."""
    spec = replace(base, depths=(1,) * 5, widths=(4, 8, 16, 32, 64))
    config = built(spec)
    first = "conv6_block1_1_conv" if base is V1 else "conv5_block1_2_conv"
    for name in (first, f"{first[:12]}_0_conv"):
        layer_of(config, name)["config"]["strides"] = [1, 1]
    with pytest.raises(ModelFileError, match=r"(dilation_rate|padding) .*'conv6_block1_2_(conv|pad)'"):
        recognised(config, spec)
    layer_of(config, "conv6_block1_2_conv")["config"]["dilation_rate"] = [2, 2]
    if base is V2:
        layer_of(config, "conv6_block1_2_pad")["config"]["padding"] = [[2, 2], [2, 2]]
    recognised(config, spec)


@pytest.mark.parametrize(("key", "value"), [("max_value", 6), ("negative_slope", 0.3), ("threshold", 0.1)])
def test_a_relu_of_another_shape_is_refused(key, value):
    config = built()
    layer_of(config, "conv3_block1_1_relu").update(class_name="ReLU", config={"name": "r", key: value})
    with pytest.raises(ModelFileError, match=f"the {key} {value} in 'r'"):
        recognised(config)


def test_what_a_configuration_leaves_out_is_as_keras_has_it():
    config = built()
    del layer_of(config, "conv2_block1_1_conv")["config"]["strides"]
    for layer in config["config"]["layers"]:
        layer["config"].pop("epsilon", None)
    assert recognised(config).plan.spec.norm_eps == 1e-3
    del layer_of(config, "conv3_block1_1_conv")["config"]["strides"]
    with pytest.raises(ModelFileError, match="the strides 1 in 'conv3_block1_1_conv'"):
        recognised(config)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("Rescaling", {"scale": 1 / 255}),
        ("RandomCrop", {"height": 100, "width": 100}),
        ("LeakyReLU", {}),
        ("GlobalMaxPooling2D", {}),
    ],
)
def test_a_layer_of_another_class_is_refused(kind, settings):
    builder = Builder(3)
    x = builder.add(kind, "mine", builder.body(V1), **settings)
    with pytest.raises(ModelFileError, match=f"its configuration has a layer '{kind}', which keras.applications"):
        recognised(builder.model(builder.head(x)))


def rewired(name: str, *reads: str) -> Callable[[dict[str, Any], int], None]:
    def rewire(config: dict[str, Any], version: int) -> None:
        builder = Builder(version)
        layer = layer_of(config, name)
        builder.add(layer["class_name"], name, *reads)
        layer["inbound_nodes"] = builder.layers[0]["inbound_nodes"]

    return rewire


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize(
    ("rewire", "says"),
    [
        (rewired("conv2_block2_add", "conv2_block1_add", "conv2_block2_3_bn"), "conv2_block2_add"),
        (rewired("conv2_block2_add", "conv2_block1_out"), "conv2_block2_add"),
        (rewired("conv3_block1_add", *["conv3_block1_0_bn", "conv3_block1_3_bn"] * 2), "conv3_block1_add"),
        (rewired("conv2_block2_1_conv", "conv2_block1_add"), "'conv2_block2_1_conv' on top of 'conv2_block1_add'"),
        (rewired("conv2_block1_2_conv", "conv2_block1_1_bn"), "'conv2_block1_2_conv' on top of 'conv2_block1_1_bn'"),
        (rewired("conv1_conv", "input_7"), "'conv1_conv' on top of 'input_layer'"),
        (rewired("pool1_pool", "conv1_relu"), "'pool1_pool' on top of 'conv1_relu'"),
        (rewired("avg_pool", "conv4_block1_out"), "'avg_pool' on top of 'conv4_block1_out'"),
        (rewired("predictions", "nowhere"), "does not say what each layer reads"),
    ],
)
def test_another_wiring_is_refused(version, rewire, says):
    config = built(V1, version)
    rewire(config, version)
    with pytest.raises(ModelFileError, match=says):
        recognised(config)


def test_the_inputs_of_an_addition_may_be_in_any_order():
    config = built()
    rewired("conv2_block2_add", "conv2_block2_3_bn", "conv2_block1_out")(config, 3)
    recognised(config)


def test_another_output_is_refused():
    config = built()
    config["config"]["output_layers"] = ["avg_pool", 0, 0]
    with pytest.raises(ModelFileError, match="has its output at 'avg_pool'"):
        recognised(config)


def test_a_layer_that_always_trains_is_refused():
    config = built(V1, 2)
    layer_of(config, "conv1_bn")["inbound_nodes"][0][0][3] = {"training": True}
    with pytest.raises(ModelFileError, match="'conv1_bn' in training at all times"):
        recognised(config)


def deep(levels: int) -> dict[str, Any]:
    model = built()
    for _ in range(levels):
        model = {"class_name": "Sequential", "config": {"name": "m", "layers": [model]}}
    return model


@pytest.mark.parametrize(
    "config",
    [
        {"class_name": "MyNet", "config": {}},
        {"class_name": "Sequential", "config": [{"class_name": "Dense"}]},
        {"class_name": "Functional", "config": {"layers": [3]}},
        {"class_name": ["Functional"], "config": {"layers": []}},
        {"class_name": "Functional", "config": {"layers": [], "output_layers": []}},
        deep(300),
    ],
    ids=["a class of one's own", "a list", "a number", "a list for a name", "nothing", "too deep"],
)
def test_a_configuration_of_no_known_form_is_refused(config):
    with pytest.raises(ModelFileError, match=r"save the weights alone|has a layer 'MyNet'"):
        recognised(config)


def test_a_configuration_beside_weights_of_blocks_that_keras_applications_has_not_is_refused():
    spec = replace(V1, block="basic", stride_conv="spatial")
    with pytest.raises(ModelFileError, match=r"none of keras\.applications' ResNets"):
        KERAS.check(as_keras(network(V1), built()), plan(spec), {})


OTHERS = ["resnet50", "resnet18", "preact_resnet110", "slim_resnet_v1_50", "resnet50d"]


@pytest.mark.parametrize("name", OTHERS)
def test_a_network_that_keras_applications_does_not_build_is_not_written_as_one(name):
    with pytest.raises(ModelFileError, match=r"^keras\.applications has bottleneck networks .* keras_\* networks"):
        KERAS.naming(plan(name))


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("spec", [V1, V2], ids=["v1", "v2"])
def test_a_body_may_end_before_or_behind_the_pool(spec, version, pooled):
    """include_top=False, without and with pooling="avg"."""
    builder = Builder(version)
    output = builder.body(spec)
    if pooled:
        output = builder.add("GlobalAveragePooling2D", "global_pool", output, data_format="channels_last")
    file = as_keras(network(spec), builder.model(output))
    tensors = {name: t for name, t in file.tensors.items() if not name.startswith("predictions/")}
    found = recognise(replace(file, tensors=tensors), body=True)
    assert found.headless
    assert found.plan.spec.depths == spec.depths
    with pytest.raises(ModelFileError, match="without a head"):
        recognise(replace(file, tensors=tensors))


def test_a_body_that_ends_earlier_is_none():
    builder = Builder(3)
    builder.body(V1)
    file = as_keras(network(V1), builder.model("conv4_block1_out"))
    tensors = {name: t for name, t in file.tensors.items() if not name.startswith("predictions/")}
    with pytest.raises(ModelFileError, match=r"conv4_block1_out|predictions"):
        recognise(replace(file, tensors=tensors), body=True)
