"""Print the tables of docs/parity.md from what the last parity runs found.

python tests/parity/table.py
"""

from __future__ import annotations

import json
from collections import defaultdict

from environments import ENVIRONMENTS, TORCH
from figures import path
from frameworks import FRAMEWORKS

ORDER = [framework.name for framework in FRAMEWORKS]


def main() -> None:
    found = json.loads(path().read_text())
    machine = found["machine"]
    print(f"Machine: {machine['processor']}, {machine['cores']} cores, Python {machine['python']},", end=" ")
    print(f"torch {machine['torch']} on our side; two threads on both.\n")
    rows = sorted(found["rows"].values(), key=lambda row: ORDER.index(row["framework"]))
    agreement(rows)
    broken(rows)
    print("| framework | what its environment is made of |\n| --- | --- |")
    for name, made in ENVIRONMENTS.items():
        pins = [pin for pin in (*made.packages, *made.bare) if pin not in TORCH[1:]]
        print(f"| {name} | {', '.join(pins)}{f', Python {made.python}' if made.python else ''} |")


def agreement(rows: list[dict]) -> None:
    """One line for each network and each framework that runs it: the worst over containers, both ways, both sizes."""
    worst: dict[tuple, dict[tuple, float]] = defaultdict(lambda: defaultdict(float))
    sizes: dict[str, set[int]] = defaultdict(set)
    for row in rows:
        if row["what"] in ("in", "out"):
            key = (row["framework"], row["network"], row["reader"])
            cell = (row["what"], row["size"] != 224)
            worst[key][cell] = max(worst[key][cell], row["largest"] / row["spread"])
            sizes[row["framework"]].add(row["size"])
    print("| network | run by | odd size | in, 224 | in, odd | out, 224 | out, odd |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for (framework, network, reader), cells in worst.items():
        odd = next(iter(sizes[framework] - {224}), "")
        figures = [cells.get((what, is_odd)) for what in ("in", "out") for is_odd in (False, True)]
        print(f"| {network} | {reader} | {odd} | {' | '.join(map(figure, figures))} |")
    print()


def figure(value: float | None) -> str:
    return "–" if value is None else "0" if value == 0 else f"{value:.1e}"


def broken(rows: list[dict]) -> None:
    """What each wrong rule costs, the least and the most over all networks."""
    costs: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        if row["what"] not in ("in", "out"):
            costs[row["what"]].append(row["largest"] / row["spread"])
    print("| rule | networks | least | most |\n| --- | ---: | ---: | ---: |")
    for rule, values in costs.items():
        print(f"| {rule} | {len(values)} | {min(values):.2f} | {max(values):.2f} |")
    print()


if __name__ == "__main__":
    main()
