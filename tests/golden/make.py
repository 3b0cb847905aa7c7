"""Writes the goldens of the catalog: python tests/golden/make.py. Look at the diff before you commit it."""

import hashlib
import json
from pathlib import Path

from resnets.architecture import names, plan
from resnets.inference.lower import outline
from resnets.network import ResNet

HERE = Path(__file__).parent


def steps(made):
    """A line for each step that the engines run: its name, kind and row, what it reads, what it adds, its relu."""
    return [f"{s.name} {s.kind} {s.row.role} {s.input} {s.addend} {s.relu}" for s, _ in outline(made)]


def digest(lines):
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def main():
    catalog, states, lowered = {}, {}, {}
    for name in names():
        made = plan(name)
        catalog[name] = {"parameters": made.parameters, "macs": made.macs, "rows": len(made.rows)}
        states[name] = digest(ResNet(made).state_dict())
        lowered[name] = digest(steps(made))
    (HERE / "catalog.json").write_text(json.dumps(catalog, indent=1) + "\n")
    (HERE / "state_names.json").write_text(json.dumps(states, indent=1) + "\n")
    (HERE / "steps.json").write_text(json.dumps(lowered, indent=1) + "\n")


if __name__ == "__main__":
    main()
