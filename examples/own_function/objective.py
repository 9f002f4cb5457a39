"""A function as the trial of a sweep: ridge regression on random features, solved by gradient descent.

The function takes the configuration and yields its measurements. It could also call a parameter `report`, or only
return its val_loss.
"""

import numpy as np

INPUTS, TEACHER_WIDTH, NOISE = 8, 512, 0.1


def train(config):
    teacher, draw = np.random.default_rng(0), np.random.default_rng([1, config["seed"]])
    inner = teacher.normal(size=(INPUTS, TEACHER_WIDTH))
    outer = teacher.normal(size=TEACHER_WIDTH) / np.sqrt(TEACHER_WIDTH)
    features = draw.normal(size=(INPUTS, config["params"]))

    def examples(count, source):
        x = source.normal(size=(count, INPUTS))
        return np.tanh(x @ features), np.tanh(x @ inner) @ outer + NOISE * source.normal(size=count)

    (z, y), (z_val, y_val) = examples(config["tokens"], draw), examples(2000, teacher)
    curvature, weights = np.linalg.norm(z, 2) ** 2 / len(y) + config["weight_decay"], np.zeros(config["params"])
    for step in range(1, 201):
        gradient = z.T @ (z @ weights - y) / len(y) + config["weight_decay"] * weights
        weights -= gradient / curvature
        if step % 50 == 0:
            yield {"step": step, "val_loss": np.mean((z_val @ weights - y_val) ** 2)}
    return {"train_loss": np.mean((z @ weights - y) ** 2)}
