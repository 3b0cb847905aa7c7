"""The default command: photos begin with a body that is fetched once; without one they are trained from scratch."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

import resnets
from resnets.cli.main import main
from resnets.data.preprocess import Preprocessing
from resnets.errors import ModelFileError, ResnetsError
from resnets.network import create
from resnets.training import resume
from resnets.weights import Model, load, save
from resnets.weights.run import CHECKPOINT, MODEL, RunRecord

PHOTOS = {"images": 10, "size": (80, 80)}
SHORT = ("epochs=1", "min_steps=0", "image_size=72")  # of photos; from scratch too


@pytest.fixture(scope="module")
def body(once):
    """The model file of a small network that has seen digits."""
    spec = resnets.architecture.ResNetSpec(depths=(1, 1), widths=(8, 16), stem="cifar")
    folder = once("small body", lambda folder: resnets.train("digits", model=spec, epochs=1, out=folder / "run"))
    return folder / "run" / MODEL


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty cache."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("RESNETS_HOME", str(folder))
    return folder


@pytest.fixture
def server(body, home, monkeypatch):
    """A server that gives the body, or what a test has put in its place; the registry names it."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("RESNETS_OFFLINE")
    content = body.read_bytes()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            server.asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(server.content)))
            self.end_headers()
            self.wfile.write(server.content)

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.asked, server.content = [], content
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        (home / "registry.toml").write_text(
            f'[[weights]]\ntag = "small"\nauto = true\nlicence = "MIT"\nsource = "https://example.org/small"\n'
            f'address = "http://127.0.0.1:{server.server_port}/small.safetensors"\n'
            f'sha256 = "{hashlib.sha256(content).hexdigest()}"\n'
        )
        yield server
        server.shutdown()
        thread.join()


def test_photos_begin_with_a_body_that_is_fetched_once(server, photo_folder, tmp_path, capsys):
    photos = photo_folder(**PHOTOS)
    for out in ("first", "second"):
        resnets.train(photos, out=tmp_path / out, overrides=("image_size=72",))
        record = RunRecord.read(tmp_path / out)
        assert record.asked.weights == "local:small"
        assert record.body["sha256"] == hashlib.sha256(server.content).hexdigest()
        assert record.recipe["probe"] is True
        assert len(server.asked) == 1
    known = load(tmp_path / "first").provenance.pretrained
    assert (known["licence"], known["source"]) == ("MIT", "https://example.org/small")
    assert "example.org/small" in (tmp_path / "first" / "report.html").read_text()
    assert (tmp_path / "first" / MODEL).read_bytes() == (tmp_path / "second" / MODEL).read_bytes()


def test_what_arrives_wrong_is_not_used_and_the_training_goes_on(server, photo_folder, tmp_path, capsys):
    server.content = bytes(len(server.content))
    resnets.train(photo_folder(**PHOTOS), model="resnet20", out=tmp_path / "run", overrides=SHORT)
    assert RunRecord.read(tmp_path / "run").body is None
    server.asked.clear()
    resnets.train(photo_folder(**PHOTOS, name="b"), out=tmp_path / "other", overrides=(*SHORT, "batch_size=4"))
    said = [line for line in capsys.readouterr().err.splitlines() if "from scratch" in line]
    assert server.asked
    assert any("checksum" in line for line in said), said
    record = RunRecord.read(tmp_path / "other")
    assert (record.asked.weights, record.body, record.recipe["probe"]) == (None, None, False)


def test_offline_says_one_line_and_trains(home, photo_folder, tmp_path, capsys):
    status = main(["train", str(photo_folder(**PHOTOS)), "--out", str(tmp_path / "run"), "--json", *_set(SHORT)])
    out, err = capsys.readouterr()
    assert status == 0
    assert json.loads(out)["run"] == str(tmp_path / "run")
    assert sum("from scratch" in line for line in err.splitlines()) == 1
    assert "RESNETS_OFFLINE" in err
    (tmp_path / "run" / MODEL).unlink()
    resume(tmp_path / "run")  # of what it began with, whatever could be had now


def test_none_asks_nobody(server, photo_folder, tmp_path):
    resnets.train(photo_folder(**PHOTOS), weights="none", out=tmp_path / "run", overrides=SHORT)
    assert server.asked == []


@pytest.mark.parametrize(
    "asked",
    [{"image_size": 32}, {"recipe": "standard"}, {"recipe": "quick"}],
    ids=str,
)
def test_small_pictures_and_recipes_from_scratch_ask_nobody(server, photo_folder, tmp_path, asked, capsys):
    overrides = SHORT[:2] if "image_size" in asked else SHORT
    resnets.train(photo_folder(**PHOTOS), out=tmp_path / "run", overrides=overrides, **asked)
    assert server.asked == []
    assert ("This recipe trains from scratch" in capsys.readouterr().err) is ("recipe" in asked)
    assert RunRecord.read(tmp_path / "run").asked.weights is None


def test_another_body_than_the_run_began_with_is_refused(server, home, photo_folder, tmp_path):
    """The registry's file has changed since: the run cannot go on to the bit, and says so."""
    resnets.train(photo_folder(**PHOTOS), out=tmp_path / "run", overrides=("image_size=72", "pays=0", "epochs=1"))
    network = create(load(tmp_path / "run").network.plan.spec, 2, seed=5)
    for file in (home / "weights").rglob("*.safetensors"):
        save(file, Model(network, ("a", "b"), Preprocessing.evaluation(72)))
    for name in (MODEL, CHECKPOINT):
        (tmp_path / "run" / name).unlink()
    with pytest.raises(ResnetsError):
        resume(tmp_path / "run")


def test_a_mistake_in_the_registry_is_told(home, photo_folder):
    (home / "registry.toml").write_text('[[weights]]\ntag = "small"\nadress = "x"\n')
    with pytest.raises(ModelFileError, match="adress"):
        resnets.train(photo_folder(**PHOTOS))


def _set(overrides):
    return [word for one in overrides for word in ("--set", one)]
