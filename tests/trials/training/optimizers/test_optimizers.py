"""Every optimizer against torch's, its authors' code or its published formula, member by member."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import schedulefree
import torch
from torch import Tensor

from sweeplaw.trials.training.optimizers.muon import orthogonalized
from sweeplaw.trials.training.optimizers.optimizer import Coefficients, Optimizer
from sweeplaw.trials.training.optimizers.registry import OF_MATRICES, OPTIMIZERS
from sweeplaw.trials.training.parametrization.groups import ParameterGroup

STEPS = 50
MATRICES = ((6, 4), (6, 4), (4, 6), (5, 5))
HIDDEN, OTHERS, GAINS = sum(rows * columns for rows, columns in MATRICES), 37, 13
SIZES = [HIDDEN, OTHERS, GAINS]  # hidden matrices and others decay, gains do not
MEMBERS = (
    Coefficients(0.0, beta1=0.9, beta2=0.95, momentum=0.9, nesterov=False),
    Coefficients(0.0, beta1=0.8, beta2=0.99, momentum=0.95, nesterov=True),
    Coefficients(0.0, beta1=0.95, beta2=0.9, eps=1e-3, momentum=0.0, nesterov=True),
)
RATES, DECAYS = [1e-2, 3e-3, 0.05], [0.0, 0.1, 1.6]

pytestmark = pytest.mark.heavy


def groups(name: str) -> list[ParameterGroup]:
    matrices = MATRICES if name in OF_MATRICES else ()
    return [ParameterGroup(HIDDEN, True, 1.0, matrices), ParameterGroup(OTHERS, True), ParameterGroup(GAINS, False)]


def build(name: str, flat: Tensor, members: Sequence[Coefficients] = MEMBERS) -> Optimizer:
    return OPTIMIZERS[name](flat.split(SIZES, dim=1), groups(name), members)


def rate(peak: float, step: int) -> float:
    """Return a learning rate that rises and falls, as a schedule's does."""
    return peak * min(1.0, (step + 1) / 10) * (1 - step / STEPS)


def gradient(step: int) -> Tensor:
    return torch.randn(len(MEMBERS), sum(SIZES), dtype=torch.float64, generator=torch.Generator().manual_seed(step))


def trained(name: str) -> Tensor:
    """Return what each member is evaluated with after `STEPS` updates."""
    flat = gradient(1000)
    optimizer = build(name, flat)
    for step in range(STEPS):
        fresh = gradient(step)
        lrs = [rate(peak, step) for peak in RATES]
        optimizer.step(lrs, DECAYS, fresh.split(SIZES, dim=1), fresh.norm(dim=1))
    averaged = optimizer.averaged()
    return flat if averaged is None else torch.cat(list(averaged), dim=1)


Peer = Callable[[Tensor, int], Tensor]


def by_torch(make: Callable[..., torch.optim.Optimizer], **settings: Callable[[int], Any]) -> Peer:
    """Return the training of one member by an optimizer of torch, with settings that depend on the member."""

    def train(start: Tensor, member: int) -> Tensor:
        parts = [part.clone().requires_grad_() for part in start.split(SIZES)]
        own = {name: of(member) for name, of in settings.items()}
        decoupled = own.pop("decoupled", False)
        decays = [0.0 if decoupled else DECAYS[member]] * 2 + [0.0]
        optimizer = make(
            [{"params": [part], "weight_decay": decay} for part, decay in zip(parts, decays, strict=True)],
            lr=RATES[member],
            **own,
        )
        if hasattr(optimizer, "train"):
            optimizer.train()
        for step in range(STEPS):
            lr = rate(RATES[member], step)
            for part, fresh in zip(parts, gradient(step)[member].split(SIZES), strict=True):
                part.grad = fresh
                if decoupled and part is not parts[-1]:
                    part.data.mul_(1 - lr * DECAYS[member])
            for group in optimizer.param_groups:
                group["lr"] = lr
            optimizer.step()
        if hasattr(optimizer, "eval"):
            optimizer.eval()
        return torch.cat(parts).detach()

    return train


def betas(member: int) -> tuple[float, float]:
    return MEMBERS[member].beta1, MEMBERS[member].beta2


def lion(start: Tensor, member: int) -> Tensor:
    """Chen et al. 2023, algorithm 2."""
    own, values, momentum = MEMBERS[member], start.clone(), torch.zeros_like(start)
    decays = torch.tensor([DECAYS[member]] * (HIDDEN + OTHERS) + [0.0] * GAINS, dtype=torch.float64)
    for step in range(STEPS):
        lr, fresh = rate(RATES[member], step), gradient(step)[member]
        update = torch.sign(own.beta1 * momentum + (1 - own.beta1) * fresh)
        momentum = own.beta2 * momentum + (1 - own.beta2) * fresh
        values = values - lr * (update + decays * values)
    return values


def newton_schulz(matrix: Tensor) -> Tensor:
    """Jordan et al. 2024: five steps of x -> a x + b x x' x + c (x x')² x from the matrix over its norm."""
    x = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = x / x.square().sum().sqrt()
    for _ in range(5):
        square = x @ x.T
        x = 3.4445 * x - 4.7750 * square @ x + 2.0315 * square @ square @ x
    return x.T if matrix.shape[0] > matrix.shape[1] else x


def muon(start: Tensor, member: int) -> Tensor:
    """Muon of each hidden matrix, as torch.optim.Muon documents it (`match_rms_adamw`); torch's AdamW of the rest."""
    own, rest = MEMBERS[member], ADAMW(start, member)
    values, velocity = start[:HIDDEN].clone(), torch.zeros(HIDDEN, dtype=torch.float64)
    for step in range(STEPS):
        lr, fresh = rate(RATES[member], step), gradient(step)[member][:HIDDEN]
        velocity = own.momentum * velocity + (1 - own.momentum) * fresh
        direction = own.momentum * velocity + (1 - own.momentum) * fresh if own.nesterov else velocity
        sizes = [rows * columns for rows, columns in MATRICES]
        updates = []
        for part, (rows, columns) in zip(direction.split(sizes), MATRICES, strict=True):
            matrix = newton_schulz(part.view(rows, columns))
            updates.append(0.2 * math.sqrt(max(rows, columns)) * matrix.flatten())
        values = values * (1 - lr * DECAYS[member]) - lr * torch.cat(updates)
    return torch.cat([values, rest[HIDDEN:]])


ADAMW = by_torch(torch.optim.AdamW, betas=betas, eps=lambda member: MEMBERS[member].eps)
PEERS: Mapping[str, Peer] = {
    "adamw": ADAMW,
    "sgd": by_torch(
        torch.optim.SGD,
        momentum=lambda member: MEMBERS[member].momentum,
        nesterov=lambda member: MEMBERS[member].nesterov and MEMBERS[member].momentum > 0,
        decoupled=lambda member: True,
    ),
    "lion": lion,
    "muon": muon,
    "schedule_free": by_torch(
        schedulefree.AdamWScheduleFree,
        betas=betas,
        eps=lambda member: MEMBERS[member].eps,
        foreach=lambda member: False,
    ),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_member_ends_where_its_peer_does(name: str) -> None:
    found = trained(name)
    for member, start in enumerate(gradient(1000)):
        expected = PEERS[name](start, member)
        assert torch.allclose(found[member], expected, rtol=1e-10, atol=1e-10), member


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_members_take_the_updates_they_take_alone(name: str) -> None:
    together, alone = gradient(1000).float(), [row[None].clone() for row in gradient(1000).float()]
    optimizer = build(name, together)
    single = [build(name, row, [member]) for row, member in zip(alone, MEMBERS, strict=True)]
    for step in range(4):
        fresh = gradient(step).float()
        norms = fresh.norm(dim=1)
        for i, own in enumerate(single):
            own.step([RATES[i]], [DECAYS[i]], fresh[i : i + 1].clone().split(SIZES, dim=1), norms[i : i + 1])
        optimizer.step(RATES, DECAYS, fresh.split(SIZES, dim=1), norms)
    # Batched products of Newton-Schulz may add in another order; all else is equal to the last bit.
    tolerance = 1e-6 if name in OF_MATRICES else 0.0
    assert torch.allclose(together, torch.cat(alone), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_member_whose_gradient_is_not_a_number_does_not_affect_the_others(name: str) -> None:
    ends = []
    for broken in (False, True):
        flat = gradient(1000)
        optimizer = build(name, flat)
        for step in range(3):
            fresh = gradient(step)
            if broken:
                fresh[0, 3] = torch.nan
            optimizer.step(RATES, DECAYS, fresh.split(SIZES, dim=1), fresh.norm(dim=1))
        ends.append(flat[1:])
        if name != "lion":  # which takes the sign of a number that is none for 0
            assert broken == bool(flat[0].isnan().any())
    assert torch.equal(*ends)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_clipping_is_that_of_torch(name: str) -> None:
    """A gradient above the bound has the effect of the one that torch's clip_grad_norm_ makes of it."""
    ends = []
    for clipped in (False, True):
        flat, fresh = gradient(1000), 3 * gradient(1)
        norms = fresh.norm(dim=1)
        members = [Coefficients(0.5 if clipped else 0.0, momentum=0.9) for _ in MEMBERS]
        if not clipped:
            for row in fresh:
                own = torch.nn.Parameter(torch.zeros_like(row))
                own.grad = row
                torch.nn.utils.clip_grad_norm_([own], 0.5)
        build(name, flat, members).step(RATES, DECAYS, fresh.split(SIZES, dim=1), norms)
        ends.append(flat)
    unclipped, clipped_end = ends
    assert torch.allclose(unclipped, clipped_end, rtol=1e-7, atol=1e-7)  # AdamW's kernel takes the factor in float32


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_resumes_from_its_moments(name: str) -> None:
    flat = gradient(1000)
    first = build(name, flat)
    lrs = [[rate(peak, step) for peak in RATES] for step in range(8)]
    for step in range(8):
        if step == 5:
            restored = flat.clone()
            second = build(name, restored)
            for kept, loaded in zip(first.moments.values(), second.moments.values(), strict=True):
                for source, target in zip(kept, loaded, strict=True):
                    target.copy_(source)
            second.resume(iter(lrs[:5]))
        fresh = gradient(step)
        if step >= 5:
            copy = fresh.clone()
            second.step(lrs[step], DECAYS, copy.split(SIZES, dim=1), copy.norm(dim=1))
        first.step(lrs[step], DECAYS, fresh.split(SIZES, dim=1), fresh.norm(dim=1))
    assert torch.equal(flat, restored)
    for one, other in zip(first.averaged() or [flat], second.averaged() or [restored], strict=True):
        assert torch.equal(one, other)


def test_schedule_free_averages_the_values_it_starts_from_even_if_they_are_replaced() -> None:
    flat = gradient(1000)
    optimizer = build("schedule_free", flat)
    flat.zero_()
    fresh = gradient(0)
    optimizer.step([0.0] * 3, DECAYS, fresh.split(SIZES, dim=1), fresh.norm(dim=1))
    assert all(torch.equal(part, torch.zeros_like(part)) for part in optimizer.averaged() or [flat])


def test_orthogonalized_matrices_have_the_singular_vectors_of_the_matrix_and_values_near_one() -> None:
    matrices = torch.randn(7, 12, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    left, values, right = torch.linalg.svd(orthogonalized(matrices), full_matrices=False)
    assert values.min() > 0.6
    assert values.max() < 1.3
    exact = torch.linalg.svd(matrices, full_matrices=False)
    overlap = torch.einsum("mij,mij->m", left @ right, exact.U @ exact.Vh) / 5
    assert overlap.min() > 0.99


def test_muon_moves_as_torchs_muon_does_within_its_bfloat16() -> None:
    start, fresh = gradient(1000)[0][:24].view(6, 4), gradient(0)[0][:24].view(6, 4)
    peer = torch.nn.Parameter(start.clone())
    peer.grad = fresh
    torch.optim.Muon([peer], lr=0.1, weight_decay=0.1, momentum=0.9, adjust_lr_fn="match_rms_adamw").step()
    ours = start.clone().view(1, -1)
    one = OPTIMIZERS["muon"](
        [ours, torch.zeros(1, 2).double()],
        [ParameterGroup(24, True, 1.0, ((6, 4),)), ParameterGroup(2, False)],
        [Coefficients(0.0, momentum=0.9, nesterov=True)],
    )
    one.step([0.1], [0.1], [fresh.reshape(1, -1).clone(), torch.zeros(1, 2).double()], torch.ones(1).double())
    assert torch.allclose(ours.view(6, 4), peer.detach(), atol=2e-3)
