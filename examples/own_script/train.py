"""A training script independent of sweeplaw: a cosine series fitted to noisy points by gradient descent.

It takes its settings as arguments and prints a JSON line per evaluation; a script needs no more than that. The loss is
a mean squared error whose minimum is known: the variance of the noise, plus the power of the target's frequencies that
a model of this width lacks, which falls as 1 / width.
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
    parser.add_argument("--width", type=int, required=True, help="frequencies of the model: its parameters")
    parser.add_argument("--examples", type=int, required=True, help="training examples, each seen once")
    parser.add_argument("--lr", type=float, required=True, help="peak learning rate; it falls linearly to zero")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    print(
        f"fitting {args.width} frequencies to {args.examples} examples", file=sys.stderr
    )  # a log, which is not parsed
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
    """Yield noisy points of the target."""
    for _ in range(count):
        x = source.uniform(0, math.pi)
        clean = sum(math.cos(k * x) / k for k in range(1, FREQUENCIES + 1))
        yield x, clean + source.gauss(0, NOISE)


def step(weights: list[float], x: float, y: float, lr: float) -> float:
    """Take one step of gradient descent on one example, in place; return its squared error before the step."""
    features = [math.cos(k * x) for k in range(1, len(weights) + 1)]
    error = sum(w * f for w, f in zip(weights, features, strict=True)) - y
    for index, feature in enumerate(features):
        weights[index] -= lr * error * feature
    return error * error


def loss(weights: list[float], points: list[tuple[float, float]]) -> float:
    """Return the mean squared error."""
    return sum(step(weights, x, y, 0.0) for x, y in points) / len(points)


if __name__ == "__main__":
    main()
