"""Model shapes for a target parameter count.

The rule: depth is about (width / 12) ** 0.6, at least 2, and the SwiGLU hidden width about 8/3 of the width. Depth by
that power gives 2 layers at width 32, 12 at 768, 33 at 4096: between the shapes of GPT-2 small (12 x 768) and
LLaMA-7B (32 x 4096), and shallow enough for models of some thousand parameters. It is an assumption; Kaplan et al.
2020 (figure 5) find that loss hardly depends on the aspect ratio over a wide range. For each width and depth the hidden
width that meets the target is solved for, and the shape that deviates least from the rule is chosen.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from typing import Literal

from sweeplaw.trials.accounting import Shape, parameters

Count = Literal["params", "params_non_embedding"]

FFN_RATIO = 8 / 3  # Shazeer 2020 (GLU variants): three matrices of 8/3 width cost what two of 4 x width do
FFN_RATIOS = (1.5, 5.0)  # limits of the solved hidden width
DEEPEST = 16  # times the rule's depth: with a large vocabulary few widths are left for a small model
MAX_WIDTH = 32_768


def head_width(width: int) -> int:
    """Return the dimension of one attention head: 16 below width 128, 32 below 512, 64 below 2048, then 128."""
    return next((size for limit, size in ((128, 16), (512, 32), (2048, 64)) if width < limit), 128)


def default_heads(width: int) -> int:
    """Return the largest number of heads with at least `head_width` dimensions each, an even number of them."""
    most = max(1, width // head_width(width))
    return next((heads for heads in range(most, 0, -1) if width % (2 * heads) == 0), 1)


def default_ffn(width: int) -> int:
    """Return the SwiGLU hidden width: 8/3 of the width, rounded up to a multiple of 8."""
    return 8 * math.ceil(FFN_RATIO * width / 8)


def rule_depth(width: int) -> float:
    """Return the depth of the rule before rounding: at least 2, which in-context copying needs (Olsson et al. 2022)."""
    depth: float = (width / 12) ** 0.6
    return max(2.0, depth)


def default_depth(width: int) -> int:
    """Return the depth of the rule."""
    return round(rule_depth(width))


def default_width(depth: int) -> int:
    """Return the width of the rule for a given depth, in whole heads."""
    width: float = 12 * depth ** (1 / 0.6)
    unit = head_width(round(width))
    return unit * max(1, round(width / unit))


@lru_cache(maxsize=4096)
def solve(target: int, count: Count, *, vocabulary: int, tied_embeddings: bool, qk_norm: bool) -> Shape:
    """Return the shape nearest the rule of this module whose ``count`` of parameters is ``target``.

    The count is met within half a step of the hidden width, which is under 1 %. Raise ValueError with the least count
    that the rule allows if no shape fits.
    """
    base = Shape(1, 16, 1, 8, vocabulary, tied_embeddings, qk_norm)
    fitting = [shape for shape in _candidates(target, count, base) if _ffn_is_acceptable(shape)]
    if not fitting:
        raise ValueError(
            "no shape near the depth and width rule has that count "
            f"(the smallest has {_count(_smallest(base), count):,}; beyond it, "
            f"a vocabulary of {vocabulary:,} can leave gaps that params_non_embedding does not have)"
        )
    return min(fitting, key=lambda shape: (_deviation(shape), shape.width))


def _candidates(target: int, count: Count, base: Shape) -> Iterator[Shape]:
    for width in _widths():
        wide = replace(base, depth=0, width=width, heads=default_heads(width))
        in_blocks = target - _count(wide, count)
        if in_blocks <= 0:
            return
        unit = _ffn_unit(width)
        for depth in _depths(width, in_blocks):
            without = _count(replace(wide, depth=depth, ffn=0), count)
            yield replace(wide, depth=depth, ffn=unit * round((target - without) / (3 * width * depth * unit)))


def _depths(width: int, in_blocks: int) -> range:
    """Return depths with an acceptable hidden width for the blocks' parameters, up to DEEPEST times the rule's."""
    least, most = ((4 + 3 * ratio) * width**2 for ratio in FFN_RATIOS)
    return range(max(1, int(in_blocks / most)), min(DEEPEST * default_depth(width), int(in_blocks / least) + 1) + 1)


def _ffn_unit(width: int) -> int:
    """Return the step of the hidden width: 8 from width 128, as rows of 8 floats speed up products by up to 25 %."""
    return 1 << min(3, max(0, (width // 16).bit_length() - 1))


def _widths() -> Iterator[int]:
    width = 16
    while width <= MAX_WIDTH:
        yield width
        width += 8 if width < 128 else head_width(width)


def _ffn_is_acceptable(shape: Shape) -> bool:
    least, most = FFN_RATIOS
    return least * shape.width <= shape.ffn <= most * shape.width


def _deviation(shape: Shape) -> float:
    """Return the deviation from the rule: squared log ratios of hidden width (weight 2) and of depth."""
    ffn = math.log(shape.ffn / (FFN_RATIO * shape.width))
    depth = math.log(shape.depth / rule_depth(shape.width))
    return 2 * ffn**2 + depth**2


def _smallest(base: Shape) -> Shape:
    return replace(base, depth=1, ffn=math.ceil(FFN_RATIOS[0] * base.width))


def _count(shape: Shape, count: Count) -> int:
    groups = parameters(shape)
    return groups.total if count == "params" else groups.non_embedding
