"""The regularizers of one member."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Regularizers:
    """Rates in [0, 1), each 0 where it is off.

    ``dropout`` of what a layer adds to the residual stream (Srivastava et al. 2014; there in Vaswani et al. 2017,
    section 5.4), ``attention_dropout`` of attention weights, ``stochastic_depth`` of whole layers of a sequence, rising
    linearly to this rate at the last block (Huang et al. 2016, equation 4), ``label_smoothing`` of the targets towards
    equal probabilities (Szegedy et al. 2016, section 7).
    """

    dropout: float = 0.0
    attention_dropout: float = 0.0
    stochastic_depth: float = 0.0
    label_smoothing: float = 0.0

    @property
    def noisy(self) -> bool:
        """Whether a training step draws random numbers."""
        return bool(self.dropout or self.attention_dropout or self.stochastic_depth)

    def layer_rate(self, block: int, depth: int) -> float:
        """Return the rate at which a block, counted from 0, is left out."""
        return self.stochastic_depth * (block + 1) / depth


NONE = Regularizers()
