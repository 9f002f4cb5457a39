"""A training script that knows nothing of sweeps: a cosine series fitted to noisy points by gradient descent.

It takes its settings as arguments and prints a JSON line for each evaluation. That is all a script needs. The loss is
a mean squared error whose least value is known: the noise's variance, plus the power of the target's frequencies that
a model of this width does not have, which falls as 1 / width.
"""

import argparse
import json
import math
import random
import sys

FREQUENCIES = 128  # of the target; frequency k has amplitude 1 / k
NOISE = 0.3
EVALUATIONS = 5


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--width", type=int, required=True, help="frequencies the model knows: its parameters")
    parser.add_argument("--examples", type=int, required=True, help="training examples, each seen once")
    parser.add_argument("--lr", type=float, required=True, help="peak learning rate; it falls linearly to zero")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    print(f"fitting {args.width} frequencies to {args.examples} examples", file=sys.stderr)  # a log, nobody parses it
    validation = list(draw(300, random.Random("validation")))
    weights, total, since = [0.0] * args.width, 0.0, 0
    for seen, (x, y) in enumerate(draw(args.examples, random.Random(args.seed)), start=1):
        lr = args.lr * (1 - (seen - 1) / args.examples)
        total, since = total + step(weights, x, y, lr), since + 1
        if seen % math.ceil(args.examples / EVALUATIONS) == 0 or seen == args.examples:
            report = {"step": seen, "lr": lr, "train_loss": total / since, "val_loss": loss(weights, validation)}
            print(json.dumps(report), flush=True)
            total, since = 0.0, 0


def draw(count: int, source: random.Random):
    """Points of the target with noise."""
    for _ in range(count):
        x = source.uniform(0, math.pi)
        clean = sum(math.cos(k * x) / k for k in range(1, FREQUENCIES + 1))
        yield x, clean + source.gauss(0, NOISE)


def step(weights: list[float], x: float, y: float, lr: float) -> float:
    """One step of gradient descent on one example, in place; returns its squared error before the step."""
    features = [math.cos(k * x) for k in range(1, len(weights) + 1)]
    error = sum(w * f for w, f in zip(weights, features, strict=True)) - y
    for index, feature in enumerate(features):
        weights[index] -= lr * error * feature
    return error * error


def loss(weights: list[float], points: list[tuple[float, float]]) -> float:
    return sum(step(weights, x, y, 0.0) for x, y in points) / len(points)


if __name__ == "__main__":
    main()
