"""Certificate of a local optimum on ordered levels: every neighbour has run, and no neighbour is better.

A neighbour is one step along one axis, or one of the joint moves that a sweep names, in either direction.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

Place = tuple[int, ...]  # the index on the ladder of each axis

TIE_SDS = 2.0  # standard deviations of a difference within which two settings are as good as each other


@dataclass(frozen=True, slots=True)
class Certificate:
    """What is known around the ``best`` place of one scientific point.

    It ``holds`` if no neighbour is ``open`` (not run yet). ``worse`` neighbours are clearly worse, ``failed`` ones have
    no loss and count as worse, and ``ties`` are within the noise of the best. ``edges`` are the axes on whose lowest
    (-1) or highest (+1) value the best lies, so that the optimum may lie beyond.
    """

    best: Place
    value: float
    open: tuple[Place, ...]
    worse: tuple[Place, ...]
    ties: tuple[Place, ...]
    failed: tuple[Place, ...]
    edges: Mapping[int, int]

    @property
    def holds(self) -> bool:
        """Whether every neighbour has run and no neighbour is better."""
        return not self.open

    def sentence(self, names: Sequence[str]) -> str:
        """Return the certificate in words; ``names`` are those of the axes."""
        ran = len(self.worse) + len(self.ties) + len(self.failed)
        parts = [
            f"no neighbour of {ran} is better"
            if self.holds
            else f"{len(self.open)} of {ran + len(self.open)} neighbours have not run"
        ]
        if self.ties:
            parts.append(f"{len(self.ties)} within the noise of it")
        if self.failed:
            parts.append(f"{len(self.failed)} without a loss, counted as worse")
        if self.edges:
            where = ", ".join(
                f"{'lowest' if sign < 0 else 'highest'} {names[axis]}" for axis, sign in self.edges.items()
            )
            parts.append(f"at the {where} of the ladder")
        return "; ".join(parts)


def neighbours(place: Place, sizes: Sequence[int], moves: Iterable[Place] = ()) -> list[Place]:
    """Return the places one step or one joint move away, on ladders of these ``sizes``; steps first."""
    steps = [tuple(sign * (k == axis) for k in range(len(sizes))) for axis in range(len(sizes)) for sign in (1, -1)]
    joint = [tuple(sign * step for step in move) for move in moves for sign in (1, -1)]
    there = [tuple(a + b for a, b in zip(place, move, strict=True)) for move in (*steps, *joint)]
    return [found for found in dict.fromkeys(there) if all(0 <= k < size for k, size in zip(found, sizes, strict=True))]


def certificate(
    values: Mapping[Place, float | None],
    sizes: Sequence[int],
    moves: Iterable[Place] = (),
    excluded: Collection[Place] = (),
    noise: float = 0.0,
) -> Certificate | None:
    """Return the certificate of the best place; None if no place has a loss.

    ``values`` maps each place that has run to its loss, None if it has none. ``excluded`` places have no trials (a
    condition of the sweep). ``noise`` is the standard deviation of a place's loss.
    """
    known = {place: value for place, value in values.items() if value is not None}
    if not known:
        return None
    best = min(known, key=lambda place: (known[place], place))
    around = [place for place in neighbours(best, sizes, moves) if place not in excluded]
    margin = TIE_SDS * noise * 2**0.5
    ties = tuple(place for place in around if place in known and known[place] - known[best] <= margin and margin > 0)
    return Certificate(
        best=best,
        value=known[best],
        open=tuple(place for place in around if place not in values),
        worse=tuple(place for place in around if place in known and place not in ties),
        ties=ties,
        failed=tuple(place for place in around if place in values and values[place] is None),
        edges={
            axis: (-1 if k == 0 else 1)
            for axis, (k, size) in enumerate(zip(best, sizes, strict=True))
            if size > 1 and k in (0, size - 1)
        },
    )
