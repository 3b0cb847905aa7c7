"""Steps that fit into memory: parts that add up, units that are computed again, and what happens where memory runs out.

The limits are real ones of real processes, but for a graphics processor's, which an exception stands for here.
"""

import copy
import json
import subprocess
import sys
import textwrap
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch

import resnets
from resnets import machine
from resnets.architecture import ResNetSpec, plan
from resnets.errors import ModelFileError, TrainingError
from resnets.machine import ran_out
from resnets.training import gradients as gradients_module
from resnets.training import memory as memory_module
from resnets.training import resume
from resnets.training.gradients import ByProduct
from resnets.training.memory import LEAST, Memory
from resnets.training.observer import Observer
from resnets.training.recipe import Recipe
from resnets.training.schedule import Schedule
from resnets.training.state import State
from resnets.training.step import Step
from resnets.training.weighing import Weighing

TINY = ResNetSpec(depths=(1, 1), widths=(8, 16), stem="cifar", stem_width=8)
DEEP = ResNetSpec(depths=(9, 9), widths=(8, 16), stem="cifar", stem_width=8)
COUNTS = np.array([40, 10, 5])
NOISE = torch.Generator().manual_seed(0)
X, LABELS = torch.randn(7, 3, 16, 16, generator=NOISE), torch.tensor([0, 1, 2, 0, 1, 0, 2])
SHARE = torch.rand(7, generator=NOISE) / 2 + 0.5


def state(spec=TINY, memory=None, precision="float32", **recipe):
    recipe = Recipe(**recipe)
    return State(resnets.create(spec, 3, seed=1), recipe, precision=precision, memory=memory), recipe


def step_of(state, recipe, precision="float32"):
    return Step(state, recipe, Schedule(9, 9), precision=precision, weighing=Weighing.of(recipe, COUNTS))


def gradients(accumulate, share=None, **recipe):
    one, chosen = state(memory=Memory(accumulate=accumulate), norms="frozen", **recipe)
    one.train(head_alone=False)
    loss = step_of(one, chosen).backward(X, LABELS, share)
    return loss, torch.cat([p.grad.flatten() for p in one.network.parameters()])


@pytest.mark.parametrize("share", [None, SHARE], ids=["plain", "mixup"])
@pytest.mark.parametrize(
    "recipe", [{}, {"class_weights": "balanced"}, {"logit_adjustment": 1.0}], ids=["alike", "weights", "offsets"]
)
@pytest.mark.parametrize("accumulate", [2, 3, 64])
def test_the_parts_of_a_batch_have_its_gradients(accumulate, recipe, share):
    whole, all_at_once = gradients(1, share, **recipe)
    loss, added = gradients(accumulate, share, **recipe)
    assert loss == pytest.approx(float(whole), rel=1e-6)
    assert float((added - all_at_once).abs().max()) < 1e-6 * float(all_at_once.abs().max())


@pytest.mark.parametrize("batch", range(2, 20))
def test_no_part_is_too_small_for_a_norm(batch):
    for accumulate in range(1, 24):
        parts = torch.zeros(batch).tensor_split(Memory(accumulate=accumulate).parts(batch))
        assert min(map(len, parts)) >= LEAST
        assert len(parts) <= accumulate


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "spec",
    [
        DEEP,
        ResNetSpec(depths=(4,), widths=(8,), stem="cifar", stem_width=8, block="bottleneck", order="pre"),
        ResNetSpec(depths=(2, 3), widths=(8, 16), stem="deep", stem_width=8, shortcut="avgpool", zero_init_last=True),
        ResNetSpec(depths=(3, 1), widths=(8, 16), stem="cifar", stem_width=8, shortcut="pad"),
    ],
    ids=["basic", "pre", "deep stem", "pad"],
)
def test_units_that_are_computed_again_change_no_bit(spec, precision):
    found = []
    for memory in (Memory(), Memory(recompute=True)):
        one, recipe = state(spec, memory, precision, freeze=1 if spec is DEEP else 0)
        one.train(head_alone=False)
        step = step_of(one, recipe, precision)
        losses = [float(step(X, LABELS, SHARE)) for _ in range(3)]
        found.append((losses, copy.deepcopy(one.network.state_dict())))
    assert found[0][0] == found[1][0]
    assert all(torch.equal(found[0][1][name], tensor) for name, tensor in found[1][1].items())


def kept(network, x):
    """Bytes that the backward pass keeps, each tensor once, without weights and statistics."""
    own = {one.untyped_storage().data_ptr() for one in [*network.parameters(), *network.buffers()]}
    found = {}

    def pack(one):
        storage = one.untyped_storage()
        if storage.data_ptr() not in own:
            found[storage.data_ptr()] = one, storage.nbytes()
        return one

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda one: one):
        network(x).sum()
    return sum(size for _, size in found.values())


def test_less_is_kept_of_a_deep_network():
    one, _ = state(DEEP)
    one.network.train()
    x = torch.randn(8, 3, 32, 32)
    much = kept(one.network, x)
    one.network.recompute = nullcontext()
    assert kept(one.network, x) < much / 5


@pytest.mark.parametrize("name", ["resnet20", "resnet18", "resnet50", "preact_resnet110", "caffe_resnet50"])
def test_what_a_step_keeps_is_known_before(name):
    network = resnets.create(name, 10).train()
    size = 32 if network.plan.image_size < 64 else 64
    own = network.plan
    sized = plan(own.spec, own.num_classes, own.in_channels, own.output_stride, image_size=size)
    weights, x = 12 * sized.parameters, torch.randn(4, 3, size, size)
    foreseen = (Memory().needed(sized, 4, "float32") - weights) / memory_module.BESIDE
    assert kept(network, x) == pytest.approx(foreseen, rel=0.1)
    network.recompute = nullcontext()
    again = (Memory(recompute=True).needed(sized, 4, "float32") - weights) / memory_module.BESIDE
    assert 0.1 * again < kept(network, x) < again  # and what comes into being again, a chunk at a time
    assert Memory().needed(sized, 4, "bfloat16") - weights == pytest.approx(foreseen * memory_module.BESIDE / 2)


def test_what_is_frozen_keeps_nothing():
    sized = plan("resnet18", 10, image_size=64)
    needed = [Memory().needed(sized, 4, "float32", frozen) - 12 * sized.parameters for frozen in range(5)]
    assert needed == sorted(needed, reverse=True)
    assert needed[0] > 2 * needed[2]


@pytest.mark.parametrize("bias", ["never", "always"])
def test_the_second_time_is_as_the_first_where_gradients_come_by_product(monkeypatch, bias):
    monkeypatch.setattr(gradients_module, "WIDE", 1)
    monkeypatch.setattr(gradients_module, "SHORT", 99)
    spec = ResNetSpec(depths=(2, 2), widths=(8, 16), stem="cifar", stem_width=8, bias=bias)
    found = []
    for memory in (Memory(), Memory(recompute=True)):
        one, recipe = state(spec, memory, "bfloat16")
        one.train(head_alone=False)
        step = step_of(one, recipe, "bfloat16")
        step.gradients = Counted()
        losses = [float(step(X, LABELS)) for _ in range(2)]
        found.append((losses, one.network.state_dict(), step.gradients.entered))
    assert found[0][0] == found[1][0]
    assert all(torch.equal(found[0][1][name], tensor) for name, tensor in found[1][1].items())
    assert (found[0][2], found[1][2] > 2) == (2, True)


class Counted(ByProduct):
    entered = 0

    def __enter__(self):
        self.entered += 1
        return super().__enter__()


class RunsOut:
    """Stands for a device with room for so many images: what asks for more is told what torch would say."""

    def __init__(self, network, room, backward=False):
        self.room, self.tries, self.network, self.backward = room, [], network, backward
        network.head.register_forward_pre_hook(self)

    def __call__(self, module, inputs):
        if not module.training:
            return
        self.tries.append(len(inputs[0]))
        if self.tries[-1] > self.room or self.network.recompute is None:
            if self.backward:
                inputs[0].register_hook(self.refuse)
            else:
                self.refuse()

    def refuse(self, *gradient):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")


@pytest.mark.parametrize("backward", [False, True])
def test_where_memory_runs_out_the_step_is_made_again_as_if_nothing_had_been(capsys, backward):
    found = []
    for memory, room in ((Memory(), 2), (Memory(recompute=True, accumulate=2), 99)):
        one, recipe = state(memory=memory, momentum=0.5)
        one.train(head_alone=False)
        hook = RunsOut(one.network, room, backward)
        step = step_of(one, recipe)
        losses = [float(step(X[:4], LABELS[:4])) for _ in range(2)]
        found.append((losses, one.network.state_dict(), one.memory, hook.tries))
    assert found[0][0] == found[1][0]
    assert all(torch.equal(found[0][1][name], tensor) for name, tensor in found[1][1].items())
    assert found[0][2] == found[1][2]
    assert found[0][3] == [4, 4, 2, 2, 2, 2]  # kept, computed again, in two parts; the second step at once
    said = capsys.readouterr().err
    assert said.count("memory ran out at step 0: from here on") == 2
    assert "a batch of 4 goes through the network in 2 parts" in said


def test_what_fits_in_no_way_says_so():
    one, recipe = state()
    RunsOut(one.network, 1)
    with pytest.raises(TrainingError, match=r"^Not even 2 images fit into memory at step 0: try a smaller"):
        step_of(one, recipe)(X, LABELS)
    assert one.memory == Memory(recompute=True, accumulate=3)


@pytest.mark.parametrize(
    ("problem", "is_memory"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (MemoryError(), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"), True),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("shape '[3]' is invalid for input of size 4"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_other_errors_are_not_about_memory(problem, is_memory):
    assert ran_out(problem) is is_memory


LIMITED = """
    import resource, torch
    import resnets
    from resnets.training.recipe import Recipe
    from resnets.training.schedule import Schedule
    from resnets.training.state import State
    from resnets.training.step import Step

    torch.set_num_threads(1)
    recipe = Recipe()
    state = State(resnets.create("resnet20", 10, seed=0), recipe)
    step = Step(state, recipe, Schedule(9, 9), precision="float32")
    x, labels = torch.randn(512, 3, 32, 32), torch.arange(512) % 10
    step(x[:8], labels[:8])
    have = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (have + (ROOM << 20), resource.RLIM_INFINITY))
    loss = float(step(x, labels))
    print(loss, state.memory.recompute, state.memory.accumulate)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits the memory as Linux does")
@pytest.mark.parametrize(("room", "parts"), [(750, 1), (450, 2)])
def test_a_system_that_gives_no_more(room, parts):
    code = textwrap.dedent(LIMITED).replace("ROOM", str(room))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    loss, recompute, accumulate = done.stdout.split()
    assert recompute == "True"
    assert (int(accumulate) > 1) == (parts > 1)
    assert float(loss) == pytest.approx(2.3, abs=0.6)
    assert "memory ran out at step 1" in done.stderr


class StopAt(Observer):
    def __init__(self, step):
        self.step = step

    def stepped(self, training, step):
        if step.step == self.step:
            raise KeyboardInterrupt


class Cramped(Observer):
    """From a step on, the machine has less room."""

    def __init__(self, step):
        self.step = step

    def stepped(self, training, step):
        if step.step == self.step:
            RunsOut(training.state.network, 8)


def run(out, *observers, spec=TINY, **more):
    overrides = ["batch_size=32", "ema=0.9", "mixup=0.2", "checkpoint_seconds=1000", "precision=float32"]
    overrides += more.pop("overrides", ())
    about = {"model": spec, "recipe": "quick", "epochs": 1, "out": out, "overrides": overrides, "observers": observers}
    return resnets.train("digits", **about, **more)


def bits(result):
    return resnets.load(result.model).network.state_dict()


def same(one, other):
    return all(torch.equal(bits(one)[name], tensor) for name, tensor in bits(other).items())


def free_for(monkeypatch, memory, spec=DEEP):
    """As much memory as a step takes that does this, and a little more."""
    needed = memory.needed(plan(spec, 10, image_size=16), 32, "float32")
    monkeypatch.setattr(machine, "free_memory", lambda: int(1.02 * needed / memory_module.SHARE))


def chosen(folder):
    return json.loads((Path(folder) / "run.json").read_text())["memory"]


def test_a_resume_takes_the_memory_that_was_found_to_be_enough(tmp_path):
    whole = run(tmp_path / "whole", Cramped(3))
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", Cramped(3), StopAt(7))
    assert same(whole, resume(tmp_path / "cut"))  # where there is room again
    assert not same(whole, run(tmp_path / "roomy"))


@pytest.mark.parametrize(
    "memory", [Memory(recompute=True), Memory(recompute=True, accumulate=4)], ids=["again", "parts"]
)
def test_little_memory_is_seen_before_the_first_step(tmp_path, monkeypatch, capsys, memory):
    free_for(monkeypatch, memory)
    result = run(tmp_path / "run", spec=DEEP)
    said = capsys.readouterr().err
    assert said.count("a step takes about") == 1
    assert "units are computed again in the backward pass" in said
    assert ("a batch of 32 goes through the network in 4 parts" in said) == (memory.accumulate > 1)
    assert chosen(result.run) == memory.document()


def test_where_nothing_would_be_enough_norms_are_not_spoilt_for_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(machine, "free_memory", lambda: 1000)
    result = run(tmp_path / "run")
    assert "1000 B are free: it may run out" in capsys.readouterr().err.replace("1 KiB", "1000 B")
    assert chosen(result.run)["accumulate"] == 1


def test_a_shallow_network_spares_nothing_by_it(tmp_path, monkeypatch):
    free_for(monkeypatch, Memory(accumulate=2), TINY)
    assert chosen(run(tmp_path / "run").run) == {"recompute": False, "accumulate": 2}


def test_a_head_alone_makes_no_step(tmp_path, monkeypatch, capsys):
    start = run(tmp_path / "start").model
    monkeypatch.setattr(machine, "free_memory", lambda: 1000)
    capsys.readouterr()
    resnets.train("digits", weights=start, recipe="probe", out=tmp_path / "run")
    assert "a step takes" not in capsys.readouterr().err


def test_a_run_goes_on_as_it_began_however_much_is_free(tmp_path, monkeypatch):
    free_for(monkeypatch, Memory(accumulate=2), TINY)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", StopAt(7))
    (tmp_path / "cut" / "checkpoint.safetensors").unlink()  # killed before there was one: the record alone knows
    whole = run(tmp_path / "whole")
    monkeypatch.undo()
    assert same(whole, resume(tmp_path / "cut"))
    assert not same(whole, run(tmp_path / "roomy"))


def test_a_resume_may_be_told_to_compute_again(tmp_path):
    whole = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", StopAt(7), overrides=["checkpoint_seconds=0"])
    recipe = tmp_path / "cut" / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("recompute = false", "recompute = true"))
    seen = []

    class Look(Observer):
        def stepped(self, training, step):
            seen.append(training.state.memory.recompute)

    assert same(whole, resume(tmp_path / "cut", [Look()]))
    assert set(seen) == {True}


def test_an_older_run_goes_on(tmp_path):
    whole = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", StopAt(7))
    record = json.loads((tmp_path / "cut" / "run.json").read_text())
    del record["memory"]
    assert "processes" not in record
    for key in ("accumulate", "recompute"):
        del record["recipe"][key]
    (tmp_path / "cut" / "run.json").write_text(json.dumps(record))
    lines = (tmp_path / "cut" / "recipe.toml").read_text().splitlines()
    kept = [one for one in lines if not one.startswith(("accumulate", "recompute"))]
    (tmp_path / "cut" / "recipe.toml").write_text("\n".join(kept))
    assert same(whole, resume(tmp_path / "cut"))


def test_minutes_keep_what_the_pace_was_measured_with(tmp_path, monkeypatch):
    free_for(monkeypatch, Memory(accumulate=2), TINY)
    overrides = ["batch_size=32", "precision=float32"]
    result = resnets.train(
        "digits", model=TINY, recipe="quick", minutes=0.05, out=tmp_path / "run", overrides=overrides
    )
    assert chosen(result.run) == {"recompute": False, "accumulate": 2}


def test_two_images_that_do_not_fit_end_in_one_sentence(tmp_path):
    class Nothing(Observer):
        def started(self, training):
            RunsOut(training.state.network, 0)

    with pytest.raises(
        TrainingError, match=r"^Not even 2 images fit into memory at step 0: try a smaller `image_size`"
    ):
        run(tmp_path / "run", Nothing())


def test_a_record_with_no_parts_is_refused():
    with pytest.raises(ModelFileError, match=r"memory\.accumulate"):
        Memory.read({"recompute": False, "accumulate": 0})
    with pytest.raises(ModelFileError, match=r"memory\.recompute"):
        Memory.read({"recompute": "no", "accumulate": 1})
    assert Memory.read(None) == Memory()
