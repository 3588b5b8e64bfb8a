"""GGUF's block types as schemes: records of raw bytes, to the bit as ggml has them."""

from __future__ import annotations

from collections.abc import Iterable

from qformat.schemes import Scheme, hookimpl
from qformat.schemes.mixture import Mixture


@hookimpl
def qformat_mixtures() -> Iterable[Mixture]:
    from qformat_plugins.ggml.mixtures import mixtures

    return mixtures()


@hookimpl
def qformat_schemes() -> Iterable[type[Scheme]]:
    from qformat_plugins.ggml import fourbit, kquants, kquants_low, lattice, lattice1, legacy, ternary

    return (
        *(legacy.Q4_0, legacy.Q4_1, legacy.Q5_0, legacy.Q5_1, legacy.Q8_0),
        *(kquants_low.Q2_K, kquants_low.Q3_K, kquants.Q4_K, kquants.Q5_K, kquants.Q6_K),
        *(fourbit.IQ4_NL, fourbit.IQ4_XS, fourbit.MXFP4, fourbit.NVFP4),
        *(ternary.TQ1_0, ternary.TQ2_0),
        *(lattice.IQ2_XXS, lattice.IQ2_XS, lattice.IQ2_S, lattice.IQ3_XXS, lattice.IQ3_S),
        *(lattice1.IQ1_S, lattice1.IQ1_M),
    )
