"""One engine, many threads: every answer is right, and the process is left as it was."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from resnets.architecture import ResNetSpec
from resnets.data.preprocess import Preprocessing
from resnets.errors import ResnetsError
from resnets.inference import Classifier, Session, engines, open_session, predict
from resnets.inference.lower import lower
from resnets.inference.quantize import measure_ranges
from resnets.network import create
from resnets.weights import Model

SPEC = ResNetSpec(depths=(1, 1), widths=(16, 32), stem="cifar", stem_width=16)
SIDE = 16
INSTALLED = [name for name in ("torch", "onnxruntime", "openvino") if name in engines.installed()]


@pytest.fixture(scope="module")
def model() -> Model:
    network = create(SPEC, num_classes=5, seed=0)
    with torch.no_grad():
        for _ in range(3):
            network.train()(torch.randn(8, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1)))
    return Model(network.eval(), tuple("abcde"), Preprocessing.evaluation(SIDE))


def batches(count=40):
    random = torch.Generator().manual_seed(2)
    return [torch.randn(1 + number % 4, 3, SIDE, SIDE, generator=random) for number in range(count)]


@pytest.mark.parametrize("name", INSTALLED)
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_eight_threads_share_one_engine(model, name, precision):
    quantisations = None
    if precision == "int8":
        quantisations = {name: measure_ranges(lower(model.network, SIDE), batches(4))}
    session = open_session(model, name, precision, batch=4, threads=1, quantisations=quantisations)
    assert (session.name, session.precision) == (name, precision)
    asked = batches()
    alone = [session(x) for x in asked]
    if precision == "float32":
        with torch.no_grad():
            for x, logits in zip(asked, alone, strict=True):
                torch.testing.assert_close(logits, model.network(x), rtol=1e-3, atol=1e-3)
    before = torch.get_num_threads()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(session, asked * 3))
    for logits, wanted in zip(found, alone * 3, strict=True):
        torch.testing.assert_close(logits, wanted, rtol=1e-5, atol=1e-5)
    assert torch.get_num_threads() == before


def test_eight_threads_share_one_classifier(model):
    """From the first call on, which makes the default engine."""
    pictures = list(np.random.default_rng(0).integers(0, 256, (24, SIDE, SIDE, 3), dtype=np.uint8))
    wanted = Classifier(model).predict(pictures)
    shared = Classifier(model)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda first: shared.predict(pictures[first : first + 3]), range(0, 24, 3)))
    together = [one for part in found for one in part]
    assert [[name for name, _ in one.top] for one in together] == [[name for name, _ in one.top] for one in wanted]
    for one, other in zip(together, wanted, strict=True):
        assert [p for _, p in one.top] == pytest.approx([p for _, p in other.top], abs=1e-6)


class Busy:
    """An engine that says how many are in it, and with how many threads torch works then."""

    name, precision, quantisation = "torch", "float32", None

    def __init__(self):
        self.inside, self.most, self.threads = 0, 0, set()
        self.lock = threading.Lock()

    def __call__(self, x):
        with self.lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        self.threads.add(torch.get_num_threads())
        threading.Event().wait(0.002)
        with self.lock:
            self.inside -= 1
        if len(x) == 3:
            raise RuntimeError("broken")
        return x


def test_an_engine_is_asked_by_one_thread_at_a_time():
    engine = Busy()
    session = Session(engine)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(session, [torch.zeros(2)] * 40))
    assert engine.most == 1


def test_threads_are_honoured_and_the_process_is_left_as_it_was():
    before = torch.get_num_threads()
    wanted = [before + 1, before + 2]
    pair = [Busy() for _ in wanted]
    sessions = [Session(engine, threads) for engine, threads in zip(pair, wanted, strict=True)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: sessions[number % 2](torch.zeros(2)), range(40)))
    assert [engine.threads for engine in pair] == [{threads} for threads in wanted]
    with pytest.raises(RuntimeError, match="broken"):
        sessions[0](torch.zeros(3))
    assert torch.get_num_threads() == before
    sessions[0](torch.zeros(2))  # an engine that failed once does not keep the others out


@pytest.mark.skipif("openvino" not in INSTALLED, reason="openvino is not installed")
def test_another_runtime_is_told_how_many_threads(model):
    assert open_session(model, "openvino", threads=1).engine.threads == 1


@pytest.mark.parametrize(
    ("wish", "why"),
    [
        ({"engine": "tensorrt"}, "no engine 'tensorrt'"),
        ({"precision": "int4"}, "no precision 'int4'"),
        ({"precision": "int8"}, "needs a quantisation"),
        ({"engine": "auto", "precision": "int8"}, "needs a quantisation"),
        *(
            (
                {"engine": engine, what: value},
                f"{what if what == 'threads' else 'batch_size'} is at least 1, not {value}",
            )
            for engine in ("torch", "auto", *INSTALLED[1:])
            for what, value in (("threads", 0), ("threads", -1), ("batch", 0), ("batch", -1))
        ),
    ],
    ids=str,
)
def test_what_cannot_be_is_said(model, wish, why):
    with pytest.raises(ResnetsError, match=why):
        open_session(model, **wish)


def test_a_wish_leaves_the_callers_classifier_as_it_was(model):
    classifier = Classifier(model)
    pictures = list(np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3), dtype=np.uint8))
    own = classifier.session
    found = predict(classifier, pictures, 2, engine=INSTALLED[-1], threads=1)
    assert classifier.session is own
    for one, wanted in zip(found, predict(model, pictures, 2), strict=True):
        assert [name for name, _ in one.top] == [name for name, _ in wanted.top]


def test_what_is_not_asked_for_stays_the_callers_own(model):
    """Threads alone change neither the engine nor the precision."""
    classifier = Classifier(model)
    pictures = list(np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3), dtype=np.uint8))
    quantisation = measure_ranges(lower(model.network, SIDE), batches(4))
    name = INSTALLED[-1]
    classifier.use(open_session(model, name, "int8", quantisations={name: quantisation}))
    wanted = classifier.predict(pictures)
    found = predict(classifier, pictures, threads=1)
    for one, other in zip(found, wanted, strict=True):
        assert [p for _, p in one.top] == pytest.approx([p for _, p in other.top], abs=1e-6)
    in_floats = predict(model, pictures)
    assert any(
        abs(a - b) > 1e-6
        for f, w in zip(in_floats, wanted, strict=True)
        for (_, a), (_, b) in zip(f.top, w.top, strict=True)
    )


class Mine:
    """An engine of somebody's own."""

    name, precision, quantisation = "mine", "float32", None

    def __call__(self, x):
        return torch.zeros(len(x), 5)


def test_what_the_callers_engine_cannot_do_torch_does(model):
    pictures = list(np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3), dtype=np.uint8))
    classifier = Classifier(model)
    classifier.use(Mine())
    for one, wanted in zip(predict(classifier, pictures, threads=1), predict(model, pictures), strict=True):
        assert [p for _, p in one.top] == pytest.approx([p for _, p in wanted.top], abs=1e-6)
    if "onnxruntime" in INSTALLED:
        classifier.use(open_session(model, "onnxruntime"))
        assert len(predict(classifier, pictures, precision="bfloat16")) == 2
