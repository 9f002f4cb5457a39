"""The pages of the gallery: which phenomena each shows, in their order."""

from __future__ import annotations

from examples.gallery.decisions import (
    best_lr_moves,
    few_draws_suffice,
    groks_late,
    inside_what_was_tried,
    knobs_follow,
    learns_without_decay,
    one_setting_for_all,
    optimum_within,
    picking_flatters,
    sooner_with,
)
from examples.gallery.phenomena import GalleryPage, Phenomenon
from examples.gallery.theory_pages import THEORY

STEP_LAW = "Li et al. 2025, Predictable Scale, Part I, arXiv:2503.04715"
HYPERLAW = ("hyperlaw", "STORE", "--cell", "N,D", "--knob", "lr")
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
                pictures=("f0-knob1", "f0-best1"),
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
                remark="Less than a per mille of the loss: with 64 settings the lower end of an interval is near zero.",
            ),
            Phenomenon(
                "draws",
                "Sixteen random draws of three knobs are enough to come within 1 % of the best of 64.",
                "A rule of thumb; the estimator is that of Tang et al. 2020, arXiv:2004.13705",
                "orchestrator/sweeps/tuning/flattery.toml",
                BEST_OF,
                few_draws_suffice(16),
                pictures=("f0-best-of",),
            ),
            Phenomenon(
                "one_setting",
                "One setting tuned on half of the workloads is within 1 % of the best of each of the others.",
                "Sivaprasad, Mai, Vogels, Jaggi & Fleuret 2020, Optimizer benchmarking needs to account for "
                "hyperparameter tuning, arXiv:1910.11758",
                "orchestrator/sweeps/tuning/one_setting.toml",
                ("transfer", "STORE", "--workload", "corpus,N", "--knob", "lr", "--knob", "batch_sequences"),
                one_setting_for_all(0.01),
                pictures=("transfer",),
            ),
        ),
    ),
    *THEORY,
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
                pictures=("f3-curves",),
                remark="The picture is of weight decay 1: the validation loss rises while pairs are memorized.",
            ),
            Phenomenon(
                "sooner",
                "They grok sooner with more weight decay and with more training pairs.",
                "Power et al. 2022, figures 1 and 2",
                "orchestrator/sweeps/grokking.toml",
                ("time-law", "STORE", "--x", "weight_decay", "--x", "train_fraction"),
                sooner_with("weight_decay", "train_fraction"),
                pictures=("event0",),
                remark="Powers alone are rejected (p of curvature): the exponents are means over these ranges.",
            ),
            Phenomenon(
                "no_decay",
                "Without weight decay softmax collapses before it groks; StableMax and the orthogonal gradient go on.",
                "Prieto, Barsbey, Mediano & Birdal 2025, Grokking at the edge of numerical stability, arXiv:2501.04697",
                "orchestrator/sweeps/grokking_without_decay.toml",
                (
                    "query",
                    "STORE",
                    "SELECT loss_function, orthogonal_gradient, median(train_loss) AS train_loss, median(val_accuracy) "
                    "AS val_accuracy, count(grok_step) AS grokked FROM trials "
                    "GROUP BY loss_function, orthogonal_gradient ORDER BY loss_function, orthogonal_gradient",
                ),
                learns_without_decay,
                remark="Medians over three seeds. StableMax still rises at the last step and has not passed .99.",
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
                pictures=("f0-knob0", "f1-knob0"),
                remark="At its own best rate the standard parametrization has the lower loss at width 256 here: "
                "µP keeps the rate, and does not promise the lower loss. The first picture is of the standard one.",
            ),
        ),
    ),
)
