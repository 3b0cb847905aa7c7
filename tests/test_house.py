"""The house of DESIGN: imports only go down, rooms stay small, and what is light stays light."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from resnets.cli.main import commands

SOURCE = Path(__file__).parents[1] / "src" / "resnets"
FILES = sorted(SOURCE.rglob("*.py"))
MOST_LINES = 300
MOST_LINES_OF_A_FUNCTION = 60  # from `def` (decorators aside) to its last, docstring included

# From the top of the house to its ground. A room may import from the floors below its own, and from itself.
FLOORS = [
    {"cli"},
    {"studies", "benchmark"},
    {"training", "serving"},
    {"pages"},
    {"diagnosis", "explanation", "acceptance"},
    {"evaluation"},
    {"inference"},
    {"weights"},
    {"network", "inspection"},
    {"architecture", "data"},
    {"store"},
    {"sharing"},
    {"progress", "machine", "whole"},
    {"notebook"},
    {"errors", "text", "regular", "surface"},
]
# Rooms that may use even less than their floor allows.
NARROW = {
    "network": {"architecture", "errors", "progress", "text"},  # never data
    "inspection": {"architecture", "errors", "notebook", "text"},  # the plan alone
}
# What these files of weights/ may import of this project, whole names: containers know no network, and a witness (with
# the framework that may stand in for it) shares nothing with what it is a witness of.
FORMATS = r"resnets\.(errors|regular|whole|weights\.formats(\.\w+)?)"
WITNESS = r"resnets\.(errors|weights\.formats\.\w+|weights\.worlds\.(\w+\.witness|caffe\.layer|onnx\.(ops|shaping)))"
FRAMEWORK = rf"{WITNESS}|resnets\.weights\.worlds\.(reference|\w+\.framework)"
HEAVY = {"torch", "numpy", "sklearn", "scipy", "matplotlib", "PIL", "safetensors", "jinja2"}


def room_of(module):
    """'resnets.data.cache' -> 'data'; the package itself -> ''."""
    return [*module.split("."), ""][1]


def imports(tree, package):
    """All modules of this project that a file imports, wherever in the file it does so."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level:
            base = package.split(".")[: len(package.split(".")) - node.level + 1]
            yield ".".join([*base, node.module or ""]).rstrip(".")
        elif isinstance(node, ast.ImportFrom) and node.module == "resnets":
            yield from (f"resnets.{alias.name}" for alias in node.names if alias.name != "__version__")
        elif isinstance(node, ast.ImportFrom):
            yield node.module
        elif (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "resnets"
            and node.attr != "__version__"
        ):
            yield f"resnets.{node.attr}"


def allowed(room):
    if room in NARROW:
        return NARROW[room] | {room}
    floors = [i for i, rooms in enumerate(FLOORS) if room in rooms]
    assert floors, f"{room} has no floor in the house yet: give it one in FLOORS"
    return set().union({room}, *FLOORS[floors[0] + 1 :])


def wrong_imports(source, module, package):
    room = room_of(module)
    own = (name for name in imports(ast.parse(source), package) if name.split(".")[0] == "resnets")
    return [name for name in own if room_of(name) and room_of(name) not in allowed(room)]


def strangers(source, allowed, package):
    """The imports of this project that are not among the allowed ones, a regular expression."""
    own = (name for name in imports(ast.parse(source), package) if name.split(".")[0] == "resnets")
    return [name for name in own if not re.fullmatch(allowed, name)]


def name_of(path):
    relative = path.relative_to(SOURCE.parent).with_suffix("")
    return ".".join(part for part in relative.parts if part != "__init__")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_only_go_down(path):
    if path in (SOURCE / "__init__.py", SOURCE / "__main__.py"):
        return  # the public surface and the command stand outside: they point into the house
    module = name_of(path)
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    assert wrong_imports(path.read_text(encoding="utf-8"), module, package) == []


@pytest.mark.parametrize(
    ("module", "source", "wrong"),
    [
        ("resnets.data.cache", "from resnets.network import create", ["resnets.network"]),
        ("resnets.data.cache", "def f():\n    import resnets.training.loop", ["resnets.training.loop"]),
        ("resnets.data.cache", "from ..cli import main", ["resnets.cli"]),
        ("resnets.data.cache", "from resnets import train", ["resnets.train"]),
        ("resnets.data.cache", "import resnets\nresnets.load('x')", ["resnets.load"]),
        ("resnets.data.cache", "from resnets.errors import DataError\nfrom resnets.data import labels", []),
        ("resnets.data.cache", "from resnets import __version__\nimport torch", []),
        ("resnets.network.resnet", "from resnets.data.labels import class_names", ["resnets.data.labels"]),
        ("resnets.inspection.table", "from resnets.data.labels import class_names", ["resnets.data.labels"]),
        ("resnets.training.loop", "from resnets.cli.output import note", ["resnets.cli.output"]),
        ("resnets.training.loop", "from resnets.evaluation import evaluate", []),
    ],
)
def test_the_reader_of_imports_sees_every_form(module, source, wrong):
    assert wrong_imports(source, module, module.rpartition(".")[0]) == wrong


@pytest.mark.parametrize(
    ("files", "allowed", "least"),
    [
        ("formats/*.py", FORMATS, 15),
        ("worlds/*/witness.py", WITNESS, 8),
        ("worlds/*/framework.py", FRAMEWORK, 5),
    ],
)
def test_containers_know_no_network_and_witnesses_nothing_of_their_worlds(files, allowed, least):
    paths = sorted((SOURCE / "weights").glob(files))
    assert len(paths) >= least
    found = {
        path: strangers(path.read_text(encoding="utf-8"), allowed, name_of(path.parent / "__init__.py"))
        for path in paths
    }
    assert not {path: names for path, names in found.items() if names}


@pytest.mark.parametrize(
    ("allowed", "source", "wrong"),
    [
        (FORMATS, "from resnets.weights.worlds.caffe.layer import Layer", ["resnets.weights.worlds.caffe.layer"]),
        (FORMATS, "def f():\n    import resnets.network", ["resnets.network"]),
        (FORMATS, "from ..worlds import DIALECTS", ["resnets.weights.worlds"]),
        (FORMATS, "from resnets.weights import worlds", ["resnets.weights"]),
        (FORMATS, "from resnets.architecture import plan", ["resnets.architecture"]),
        (FORMATS, "from resnets.whole import whole\nfrom resnets.weights.formats import protobuf\nimport torch", []),
        (WITNESS, "from resnets.weights.worlds.keras.names import Keras", ["resnets.weights.worlds.keras.names"]),
        (WITNESS, "from resnets.weights.worlds.keras import reader", ["resnets.weights.worlds.keras"]),
        (WITNESS, "from ..worlds.torch.writer import write_torch", ["resnets.weights.worlds.torch.writer"]),
        (WITNESS, "if TYPE_CHECKING:\n    from resnets.network import ResNet", ["resnets.network"]),
        (WITNESS, "from resnets.weights.worlds.torch.witness import Modules", []),
        (FRAMEWORK, "from resnets.weights.worlds.timm.names import KNOWN", ["resnets.weights.worlds.timm.names"]),
        (FRAMEWORK, "from resnets.weights.worlds.timm.witness import SIZES", []),
    ],
)
def test_what_would_be_noticed_in_weights(allowed, source, wrong):
    assert strangers(source, allowed, "resnets.weights.x") == wrong


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_rooms_stay_small(path):
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MOST_LINES, f"{path.name} has {lines} lines: it has two ideas in it"


def long_functions(source, most=MOST_LINES_OF_A_FUNCTION):
    """[(name, lines)] of the functions that are longer, those inside others and methods included."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, kinds)]
    lines = [(node.name, node.end_lineno - node.lineno + 1) for node in functions]
    return [(name, count) for name, count in lines if count > most]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_functions_stay_short(path):
    assert long_functions(path.read_text(encoding="utf-8")) == []


def test_a_long_function_is_seen_wherever_it_stands():
    short = "class A:\n    def short(self):\n        x = 1\n        x = 1\n        x = 1\n"
    source = short + "    async def long(self):\n        def inside():\n" + "            x = 1\n" * 4
    assert long_functions(source, most=4) == [("long", 6), ("inside", 5)]


# Files that need each other are one file that was cut in two ----------------------------------------------------------


def edges(sources):
    """module -> the modules of this project that its file imports: lazily, for the types alone, or at the top.

    sources   module -> (its source, whether it is the `__init__` of a package)

    `from package import name` leads to the module `package.name` where there is one, and else to the package.
    """
    found = {}
    for module, (source, is_package) in sources.items():
        package = module if is_package else module.rpartition(".")[0]
        found[module] = set()
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
                start = ".".join([*base, *([node.module] if node.module else [])])
                names = [f"{start}.{alias.name}" for alias in node.names]
                names = [name if name in sources else start for name in names]
            else:
                continue
            found[module] |= {name for name in names if name in sources and name != module}
    return found


def circles(graph):
    """The sets of files each of which reaches all others of its set (Tarjan's strongly connected components)."""
    found, order, low, stack = [], {}, {}, []

    def visit(node):
        order[node] = low[node] = len(order)
        stack.append(node)
        for other in graph[node]:
            if other not in order:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], order[other])
        if low[node] == order[node]:
            at = stack.index(node)
            component = stack[at:]
            del stack[at:]
            if len(component) > 1:
                found.append(sorted(component))

    for node in graph:
        if node not in order:
            visit(node)
    return sorted(found)


def test_no_two_files_import_each_other_in_a_circle():
    """The package's own `__init__` and `__main__` stand outside: they point into the house."""
    sources = {
        name_of(path): (path.read_text(encoding="utf-8"), path.name == "__init__.py")
        for path in FILES
        if path.parent != SOURCE or path.name not in ("__init__.py", "__main__.py")
    }
    assert circles(edges(sources)) == []


@pytest.mark.parametrize(
    ("changed", "circle"),
    [
        ("", []),
        ("from resnets.a.two import y", [["resnets.a.one", "resnets.a.two"]]),
        ("def f():\n    from resnets.a import two", [["resnets.a.one", "resnets.a.two"]]),
        ("if TYPE_CHECKING:\n    from .two import y", [["resnets.a.one", "resnets.a.two"]]),
        ("import resnets.b", [["resnets.a.one", "resnets.a.two", "resnets.b"]]),
        ("from resnets.a import f", [["resnets.a", "resnets.a.one"]]),  # the package's own file takes f from one
    ],
)
def test_what_a_circle_is(changed, circle):
    sources = {
        "resnets.a": ("from resnets.a.one import f", True),
        "resnets.a.one": (changed, False),
        "resnets.a.two": ("from .one import x", False),
        "resnets.b": ("import resnets.a.two", True),
    }
    assert circles(edges(sources)) == circle


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("what", ["architecture", "inspection"])
def test_a_plan_needs_no_torch(what):
    """`sys.modules[name] = None` makes every import of the name fail, as on a machine without it."""
    done = python(
        "import sys; sys.modules['torch'] = sys.modules['numpy'] = None;"
        f"import resnets, resnets.{what};"
        "print(resnets.plan('resnet50').parameters, len(resnets.names()) > 30)"
    )
    assert (done.stdout, done.stderr) == ("25557032 True\n", "")


@pytest.mark.parametrize("command", ["", "--version", "list", "show resnet18", *(f"{v} --help" for v in commands())])
def test_light_commands_import_nothing_heavy(command):
    done = python(
        "import sys, contextlib, io\n"
        "from resnets.cli.main import main\n"
        f"with contextlib.redirect_stdout(io.StringIO()): status = main({command.split()!r})\n"
        f"print(status, sorted({HEAVY!r} & set(sys.modules)))"
    )
    assert (done.stdout, done.stderr) == ("0 []\n", "")


def test_importing_the_library_imports_nothing_heavy():
    done = python(
        "import sys, resnets; dir(resnets), resnets.ResnetsError, resnets.names()\n"
        f"print(sorted({HEAVY!r} & set(sys.modules)))"
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_files_of_tests_have_names_of_their_own():
    """pytest imports them by these names, wherever they lie."""
    files = [path.name for path in Path(__file__).parent.rglob("test_*.py")]
    assert sorted(files) == sorted(set(files))
