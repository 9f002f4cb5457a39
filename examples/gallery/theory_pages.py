"""The pages of systems whose truth is known in closed form."""

from __future__ import annotations

from examples.gallery.phenomena import GalleryPage, Phenomenon
from examples.gallery.theory_decisions import (
    batch_exponent,
    best_lr_saturates,
    best_ridge_rises,
    double_descent,
    exponent,
    more_is_better,
    one_beats_many,
    stopping_is_nearly_ridge,
    stops_later,
)

RANDOM = "orchestrator/sweeps/random_features"
AS_THEORY = ("--objective", "ls", "--space", "raw", "--weights", "noise")
MEANS = "avg(val_loss) AS loss, stddev(val_loss) AS spread, count(*) AS runs"
MORE = "Simon, Karkada, Ghosh & Belkin 2023, More is better in modern machine learning, arXiv:2311.14646"
BATCH_LR = ("batch-lr", "STORE", "--cell", "N")

THEORY = (
    GalleryPage(
        "random_features",
        "Ridge regression on random features",
        "The workload `ridge`: Gaussian data with power-law eigenvalues; learning curves are known in closed form. "
        "Losses are exact squared errors on the population.",
        (
            Phenomenon(
                "exponent_samples",
                "At the best ridge and without noise the loss falls as samples^-2.1 (2 capacity source).",
                "Cui, Loureiro, Krzakala & Zdeborova 2021, arXiv:2105.15004",
                "orchestrator/sweeps/ridge.toml",
                ("fit", "STORE", "power", "--x", "x=D", "--where", "source_exponent = 0.35", *AS_THEORY),
                exponent(2.1),
                pictures=("f0-d",),
                report=("--where", "source_exponent = 0.35"),
            ),
            Phenomenon(
                "exponent_features",
                "With four times as many samples as features it falls as features^-3 (capacity).",
                MORE,
                "orchestrator/sweeps/ridge.toml",
                ("fit", "STORE", "power", "--x", "x=N", "--where", "source_exponent = 0.65", *AS_THEORY),
                exponent(3.0),
                pictures=("f0-n",),
                report=("--where", "source_exponent = 0.65"),
            ),
            Phenomenon(
                "more_is_better",
                "At the best ridge, more features and more samples are never worse.",
                MORE,
                f"{RANDOM}/more_is_better.toml",
                (
                    "query",
                    "STORE",
                    f"SELECT features, samples, {MEANS} FROM trials "
                    "GROUP BY features, samples ORDER BY features, samples",
                ),
                more_is_better,
                pictures=("f0-n",),
            ),
            Phenomenon(
                "double_descent",
                "Without a ridge the loss peaks where features equal samples; the best ridge removes the peak.",
                MORE,
                f"{RANDOM}/double_descent.toml",
                (
                    "query",
                    "STORE",
                    "SELECT ridge_choice, ridge, features, median(val_loss) AS loss FROM trials "
                    "GROUP BY ridge_choice, ridge, features ORDER BY ridge_choice, ridge, features",
                ),
                double_descent,
                pictures=("f0-n",),
                report=("--where", "ridge_choice = 'given' AND ridge < 1e-6"),
            ),
            Phenomenon(
                "best_ridge",
                "The best ridge rises with the number of samples and with label noise.",
                MORE,
                f"{RANDOM}/best_ridge.toml",
                ("query", "STORE", "SELECT samples, noise, ridge FROM best", "--best-per", "samples,noise"),
                best_ridge_rises,
                pictures=("f0-knob0",),
            ),
            Phenomenon(
                "one_beats_many",
                "Of one number of features in all, one model beats any ensemble of smaller ones.",
                "Ruben, Tong, Chaudhry & Pehlevan 2024, No free lunch from random feature ensembles, arXiv:2412.05418",
                f"{RANDOM}/ensembles.toml",
                (
                    "query",
                    "STORE",
                    f"SELECT samples, ensemble, {MEANS} FROM trials "
                    "GROUP BY samples, ensemble ORDER BY samples, ensemble",
                ),
                one_beats_many,
            ),
        ),
    ),
    GalleryPage(
        "linear_dynamics",
        "Gradient descent on a linear teacher and student",
        "The workload `linear_dynamics`: gradient flow, whose expected risk is known in closed form.",
        (
            Phenomenon(
                "exponent_width",
                "After long training the risk falls as width^-1 (decay - 1).",
                "Bordelon, Atanasov & Pehlevan 2024, A dynamical model of neural scaling laws, arXiv:2402.01092",
                "orchestrator/sweeps/linear_dynamics.toml",
                ("fit", "STORE", "power", "--x", "x=N"),
                exponent(1.0),
                pictures=("f0-n",),
                report=("--x", "D=time"),
            ),
            Phenomenon(
                "exponent_time",
                "The risk of a wide student falls as time^-1 ((decay - 1) / capacity).",
                "Bordelon, Atanasov & Pehlevan 2024, A dynamical model of neural scaling laws, arXiv:2402.01092",
                "orchestrator/sweeps/dynamics/time.toml",
                ("fit", "STORE", "power", "--x", "x=time"),
                exponent(1.0),
                pictures=("f0-d",),
                report=("--x", "D=time"),
                remark="The interval is narrower than the last digits here: what 4 million coordinates leave out bends "
                "the curve by less than a per mille.",
            ),
            Phenomenon(
                "exponent_samples",
                "Trained to the end without noise, the risk falls as samples^-1 (decay - 1, for a capacity above 1/2).",
                "Bordelon, Canatar & Pehlevan 2020, Spectrum dependent learning curves, arXiv:2002.02561",
                "orchestrator/sweeps/dynamics/samples.toml",
                ("fit", "STORE", "power", "--x", "x=D", *AS_THEORY),
                exponent(1.0),
                pictures=("f0-d",),
            ),
            Phenomenon(
                "early_stopping",
                "On a sample, the best stopping time is nearly as good as the best ridge, and as good as theory says.",
                "Advani, Saxe & Sompolinsky 2020, High-dimensional dynamics of generalization error, arXiv:1710.03667",
                "orchestrator/sweeps/dynamics/early_stopping.toml",
                (
                    "query",
                    "STORE",
                    "SELECT samples, noise, avg(best_time_loss) AS stopped, avg(ridge_loss) AS ridge, "
                    "avg(theory_best_time_loss) AS theory, stddev(best_time_loss) / sqrt(count(*)) AS error "
                    "FROM trials GROUP BY samples, noise ORDER BY samples, noise",
                ),
                stopping_is_nearly_ridge,
                pictures=("f0-d",),
                report=("--y", "best_time_loss"),
            ),
            Phenomenon(
                "stopping_time",
                "The best stopping time rises with samples and falls with label noise.",
                "Advani, Saxe & Sompolinsky 2020, High-dimensional dynamics of generalization error, arXiv:1710.03667",
                "orchestrator/sweeps/dynamics/early_stopping.toml",
                (
                    "query",
                    "STORE",
                    "SELECT samples, noise, exp(avg(ln(best_time))) AS stopped_at, avg(theory_best_time) AS "
                    "theory_time FROM trials GROUP BY samples, noise ORDER BY samples, noise",
                ),
                stops_later,
                remark="Every neighbour is on its side. The time is off theory where the optimum is flat, the "
                "loss there is not.",
            ),
        ),
    ),
    GalleryPage(
        "batch_size",
        "The best learning rate against the batch size",
        "The workload `linear_dynamics`: one to four steps of SGD and Adam on fresh samples of a "
        "linear teacher, whose label noise is as large as its signal.",
        (
            Phenomenon(
                "batch_sgd",
                "Far below the critical batch, the best learning rate of SGD is proportional to the batch size.",
                "Goyal et al. 2017, Accurate, large minibatch SGD, arXiv:1706.02677",
                "orchestrator/sweeps/dynamics/batch_sgd.toml",
                BATCH_LR,
                batch_exponent(1.0, 0.5),
                pictures=("f0-best0",),
            ),
            Phenomenon(
                "batch_adam",
                "Where noise dominates, the best learning rate of Adam is proportional to the root of the batch size.",
                "Malladi, Lyu, Panigrahi & Arora 2022, On the SDEs and scaling rules for adaptive gradient algorithms, "
                "arXiv:2205.10287",
                "orchestrator/sweeps/dynamics/batch_adam.toml",
                BATCH_LR,
                batch_exponent(0.5, 1.0),
                pictures=("f0-best0",),
            ),
            Phenomenon(
                "critical_batch",
                "The best learning rate of a step of SGD is B / (B + 129): linear up to the critical batch, then flat.",
                "McCandlish, Kaplan, Amodei et al. 2018, An empirical model of large-batch training, arXiv:1812.06162",
                "orchestrator/sweeps/dynamics/critical_batch.toml",
                (
                    "query",
                    "STORE",
                    "SELECT batch, lr, avg(val_loss) AS loss FROM trials GROUP BY batch, lr ORDER BY batch, lr",
                ),
                best_lr_saturates(129),
                pictures=("f0-knob0",),
                remark="The critical batch is width (1 + noise^2) + 1; the 1 is that of Gaussian fourth moments.",
            ),
        ),
    ),
)
