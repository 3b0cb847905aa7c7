"""What the first steps of a long training with Muon do to the stem's weights, its norm's statistics, and the loss.

python benchmarks/lengths.py cifar10.zip --steps 1300
"""

import argparse
import statistics
import tempfile

import resnets
from resnets.training import Observer

EVERY = 100


class Look(Observer):
    def __init__(self, steps):
        self.steps, self.losses = steps, []

    def stepped(self, training, step):
        self.losses.append(step.loss)
        if len(self.losses) % EVERY == 0:
            state = training.state.network.state_dict()
            weight, variance = (
                float(state[f"stem.{name}"].abs().max()) for name in ("conv.weight", "norm.running_var")
            )
            loss = statistics.mean(self.losses[-EVERY:])
            print(f"step {step.step + 1}: largest weight {weight:.3g}, variance {variance:.3g}, loss {loss:.3f}")
        if len(self.losses) == self.steps:
            raise KeyboardInterrupt


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--model", default="resnet20")
    parser.add_argument("--steps", type=int, default=1300)
    arguments = parser.parse_args()
    about = {"recipe": "cifar-fast", "epochs": 20, "overrides": ["shift=4", "learning_rate=0.06"]}
    with tempfile.TemporaryDirectory() as folder:
        try:
            observers = [Look(arguments.steps)]
            resnets.train(
                arguments.data,
                model=arguments.model,
                weights="none",
                out=f"{folder}/run",
                observers=observers,
                **about,
            )
        except KeyboardInterrupt:
            print("that is all")


if __name__ == "__main__":
    main()
