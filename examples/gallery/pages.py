"""The pages of the gallery: which phenomena each shows, in their order."""

from __future__ import annotations

from examples.gallery.decisions import (
    batch_exponent,
    best_lr_moves,
    best_lr_saturates,
    double_descent,
    exponent,
    few_draws_suffice,
    groks_late,
    inside_what_was_tried,
    knobs_follow,
    more_is_better,
    one_beats_many,
    one_setting_for_all,
    optimum_within,
    picking_flatters,
    sooner_with,
    stopping_is_nearly_ridge,
)
from examples.gallery.phenomena import GalleryPage, Phenomenon

RANDOM = "orchestrator/sweeps/random_features"
AS_THEORY = ("--objective", "ls", "--space", "raw", "--weights", "noise")
MEANS = "avg(val_loss) AS loss, stddev(val_loss) AS spread, count(*) AS runs"
MORE = "Simon, Karkada, Ghosh & Belkin 2023, More is better in modern machine learning, arXiv:2311.14646"

STEP_LAW = "Li et al. 2025, Predictable Scale, Part I, arXiv:2503.04715"
HYPERLAW = ("hyperlaw", "STORE", "--cell", "N,D", "--knob", "lr")
BATCH_LR = ("batch-lr", "STORE", "--cell", "N")
BEST_OF = ("best-of", "STORE", "--cell", "N", "--knob", "lr", "--knob", "weight_decay", "--knob", "beta2")

PAGES = (
    GalleryPage(
        "step_law",
        "The best learning rate and batch size",
        "Language models of 8,000 to 128,000 parameters on 65,536 to 655,360 bytes of the default corpus, seven "
        "learning rates with five batch sizes each.",
        (
            Phenomenon(
                "exponents",
                "The best learning rate falls with N and rises with D.",
                STEP_LAW,
                "orchestrator/sweeps/step_law.toml",
                HYPERLAW,
                knobs_follow({("lr", "N"): -1, ("lr", "D"): 1}),
                remark="Step Law has lr ~ N^-0.713 D^0.307, from 60M parameters on, at the best batch of each cell.",
            ),
            Phenomenon(
                "batch",
                "The best batch size rises with D.",
                STEP_LAW,
                "orchestrator/sweeps/step_law.toml",
                ("query", "STORE", "SELECT N, D, batch_sequences FROM best", "--best-per", "N,D"),
                inside_what_was_tried("batch_sequences", 2, 32),
                remark="Where the best batch is the smallest that was tried, no law of it can be fitted.",
            ),
            Phenomenon(
                "regret",
                "The optimum predicted for cells left out loses at most 0.9 per mille of the best that was tried.",
                STEP_LAW,
                "orchestrator/sweeps/step_law.toml",
                HYPERLAW,
                optimum_within(0.9),
            ),
        ),
    ),
    GalleryPage(
        "tuning",
        "Tuning as an experiment of its own",
        "Settings drawn at random, picked on a little held-out text and reported on as much again; and one setting for "
        "many corpora and sizes.",
        (
            Phenomenon(
                "flattery",
                "The loss that picks a setting is lower there than at the setting that as much other text picks.",
                "Dodge, Gururangan, Card, Schwartz & Smith 2019, Show your work, arXiv:1909.03004",
                "orchestrator/sweeps/tuning/flattery.toml",
                (*BEST_OF, "--report", "other_loss"),
                picking_flatters,
            ),
            Phenomenon(
                "draws",
                "Sixteen random draws of three knobs are enough to come within 1 % of the best of 64.",
                "A rule of thumb; the estimator is that of Tang et al. 2020, arXiv:2004.13705",
                "orchestrator/sweeps/tuning/flattery.toml",
                BEST_OF,
                few_draws_suffice(16),
            ),
            Phenomenon(
                "one_setting",
                "One setting tuned on half of the workloads is within 1 % of the best of each of the others.",
                "Sivaprasad, Mai, Vogels, Jaggi & Fleuret 2020, Optimizer benchmarking needs to account for "
                "hyperparameter tuning, arXiv:1910.11758",
                "orchestrator/sweeps/tuning/one_setting.toml",
                ("transfer", "STORE", "--workload", "corpus,N", "--knob", "lr", "--knob", "batch_sequences"),
                one_setting_for_all(0.01),
            ),
        ),
    ),
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
            ),
            Phenomenon(
                "exponent_features",
                "With four times as many samples as features it falls as features^-3 (capacity).",
                MORE,
                "orchestrator/sweeps/ridge.toml",
                ("fit", "STORE", "power", "--x", "x=N", "--where", "source_exponent = 0.65", *AS_THEORY),
                exponent(3.0),
            ),
            Phenomenon(
                "more_is_better",
                "At the best ridge, more features and more samples are never worse.",
                MORE,
                f"{RANDOM}/more_is_better.toml",
                ("query", "STORE", f"SELECT features, samples, {MEANS} FROM trials GROUP BY features, samples"),
                more_is_better,
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
                    "GROUP BY ridge_choice, ridge, features",
                ),
                double_descent,
            ),
            Phenomenon(
                "one_beats_many",
                "Of one number of features in all, one model beats any ensemble of smaller ones.",
                "Ruben, Tong, Chaudhry & Pehlevan 2024, No free lunch from random feature ensembles, arXiv:2412.05418",
                f"{RANDOM}/ensembles.toml",
                ("query", "STORE", f"SELECT samples, ensemble, {MEANS} FROM trials GROUP BY samples, ensemble"),
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
            ),
            Phenomenon(
                "exponent_time",
                "The risk of a wide student falls as time^-1 ((decay - 1) / capacity).",
                "Bordelon, Atanasov & Pehlevan 2024, A dynamical model of neural scaling laws, arXiv:2402.01092",
                "orchestrator/sweeps/dynamics/time.toml",
                ("fit", "STORE", "power", "--x", "x=time"),
                exponent(1.0),
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
                    "FROM trials GROUP BY samples, noise",
                ),
                stopping_is_nearly_ridge,
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
            ),
            Phenomenon(
                "batch_adam",
                "Where noise dominates, the best learning rate of Adam is proportional to the root of the batch size.",
                "Malladi, Lyu, Panigrahi & Arora 2022, On the SDEs and scaling rules for adaptive gradient algorithms, "
                "arXiv:2205.10287",
                "orchestrator/sweeps/dynamics/batch_adam.toml",
                BATCH_LR,
                batch_exponent(0.5, 1.0),
            ),
            Phenomenon(
                "critical_batch",
                "The best learning rate of a step of SGD is B / (B + 129): linear up to the critical batch, then flat.",
                "McCandlish, Kaplan, Amodei et al. 2018, An empirical model of large-batch training, arXiv:1812.06162",
                "orchestrator/sweeps/dynamics/critical_batch.toml",
                ("query", "STORE", "SELECT batch, lr, avg(val_loss) AS loss FROM trials GROUP BY batch, lr"),
                best_lr_saturates(129),
                remark="The critical batch is width (1 + noise^2) + 1; the 1 is that of Gaussian fourth moments.",
            ),
        ),
    ),
    GalleryPage(
        "grokking",
        "Grokking: addition modulo 31",
        "The workload `modular_arithmetic`: one hidden layer of squares, four training shares, four weight decays, "
        "three seeds, 2,000 steps. A run that has not grokked is censored, not missing.",
        (
            Phenomenon(
                "late",
                "Networks memorize their training pairs long before they answer the others.",
                "Power, Burda, Edwards, Babuschkin & Misra 2022, arXiv:2201.02177; Gromov 2023, arXiv:2301.02679",
                "orchestrator/sweeps/grokking.toml",
                (
                    "query",
                    "STORE",
                    "SELECT count(*) AS runs, count(grok_step) AS grokked, median(memorized_step) AS memorized_step, "
                    "median(grok_step) AS grok_step FROM trials",
                ),
                groks_late,
            ),
            Phenomenon(
                "sooner",
                "They grok sooner with more weight decay and with more training pairs.",
                "Power et al. 2022, figures 1 and 2",
                "orchestrator/sweeps/grokking.toml",
                ("time-law", "STORE", "--x", "weight_decay", "--x", "train_fraction"),
                sooner_with("weight_decay", "train_fraction"),
                remark="Powers alone are rejected (p of curvature): the exponents are means over these ranges.",
            ),
        ),
    ),
    GalleryPage(
        "mup",
        "The best learning rate against the width",
        "Language models of three blocks on 65,536 bytes of the default corpus, widths 32 to 256, seven learning "
        "rates, two seeds.",
        (
            Phenomenon(
                "best_lr",
                "In the standard parametrization the best learning rate falls with the width; in µP it stays.",
                "Yang et al. 2022, Tensor Programs V, arXiv:2203.03466",
                "orchestrator/sweeps/mup.toml",
                (
                    "query",
                    "STORE",
                    "SELECT parametrization, width, lr, val_loss FROM best",
                    "--best-per",
                    "parametrization,width",
                ),
                best_lr_moves,
                remark="At its own best rate the standard parametrization has the lower loss at width 256 here: "
                "µP keeps the rate, and does not promise the lower loss.",
            ),
        ),
    ),
)
