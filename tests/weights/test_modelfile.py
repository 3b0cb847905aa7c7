from __future__ import annotations

import copy
import dataclasses
import errno
import hashlib
import json
import os
import pickle
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from resnets.architecture import ResNetSpec
from resnets.data.preprocess import Preprocessing
from resnets.errors import ModelFileError, ResnetsError
from resnets.network import create
from resnets.training import train
from resnets.weights import Calibration, Model, Provenance, container, modelfile, save
from resnets.weights.calibration import Fit, Usual
from resnets.weights.modelfile import load

TINY = ResNetSpec(depths=(1, 1), widths=(4, 8), stem="cifar", stem_width=4)
CLASSES = ("cat", "dög", "odd\udcff\n\u2028name")  # the last as a Linux folder name can be


def make(spec=TINY, classes=CLASSES, **fields) -> Model:
    network = create(spec, num_classes=len(classes), seed=1)
    generator = torch.Generator().manual_seed(2)
    for name, tensor in network.state_dict().items():  # statistics and a head as after training
        if "running" in name or "head.linear" in name:
            tensor.copy_(torch.rand(tensor.shape, generator=generator) - 0.5 * ("var" not in name))
    return Model(network, classes, Preprocessing.evaluation(8), **fields)


@pytest.fixture
def path(tmp_path) -> Path:
    save(tmp_path / "model.safetensors", make())
    return tmp_path / "model.safetensors"


def parts(path: Path) -> tuple[dict, dict[str, torch.Tensor]]:
    text, tensors, intact = container.read(path)
    assert intact
    return json.loads(text), {name: tensor.clone() for name, tensor in tensors.items()}


def refusal(path: Path) -> str:
    with pytest.raises(ModelFileError) as caught:
        load(path)
    message = str(caught.value)
    assert message.startswith(str(path)) or f" {path}." in message, "the file is named"
    assert message.endswith((".", "?"))
    assert "\n" not in message
    return message


# What comes back ---------------------------------------------------------------------------------------


def test_everything_comes_back(tmp_path):
    mean_image = np.linspace(0, 1, 192, dtype=np.float32).reshape(3, 8, 8)
    preprocessing = Preprocessing.evaluation(8, channels="BGR", interpolation="bicubic", mean_image=mean_image)
    model = dataclasses.replace(
        make(
            calibration=Calibration(temperature=1.5, unsure=0.4),
            provenance=Provenance(seed=3, other={"nested": {"a": [1.5]}}),
        ),
        preprocessing=preprocessing,
    )
    save(tmp_path / "m.safetensors", model)
    loaded = load(tmp_path / "m.safetensors")

    assert loaded.classes == CLASSES
    assert loaded.preprocessing == preprocessing
    assert loaded.calibration == model.calibration
    assert loaded.provenance == model.provenance
    assert loaded.network.plan.spec == TINY
    assert not loaded.network.training
    state = loaded.network.state_dict()
    for name, tensor in model.network.state_dict().items():
        assert torch.equal(state[name], tensor), name
    x = torch.rand(2, 3, 8, 8)
    assert torch.equal(loaded.network(x), model.network.eval()(x))


def test_weights_in_float16_take_half_the_bytes_and_are_the_rounded_ones(tmp_path):
    model = make()
    save(tmp_path / "whole.safetensors", model)
    save(tmp_path / "half.safetensors", model, half=True)
    whole, half = (parts(tmp_path / f"{name}.safetensors") for name in ("whole", "half"))
    for name, tensor in whole[1].items():  # what counts batches stays as it is
        assert half[1][name].nbytes == tensor.nbytes // (2 if tensor.is_floating_point() else 1)
    loaded = load(tmp_path / "half.safetensors")
    for name, tensor in loaded.network.state_dict().items():
        wanted = model.network.state_dict()[name]
        assert tensor.dtype == wanted.dtype
        assert torch.equal(tensor, wanted.half().float() if wanted.is_floating_point() else wanted), name
    save(tmp_path / "again.safetensors", loaded, half=True)
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "half.safetensors").read_bytes()


def test_a_weight_that_float16_cannot_hold_is_named(tmp_path):
    model = make()
    model.network.state_dict()["head.linear.weight"][0] = 1e6
    save(tmp_path / "m.safetensors", model)
    with pytest.raises(ModelFileError, match=r"head\.linear\.weight has values too large for float16; save it in"):
        save(tmp_path / "m.safetensors", model, half=True)
    assert load(tmp_path / "m.safetensors").network.state_dict()["head.linear.weight"][0, 0] == 1e6


@pytest.mark.parametrize("order", ["post", "pre"])
def test_what_a_norm_divides_out_is_no_reason_to_refuse(tmp_path, order):
    """As after a long training with Muon: convolutions, and what their norms have seen, a million times as large."""
    spec = dataclasses.replace(TINY, order=order)
    model = make(spec)
    with torch.no_grad():
        model.network.train()(torch.rand(16, 3, 8, 8))
        state, plan = model.network.state_dict(), model.network.plan
        read = [role for row in plan.rows for role in row.reads]
        for row in plan.rows:
            if row.kind == "norm" and "conv" in row.reads[0] and read.count(row.reads[0]) == 1:
                state[f"{row.reads[0]}.weight"] *= 1e6
                state[f"{row.role}.running_mean"] *= 1e6
                state[f"{row.role}.running_var"] *= 1e12
    x = torch.rand(4, 3, 8, 8)
    wanted = model.network.eval()(x)
    save(tmp_path / "m.safetensors", model, half=True)
    given = load(tmp_path / "m.safetensors").network(x)
    assert (given - wanted).abs().max() < 1e-2 * (wanted.max() - wanted.min())


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_network_that_is_not_float32_is_not_saved_over_a_good_file(path, half, dtype):
    before = path.read_bytes()
    model = make()
    with pytest.raises(ModelFileError, match=r"was not written: .*float32"):
        save(path, dataclasses.replace(model, network=model.network.to(dtype)), half=half)
    assert path.read_bytes() == before


def test_a_file_that_stores_something_else_is_refused(path):
    document, tensors = parts(path)
    container.write(path, json.dumps({**document, "stored": "bfloat99"}), tensors)
    assert "its weights are stored as 'bfloat99'" in refusal(path)


def test_halves_are_no_weights_of_a_file_that_does_not_say_so(tmp_path):
    save(tmp_path / "m.safetensors", make(), half=True)
    document, tensors = parts(tmp_path / "m.safetensors")
    del document["stored"]
    container.write(tmp_path / "m.safetensors", json.dumps(document), tensors)
    assert "torch.float32 (3,), but there is torch.float16 (3,)" in refusal(tmp_path / "m.safetensors")


def test_what_a_plan_depends_on_comes_back(tmp_path):
    network = create(TINY, num_classes=2, in_channels=5, output_stride=8, seed=0)
    save(tmp_path / "m.safetensors", Model(network, ("a", "b"), Preprocessing.evaluation(8)))
    p = load(tmp_path / "m.safetensors").network.plan
    assert (p.num_classes, p.in_channels, p.output_stride) == (2, 5, 8)


def still(**fields) -> Model:
    """A network whose logits are the same on every machine: its head's bias."""
    network = create(TINY, num_classes=3, seed=1)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor.zero_()
        network.get_parameter("head.linear.bias").copy_(torch.tensor([0.5, -1.0, 2.0]))
    return Model(network, ("cat", "dög", "eel"), Preprocessing.evaluation(8), **fields)


USUAL = Usual((0.5, 1.0), ((1.0, 0.0), (0.25, 2.0)), 3.5)


def fit(temperature: float, unlike: Usual | None = USUAL) -> dict:
    return {"temperature": temperature, "unsure": 0.25, "unlike": unlike}


def calibration(*unlike: None) -> Calibration:
    halves = Fit(**fit(1.25, *unlike)), Fit(**fit(1.75, *unlike))
    return Calibration(**fit(1.5, *unlike), coverage=0.9, fitted_on=("00ff", "11aa"), halves=halves)


TRAINED = Provenance(
    network="resnet20",
    dataset={"name": "p", "fingerprint": "ab", "split": {"origin": "seeded", "seed": 0, "fraction": 0.2}},
    recipe={"epochs": 3},
    epochs=3,
    seed=0,
    versions={"torch": "2"},
    metrics={"top1": 0.5},
)
CONVERTED = Provenance(
    converted={"dialect": "timm", "network": "resnet20", "files": []}, pretrained={"tag": "t", "licence": None}
)
ODD = {"dataset": "abc", "seed": None, "when": [1, 2], "network": {"a": 1}}


@pytest.mark.parametrize(
    ("fields", "sha256"),
    [
        ({}, "499fb110928148972c95495d21c74b62100fdb3ee223cf22140ce667972658ac"),
        (
            {"calibration": calibration(), "provenance": TRAINED},
            "4811b96077bce0afe7a59ae88e3e49cefa9e6df672b65b0c120e75182e34bec6",
        ),
        (
            {"calibration": calibration(None), "provenance": CONVERTED},
            "2baeaccc652c0937d589870adb3f115faf74b396981aca88ab261dc8f0fb1b04",
        ),
        (
            {"provenance": Provenance.from_dict(ODD)},
            "ed9dd0ff54421226b726a45c6eef630b2eefd3811a380734e52678040dc5433e",
        ),
    ],
    ids=["neither", "trained", "converted", "anything"],
)
def test_a_file_has_the_bytes_that_it_had_when_both_were_dictionaries(tmp_path, fields, sha256):
    path = tmp_path / "m.safetensors"
    save(path, still(**fields))
    assert hashlib.sha256(path.read_bytes()).hexdigest() == sha256
    loaded = load(path)
    for name, value in fields.items():
        assert getattr(loaded, name) == value
    save(path, loaded)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == sha256


def test_a_model_is_not_changed_but_replaced():
    model = make()
    for name in ("network", "classes", "preprocessing", "calibration", "provenance"):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(model, name, None)


def test_a_loaded_network_can_be_trained_and_its_file_replaced(path):
    model = load(path)
    model.network.train()(torch.rand(2, 3, 8, 8)).sum().backward()
    weight = model.network.get_parameter("stem.conv.weight")
    before = weight.detach().clone()
    path.write_bytes(b"\xff" * path.stat().st_size)  # in place: a mapped tensor would change
    assert torch.equal(weight, before)
    assert weight.grad is not None


def test_any_safetensors_reader_can_read_it(path):
    with safe_open(path, framework="pt") as file:
        assert set(file.metadata()) == {"resnets", "sha256"}
        assert torch.equal(file.get_tensor("head.linear.bias"), make().network.get_parameter("head.linear.bias"))
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    assert length % 8 == 0, "tensors are aligned"
    metadata, *entries = json.loads(data[8 : 8 + length]).items()
    assert (metadata[0], list(metadata[1])) == ("__metadata__", ["resnets", "sha256"])
    assert entries == sorted(entries, key=lambda entry: (entry[1]["dtype"] != "I64", entry[0]))


def test_equal_models_give_equal_files_whatever_their_mode_and_layout(path, tmp_path):
    model = make()
    model.network.train().to(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        save(tmp_path / "other.safetensors", model)
        assert load(tmp_path / "other.safetensors").classes == CLASSES
    assert (tmp_path / "other.safetensors").read_bytes() == path.read_bytes()


def test_saving_and_loading_disturb_nothing(tmp_path):
    model = make()
    model.network.train()
    state = copy.deepcopy(model.network.state_dict())
    random = torch.get_rng_state()
    save(tmp_path / "m.safetensors", model)
    load(tmp_path / "m.safetensors")
    assert torch.equal(torch.get_rng_state(), random), "an exact resume needs the same random numbers"
    assert model.network.training
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.network.state_dict().items())


def test_the_input_of_the_self_test_is_the_documented_formula():
    x = modelfile.self_test_input(3, 4)
    assert x.shape == (2, 3, 4, 4)
    assert x.dtype == torch.float32
    i = 2 * 3 * 4 * 4 - 1
    assert x.flatten()[i].item() == np.float32((i * 2654435761 % 2**32) / 2**31 - 1)
    assert x.flatten()[0].item() == -1


# What is refused: files ---------------------------------------------------------------------------------


def test_any_changed_byte_is_refused(path, tmp_path):
    good = path.read_bytes()
    header = 8 + int.from_bytes(good[:8], "little")
    broken = tmp_path / "broken.safetensors"
    positions = [*range(100), *range(100, header, 5), *range(header, len(good), 61), len(good) - 1]
    accepted = []
    for count, position in enumerate(positions):
        data = bytearray(good)
        data[position] ^= (0x01, 0x20, 0x80, 0x29, 0xFF, 0x02)[count % 6]
        broken.write_bytes(data)
        try:
            load(broken)
            accepted.append(position)
        except ModelFileError:
            pass
    assert accepted == []


@pytest.mark.parametrize("blank", b"\t\n\r")
def test_blanks_at_the_end_of_the_header_are_no_hiding_place(path, blank):
    data = path.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    for position in range(end - 12, end):
        path.write_bytes(data[:position] + bytes([blank]) + data[position + 1 :])
        refusal(path)


def test_a_truncated_file_is_refused(path):
    data = path.read_bytes()
    for length in [*range(1, 20), *range(20, len(data), 97), len(data) - 1]:
        path.write_bytes(data[:length])
        refusal(path)
    path.write_bytes(data[:-1])
    assert "damaged or cut off: copy it again" in refusal(path)
    path.write_bytes(data + b"\0")
    assert "damaged" in refusal(path)


def test_what_is_no_model_file(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"")
    assert "is empty" in refusal(path)
    for text in (b"hello", b"\xff" * 100, (2**63).to_bytes(8, "little") + b"abc", bytes(8), bytes(200)):
        path.write_bytes(text)
        assert "is not a resnets model file" in refusal(path)
    path.write_bytes((10**8 + 8).to_bytes(8, "little") + b"{" + b" " * 100)
    assert "damaged or cut off" in refusal(path)


def test_a_missing_file_suggests_its_neighbour(path):
    assert str(refusal(path.with_name("modle.safetensors"))).endswith('Did you mean "model.safetensors"?')
    assert "is a folder" in refusal(path.parent)
    assert "There is no model file" in refusal(path.parent / "no" / "folder")


class _Evil:
    def __init__(self, flag: Path) -> None:
        self.flag = flag

    def __reduce__(self):
        return (os.mkdir, (str(self.flag),))


def test_a_pickle_is_named_and_never_run(tmp_path):
    path, flag = tmp_path / "model.safetensors", tmp_path / "executed"
    for protocol in (2, 4):
        path.write_bytes(pickle.dumps(_Evil(flag), protocol=protocol))
        assert "is a pickle or an archive, not a resnets model file" in refusal(path)
    torch.save({"state": _Evil(flag)}, path)
    assert "is a pickle or an archive" in refusal(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x", "y")
    assert "is a pickle or an archive" in refusal(path)
    assert not flag.exists()


def test_a_foreign_safetensors_is_told_apart(tmp_path):
    for metadata in (None, {"format": "pt"}):
        save_file({"a": torch.ones(2)}, tmp_path / "f.safetensors", metadata)
        assert "was not written by resnets" in refusal(tmp_path / "f.safetensors")


def test_a_future_format_asks_for_an_update(path):
    document, tensors = parts(path)
    document["format"] = 2
    container.write(path, json.dumps(document), tensors)
    assert "written by a newer resnets (format 2): pip install -U resnets" in refusal(path)
    # A later format may hash in another way, so that is no reason to call the file damaged.
    save_file(tensors, path, {"resnets": json.dumps({"format": 7}), "sha256": "another hash"})
    assert "(format 7)" in refusal(path)


# What is refused: contents with a right hash ------------------------------------------------------------

HOSTILE = {
    "a million units": lambda d: d["spec"].update(depths=[10**6, 1]),
    "a billion channels": lambda d: d["spec"].update(widths=[10**9, 10**9]),
    "the widest that a spec may be": lambda d: d["spec"].update(widths=[16384, 16384]),
    "another depth": lambda d: d["spec"].update(depths=[1, 2]),
    "another width": lambda d: d["spec"].update(widths=[4, 4]),
    "an unknown field": lambda d: d["spec"].update(colour="red"),
    "a wrong type": lambda d: d["spec"].update(depths="1,1"),
    "no spec": lambda d: d.update(spec=None),
    "a missing part": lambda d: d.pop("probe"),
    "a million classes": lambda d: d.update(num_classes=10**6),
    "classes of text": lambda d: d.update(classes="cat"),
    "classes of numbers": lambda d: d.update(classes=[1, 2, 3]),
    "one class twice": lambda d: d.update(classes=["a", "b", "a"]),
    "too few classes": lambda d: d.update(classes=["a", "b"]),
    "channels": lambda d: d.update(in_channels=10**9),
    "a stride of text": lambda d: d.update(output_stride="32"),
    "a temperature of 0": lambda d: d["calibration"].update(temperature=0),
    "a temperature of NaN": lambda d: d["calibration"].update(temperature=float("nan")),
    "no temperature": lambda d: d["calibration"].clear(),
    "no calibration": lambda d: d.update(calibration=None),
    "provenance of text": lambda d: d.update(provenance="me"),
    "an absurd image": lambda d: d["preprocessing"].update(image_size=10**9, resize_to=10**9),
    "no image size": lambda d: d["preprocessing"].pop("image_size"),
    "a mean image that is not there": lambda d: d["preprocessing"].update(mean_image=True),
}

PROBES = {
    "of the wrong shape": {"logits": [[0.0, 1.0]]},
    "without numbers": {"logits": "none"},
    "of NaN": {"logits": [[float("nan")] * 3] * 2},
    "of infinity": {"logits": [[float("inf")] * 3] * 2},
    "of nothing": {"logits": []},
    "without logits": {},
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE.keys())
def test_contents_that_make_no_sense_are_refused_before_memory_is_taken(path, change, monkeypatch):
    document, tensors = parts(path)
    change(document)
    container.write(path, json.dumps(document), tensors)
    monkeypatch.setattr(torch.nn.Module, "to_empty", lambda *_, **__: pytest.fail("memory was taken"))
    assert "is whole but cannot be used" in refusal(path)


@pytest.mark.parametrize("probe", PROBES.values(), ids=PROBES.keys())
def test_a_probe_that_proves_nothing_is_refused(path, probe):
    document, tensors = parts(path)
    container.write(path, json.dumps({**document, "probe": probe}), tensors)
    assert "is whole but cannot be used" in refusal(path)


@pytest.mark.parametrize(
    "text", ["[" * 10**5, "[]", "{}", "null", '{"format": "one"}', '{"format": ' + "9" * 5000 + "}"]
)
def test_a_document_of_nonsense_is_refused(path, text):
    _, tensors = parts(path)
    container.write(path, text, tensors)
    assert "damaged" in refusal(path)


def test_tensors_must_be_exactly_those_of_the_network(path):
    document, tensors = parts(path)
    text = json.dumps(document)
    name = "stage2.unit1.conv1.weight"
    changes = {
        "absent": {k: v for k, v in tensors.items() if k != name},
        "too many": {**tensors, "surplus": torch.ones(1)},
        "transposed": {**tensors, name: tensors[name].permute(1, 0, 2, 3).contiguous()},
        "of another type": {**tensors, name: tensors[name].long()},
    }
    for what, changed in changes.items():
        container.write(path, text, changed)
        assert "is whole but cannot be used" in refusal(path), what


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64, torch.bool, torch.complex64, torch.float8_e4m3fn])
def test_types_that_no_network_has_are_refused(path, dtype):
    document, tensors = parts(path)
    tensors["head.linear.bias"] = torch.zeros(3).to(dtype)
    save_file(tensors, path, {"resnets": json.dumps(document), "sha256": "0"})
    refusal(path)


def test_no_network_is_built_that_is_larger_than_the_file(path, monkeypatch):
    document, tensors = parts(path)
    document["spec"]["widths"] = [16384, 16384]
    container.write(path, json.dumps(document), tensors)
    monkeypatch.setattr(modelfile, "ResNet", lambda plan: pytest.fail("it was built"))
    assert "more than the file holds" in refusal(path)


# The probe ----------------------------------------------------------------------------------------------


def shifted(path: Path, share: float) -> None:
    """Move the first logit of every image by a share of the spread, and make the hash right again."""
    document, tensors = parts(path)
    logits = np.array(document["probe"]["logits"])
    spread = max(logits.max(), 0) - min(logits.min(), 0)
    tensors["head.linear.bias"][0] += share * spread
    container.write(path, json.dumps(document), tensors)


def test_rounding_of_another_machine_is_accepted(path):
    shifted(path, 0.5 * modelfile.SELF_TEST_TOLERANCE)
    load(path)


def test_another_computation_is_refused(path):
    shifted(path, 1.5 * modelfile.SELF_TEST_TOLERANCE)
    assert "logits for the recorded probe are off by" in refusal(path)


def test_weights_that_are_not_finite_are_not_loaded(path):
    document, tensors = parts(path)
    tensors["head.linear.bias"][0] = float("nan")
    container.write(path, json.dumps(document), tensors)
    assert "off by nan" in refusal(path)


@pytest.mark.parametrize(
    "field", [{"norm_eps": 0.1}, {"order": "pre"}, {"shortcut": "avgpool"}, {"stride_unit": "last"}], ids=str
)
def test_the_probe_notices_a_changed_choice(path, field):
    document, tensors = parts(path)
    document["spec"].update(field)
    container.write(path, json.dumps(document), tensors)
    assert "cannot be used" in refusal(path)


@pytest.mark.parametrize("name", ["resnet18", "resnet20", "resnetv2_50"])
def test_another_layout_and_thread_count_stay_within_a_tenth_of_the_tolerance(name):
    network = create(name, num_classes=10, seed=0).eval()
    x = modelfile.self_test_input(3, 32)
    threads = torch.get_num_threads()
    with torch.no_grad():
        recorded = network(x)
        others = [network.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))]
        torch.set_num_threads(1)
        others.append(network.to(memory_format=torch.contiguous_format)(x))
        torch.set_num_threads(threads)
        others.append(network.double()(x.double()).float())
    spread = max(recorded.max().item(), 0) - min(recorded.min().item(), 0)
    for other in others:
        assert (other - recorded).abs().max().item() < 0.1 * modelfile.SELF_TEST_TOLERANCE * spread


# What is not written ------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_not_written(path, value):
    before = path.read_bytes()
    model = make()
    model.network.state_dict()["stage1.unit1.norm2.running_mean"][2] = value
    with pytest.raises(ModelFileError, match=r"stage1.unit1.norm2.running_mean has values that are not finite"):
        save(path, model)
    assert path.read_bytes() == before


def test_a_network_that_overflows_is_not_written(path):
    model = make()
    with torch.no_grad():
        model.network.get_parameter("stem.norm.weight").fill_(3e38)
    with pytest.raises(ModelFileError, match="the network's logits overflow"):
        save(path, model)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda model: model.network.bfloat16(), "bfloat16"),
        (
            lambda model: model.network.head.add_module("linear", torch.nn.Linear(8, 4)),
            r"has for head\.linear\.bias",
        ),
        ({"classes": ("a", "b")}, "2 class names for 3 outputs"),
        ({"classes": ("a", "b", "b")}, "2 class names for 3 outputs"),
        ({"provenance": Provenance(other={"when": {1, 2}})}, "not JSON serializable"),
        ({"provenance": Provenance(metrics={"loss": float("nan")})}, "not JSON compliant"),
        ({"calibration": Calibration(temperature=-1)}, "temperature is a number above 0"),
        ({"calibration": Calibration(temperature=float("inf"))}, "temperature is a number above 0"),
        ({"calibration": Calibration(unsure=2)}, "unsure lies between 0 and 1"),
        ({"calibration": Calibration(unsure="0.5")}, "unsure lies between 0 and 1"),
        ({"calibration": Calibration(coverage=1)}, "coverage lies between 0 and 1"),
        ({"calibration": Calibration(fitted_on=("a",))}, "fitted_on and halves do not belong together"),
        ({"calibration": Calibration(fitted_on=(1,))}, "not a list of digests"),
        ({"calibration": Calibration(fitted_on=("b", "a"), halves=(Fit(), Fit()))}, "not sorted"),
        ({"calibration": Calibration(unsure=0.5, fitted_on=("a",), halves=(Fit(), Fit()))}, "does not"),
        ({"calibration": Calibration(temperature=10**400)}, "of a sensible size"),
        ({"calibration": Calibration(temperature=1e-320)}, "of a sensible size"),
        ({"calibration": Calibration(unlike=Usual((0,), ((0, 1),), 1))}, "square matrix"),
        ({"calibration": Calibration(unlike=Usual((0,), (("0",),), 1))}, "square matrix"),
        ({"calibration": Calibration(unlike=Usual((0,), ((1,),), 0))}, "square matrix"),
    ],
)
def test_what_would_not_load_is_not_written(tmp_path, change, why):
    model = make()
    if isinstance(change, dict):
        model = dataclasses.replace(model, **change)
    else:
        change(model)
    with pytest.raises(ModelFileError, match=rf"m\.safetensors was not written: .*{why}"):
        save(tmp_path / "m.safetensors", model)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"unsure": ...}, "unsure"),
        ({"fitted_on": ["a"], "halves": [{"temperature": 1}] * 2}, "unsure"),
        ({"unlike": {"mean": [0], "whiten": [[0], 1], "limit": 1}}, "square matrix"),
        ({"unlike": {"mean": [0], "whiten": [[0, 1]], "limit": 1}}, "square matrix"),
    ],
    ids=str,
)
def test_a_calibration_that_makes_no_sense_is_not_read(change, why):
    document = {"temperature": 1.0, "unsure": None} | change
    with pytest.raises((ValueError, KeyError), match=why):
        Calibration.from_dict({key: value for key, value in document.items() if value is not ...})


def test_a_full_disk_leaves_the_old_file_whole(path, monkeypatch):
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ModelFileError, match="No space left on device"):
        save(path, make(classes=("x", "y")))
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path], "nothing is left behind"


def test_the_new_file_is_on_the_disk_before_it_takes_the_old_ones_place(path, monkeypatch):
    steps = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (steps.append("fsync"), fsync(fd))[1])
    monkeypatch.setattr(os, "replace", lambda a, b: (steps.append("replace"), replace(a, b))[1])
    save(path, make(classes=("x", "y")))
    assert steps == ["fsync", "replace", "fsync"], "the bytes, then the name, then the folder that holds it"
    assert load(path).classes == ("x", "y")


def test_a_place_that_does_not_exist_is_named(tmp_path):
    path = tmp_path / "no" / "m.safetensors"
    with pytest.raises(ModelFileError, match=re.escape(f"{path} cannot be written (No such file or directory)")):
        save(path, make())


def test_an_image_size_that_takes_all_memory_is_refused_before_it_is_taken(tmp_path):
    """In the file, in a model that is changed, and where a training begins."""
    small = ResNetSpec(depths=(1, 1), widths=(4, 4), stem="cifar", block="basic")
    good = Model(create(small, 2, seed=0), ("a", "b"), Preprocessing.evaluation(32))
    deep = create(ResNetSpec(depths=(1,), widths=(64,), block="basic"), 2, seed=0)
    for size in (4096, 4097, 8192):
        with pytest.raises(ResnetsError, match=r"4,?096") as caught:
            dataclasses.replace(
                Model(deep, ("a", "b"), Preprocessing.evaluation(32)),
                preprocessing=Preprocessing(image_size=size, resize_to=size),
            )
        assert str(caught.value).endswith(".")
    assert dataclasses.replace(good, preprocessing=Preprocessing.evaluation(1024)).bytes_to_run < 2**31
    wide = ResNetSpec(depths=(1, 1), widths=(512, 4), stem="cifar", block="basic")
    with pytest.raises(ModelFileError, match=r"2,048 pixels takes \d+\.\d GiB of .* a smaller image size"):
        dataclasses.replace(good, network=create(wide, 2, seed=0), preprocessing=Preprocessing.evaluation(2048))
    with pytest.raises(ResnetsError, match="choose a smaller image size"):
        train("digits", model=wide, image_size=2048, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
