"""A network of your own choices: three stages of ResNeXt bottlenecks, pre-activated, with an averaging shortcut.

python examples/own_network.py
"""

import torch

import resnets
from resnets.inspection import compare, diagram


def main():
    spec = resnets.ResNetSpec(
        depths=(2, 3, 2),
        widths=(32, 64, 128),
        block="bottleneck",
        order="pre",
        shortcut="avgpool",
        groups=4,
        stem="cifar",
        stem_width=32,
    )
    plan = resnets.plan(spec, num_classes=10, image_size=32)  # no torch up to here
    print(f"{plan.parameters:,} parameters, {plan.macs:,} multiply-adds")
    for row in plan.rows[:6]:
        print(f"  {row.role:24} {row.kind:8} reads {', '.join(row.reads)}")
    beside = resnets.plan("resnet50")
    print(compare(plan, beside, ("mine", "resnet50")).sentence)

    with open("mine.svg", "w", encoding="utf-8") as file:
        file.write(diagram(plan, "mine"))
    network = resnets.create(spec, num_classes=10, seed=0)
    print(f"logits {tuple(network(torch.rand(2, 3, 32, 32)).shape)}, drawn in mine.svg")
    try:
        resnets.ResNetSpec(block="basic", groups=4)
    except resnets.SpecError as problem:
        print(f"and what cannot be is refused: {problem}")


if __name__ == "__main__":
    main()
