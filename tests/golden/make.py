"""Writes the goldens of the catalog: python tests/golden/make.py. Look at the diff before you commit it."""

import hashlib
import json
from pathlib import Path

from resnets.architecture import names, plan
from resnets.network import ResNet

HERE = Path(__file__).parent


def main():
    catalog, states = {}, {}
    for name in names():
        made = plan(name)
        catalog[name] = {"parameters": made.parameters, "macs": made.macs, "rows": len(made.rows)}
        states[name] = hashlib.sha256("\n".join(ResNet(made).state_dict()).encode()).hexdigest()
    (HERE / "catalog.json").write_text(json.dumps(catalog, indent=1) + "\n")
    (HERE / "state_names.json").write_text(json.dumps(states, indent=1) + "\n")


if __name__ == "__main__":
    main()
