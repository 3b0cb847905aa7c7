"""`resnets list` and `resnets show`: what people see, and what programs read."""

import json
import re

import pytest

import resnets
from resnets.architecture import CATALOG, plan
from resnets.cli.main import main


@pytest.fixture
def run(capsys, monkeypatch):
    """Run a command line in a terminal of the given width: (exit status, standard output, standard error)."""

    def run(command, width=80):
        monkeypatch.setenv("COLUMNS", str(width))
        status = main(command.split())
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def cells(text, label):
    """The cells of the first line that begins with a label."""
    return next(line.split()[1:] for line in text.splitlines() if line.split()[:1] == [label])


class TestList:
    def test_shows_every_network_with_its_cost(self, run):
        status, out, err = run("list")
        assert (status, err) == (0, "")
        assert [line.split()[0] for line in out.splitlines()[1:]] == list(CATALOG)
        assert cells(out, "resnet50") == ["3+4+6+3", "bottleneck", "224", "25,557,032", "4.089", "G"]
        assert cells(out, "resnet20") == ["3+3+3", "basic", "32", "269,722", "40.6", "M"]

    def test_json_is_one_document_with_the_same_facts(self, run):
        status, out, err = run("list --json")
        document = {entry["name"]: entry for entry in json.loads(out)}
        assert (status, err, list(document)) == (0, "", list(CATALOG))
        assert document["resnet18"] == {
            "name": "resnet18",
            "parameters": 11_689_512,
            "macs": plan("resnet18").macs,
            "image_size": 224,
        }

    @pytest.mark.parametrize(
        ("pattern", "expected"),
        [
            ("wrn*", ["wrn_16_2", "wrn_16_8", "wrn_28_10", "wrn_40_4"]),
            ("resnet34", ["resnet34", "resnet34d"]),
            ("?????18", ["plain18"]),
            ("plain", ["plain18", "plain34", "plain20", "plain32", "plain44", "plain56", "plain110"]),
        ],
    )
    def test_a_pattern_is_a_glob_or_a_part_of_a_name(self, run, pattern, expected):
        _, out, _ = run(f"list {pattern} --json")
        assert [entry["name"] for entry in json.loads(out)] == expected

    def test_a_pattern_that_matches_nothing_names_the_nearest(self, run):
        status, out, err = run("list rsnet50")
        assert (status, out) == (2, "")
        assert err.startswith('error: No network matches "rsnet50". Did you mean "resnet50"')


class TestShow:
    def test_the_familiar_run_of_resnet18(self, run):
        status, out, err = run("show resnet18 --classes 10")
        assert (status, err) == (0, "")
        assert cells(out, "stem.conv") == ["7×7", "2", "64×112×112", "9,408", "118.0", "M"]
        assert cells(out, "stem.pool") == ["3×3", "2", "64×56×56"]
        assert cells(out, "stage1.unit2.conv2") == ["3×3", "1", "64×56×56", "36,864", "115.6", "M"]
        assert cells(out, "stage2.unit1.conv1") == ["3×3", "2", "128×28×28", "73,728", "57.8", "M"]
        assert cells(out, "stage3.unit1.conv1") == ["3×3", "2", "256×14×14", "294,912", "57.8", "M"]
        assert cells(out, "stage4.unit2.conv2")[2] == "512×7×7"
        assert cells(out, "head.pool") == ["512×1×1"]
        assert cells(out, "head.linear") == ["10", "5,130", "5.1", "k"]
        assert cells(out, "total") == ["11,181,642", "1.814", "G"]

    @pytest.mark.parametrize("width", [80, 120])
    @pytest.mark.parametrize("name", ["resnet18", "resnext101_64x4d", "wide_resnet101_2", "preact_resnet1001"])
    def test_fits_the_terminal_without_cutting_anything(self, run, name, width):
        _, out, _ = run(f"show {name}", width)
        assert max(len(line) for line in out.splitlines()) <= width
        assert "…" not in out
        assert out.count("total") == 1

    def test_image_size_changes_shapes_and_macs_but_no_parameters(self, run):
        _, small, _ = run("show resnet18 --image-size 64")
        assert cells(small, "stem.conv")[2] == "64×32×32"
        assert cells(small, "total")[0] == "11,689,512"
        assert cells(small, "total")[1:] == ["148.6", "M"]

    def test_groups_have_a_column_only_where_there_are_any(self, run):
        assert "groups" not in run("show resnet50")[1]
        assert cells(run("show resnext50_32x4d")[1], "stage1.unit1.conv2")[:3] == ["3×3", "1", "32"]

    def test_json_gives_every_row_unfolded(self, run):
        _, out, _ = run("show resnet1202 --classes 10 --json")
        document = json.loads(out)
        made = plan("resnet1202")
        assert [row["role"] for row in document["rows"]] == [row.role for row in made.rows]
        assert sum(row["parameters"] for row in document["rows"]) == document["parameters"] == made.parameters
        assert sum(row["macs"] for row in document["rows"]) == document["macs"] == made.macs
        assert document["spec"] == made.spec.to_dict()
        assert document["rows"][0]["output"] == [16, 32, 32]
        assert document["rows"][0]["reads"] == ["input"]

    def test_against_says_what_differs_and_what_it_costs(self, run):
        status, out, _ = run("show resnet50 --against resnet50_v1")
        assert status == 0
        assert out.startswith("resnet50_v1 strides in the first 1×1 convolution")
        assert cells(out, "stride_conv") == ["spatial", "first"]
        assert cells(out, "parameters") == ["25,557,032", "25,557,032"]
        assert cells(out, "MACs") == ["4.089", "G", "3.858", "G"]
        assert cells(out, "stage2") == [
            "512×28×28",
            "1,219,584",
            "1.028",
            "G",
            "512×28×28",
            "1,219,584",
            "950.5",
            "M",
        ]

    def test_against_in_json(self, run):
        _, out, _ = run("show resnet18 --against resnet34 --classes 10 --json")
        document = json.loads(out)
        assert document["name"] == "resnet18"
        assert document["against"]["name"] == "resnet34"
        assert document["against"]["parameters"] == plan("resnet34", num_classes=10).parameters
        assert document["differences"] == {"depths": [[2, 2, 2, 2], [3, 4, 6, 3]]}
        assert document["sentence"].startswith(
            "resnet34 has 3 + 4 + 6 + 3 units in its stages; resnet18 2 + 2 + 2 + 2. "
        )

    @pytest.mark.parametrize(
        ("command", "message"),
        [
            ("show resnt50", 'Did you mean "resnet50"'),
            ("show resnet18 --against resnt50", 'Did you mean "resnet50"'),
            ("show resnet18 --classes 0", "num_classes"),
            ("show resnet18 --image-size -3", "image_size"),
            ("show resnet18 --image-size huge", "--image-size"),
            ("show", "NAME"),
        ],
    )
    def test_a_mistake_is_one_line_and_status_2(self, run, command, message):
        status, out, err = run(command)
        assert (status, out) == (2, "")
        assert err.startswith("error: ")
        assert message in err
        assert "Traceback" not in err


def test_all_rows_are_listed_as_hooks_print_them(capsys):
    """Every leaf of the real network in the order in which it runs, with its output and its parameters."""
    import torch

    network = resnets.create("resnet18", num_classes=10).eval()
    names, seen = {module: name for name, module in network.named_modules()}, []

    def hook(module, _, output):
        seen.append((names[module], "×".join(map(str, output.shape[1:])), sum(p.numel() for p in module.parameters())))

    for module in network.modules():
        if not list(module.children()):
            module.register_forward_hook(hook)
    with torch.inference_mode():
        network(torch.zeros(1, 3, 224, 224))
    assert main(["show", "resnet18", "--classes", "10", "--all"]) == 0
    shown = capsys.readouterr().out.splitlines()
    rows = {words[0]: words for line in shown if (words := line.split())}
    listed = [row for row in seen if row[0] in rows]  # the pool of the head is two modules
    assert len(listed) == len(seen) - 2
    for name, output, parameters in listed:
        assert output in rows[name]
        assert not parameters or f"{parameters:,}" in rows[name]
    assert "stage1.unit1.add" in rows
    assert f"{64 * 64 * 9 * 2 + 4 * 64:,}" in next(line for line in shown if line.startswith("stage1.unit1: sum"))
    sums = [line.split() for line in shown if re.match(r"stage\d: sum", line)]
    assert len(sums) == 4


def test_a_run_is_shown(trained, capsys):
    assert main(["show", trained]) == 0
    out = "".join(capsys.readouterr().out.split())
    for what in ("network", "classes10:0,1,2,3,4and5more", "trainedondigits", "top-1", "(resnets)"):
        assert what in out
    assert main(["show", trained, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["file"]["classes"] == list("0123456789")
    assert document["parameters"] == resnets.load(trained).network.plan.parameters
    assert document["image_size"] == document["file"]["preprocessing"]["image_size"]


def test_a_file_of_others_is_shown(tmp_path, capsys):
    import torch

    from resnets.data.preprocess import Preprocessing
    from resnets.weights.convert import write

    network = resnets.create("resnet18", num_classes=1000, seed=0)
    model = resnets.Model(network, tuple(map(str, range(1000))), Preprocessing.evaluation(224))
    write(model, tmp_path / "resnet18.pth", "torchvision")
    assert main(["show", str(tmp_path / "resnet18.pth"), "--image-size", "64"]) == 0
    out = "".join(capsys.readouterr().out.split())
    assert "(torchvision)" in out
    assert "networkresnet18" in out
    assert "3×64×64→1000classes" in out
    grey = resnets.Model(resnets.create("resnet18", 1000, in_channels=1, seed=0), model.classes, model.preprocessing)
    write(grey, tmp_path / "own's [red]grey.pth", "torchvision")
    assert main(["show", str(tmp_path / "own's [red]grey.pth"), "--against", "resnet18"]) == 0
    assert main(["show", str(tmp_path / "own's [red]grey.pth")]) == 0
    out = "".join(capsys.readouterr().out.split())
    assert "own's[red]grey.pth(torchvision)" in out
    assert "picturesingrey" in out
    torch.save({"nothing": torch.zeros(2)}, tmp_path / "other.pth")
    for words, said in (
        ([str(tmp_path / "other.pth")], "other.pth"),
        (["no/where.pth"], "where.pth"),
        (["resnet5"], "There is no network 'resnet5'"),
        ([str(tmp_path / "resnet18.pth"), "--classes", "3"], "--classes is for a network by its name"),
        ([str(tmp_path / "resnet18.pth"), "--image-size", "0"], "image_size"),
        (["resnet18", "--against", "resnet34", "--all"], "leave one out"),
    ):
        assert main(["show", *words]) == 2
        assert said in capsys.readouterr().err
