"""log4: four bits whose levels are powers of a base, with a scale that is searched.

This module is an example of a whole plugin for qformat. It stands alone: copy the folder, change the
names, and you have your own. Everything it uses is in docs/plugins.md.

The idea: weights are dense near zero and sparse far out, so levels that grow by a constant factor
waste less of a code than evenly spaced ones. With ``r`` the ratio::

    levels   0, r**6, r**5, … r, 1 and the same with a minus      (16 codes, zero twice)
    value    scale * level[code]
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import click

from qformat.inspect.panel import Panel
from qformat.schemes import Codebook, Codes, Floats, Scheme, hookimpl, option

# The version of qformat's plugin API that this was written for. A qformat that has an older one says
# so, instead of failing somewhere in the middle.
QFORMAT_API = 1

# Written into every file as the provider's version if this module is used as a single file; of an
# installed package, the version in pyproject.toml counts.
__version__ = "0.1.0"

# Which scales to try, as shares of the one that makes the largest weight exact.
SHARES = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75)


@dataclass(frozen=True)
class Log4(Scheme):
    """Options are fields of a frozen dataclass. Users write ``-s log4:block=64,ratio=0.6``."""

    id = "log4"
    version = 1
    summary = "4-bit levels that grow by a constant factor"
    weighted = True  # `encode` heeds importance weights

    block: int = option(32, one_of=(32, 64, 128), help="elements that share a scale")
    ratio: float = option(0.7, one_of=(0.5, 0.6, 0.7, 0.8), help="from one level to the next")

    def levels(self) -> tuple[float, ...]:
        """The table: plain floats, in the order of the codes."""
        up = [self.ratio**power for power in range(6, -1, -1)]
        return (0.0, *up, 0.0, *(-level for level in up))

    def layout(self):
        # Codes of 4 bits select from a table; the table is written into the file once. A reader needs
        # no plugin for it: that is what a layout of the closed vocabulary is good for.
        return Codebook(Codes(4), Floats("F16"), self.levels(), block=self.block)

    def encode(self, blocks, weights=None):
        # jax is imported here, so that listing schemes need not wait for it.
        import jax.numpy as jnp

        from qformat.schemes.numerics import as_stored, largest_magnitude

        # The core promises finite float32 values [n, block]. Blocks must not look at each other: what
        # a block becomes must not depend on where in the tensor it stands.
        if weights is None:
            weights = jnp.ones_like(blocks)
        largest = largest_magnitude(blocks)
        best_error, best_scale, best_codes = jnp.inf, 0.0, 0
        for share in SHARES:  # a Python loop is unrolled when jit traces it
            # Choose codes for the scale that a reader will see, after rounding to float16.
            scale = as_stored(largest * share, "f16")
            codes = self._nearest(blocks / jnp.where(scale > 0, scale, 1))
            decoded = scale * jnp.asarray(self.levels(), jnp.float32)[codes]
            error = jnp.sum(weights * (decoded - blocks) ** 2, axis=1, keepdims=True)
            better = error < best_error
            best_error = jnp.where(better, error, best_error)
            best_scale = jnp.where(better, scale, best_scale)
            best_codes = jnp.where(better, codes, best_codes)
        # One array for each plane of the layout, under its name.
        return {"codes": best_codes.astype(jnp.uint8), "scales": best_scale}

    def _nearest(self, values):
        """The code of the nearest level: how many midpoints of the positive half were passed."""
        import jax.numpy as jnp

        size, code = jnp.abs(values), 0
        for low, high in pairwise(self.levels()[:8]):
            code = code + (size > (low + high) / 2).astype(jnp.int32)
        return jnp.where((values < 0) & (code > 0), code + 8, code)

    def sensitive(self):
        # Embeddings and the output head suffer most. The default recipe gives them this scheme.
        return "sym8"


# --- what a plugin may add besides schemes -------------------------------------------------------


def usage(checkpoint, info, block):
    """A panel for the TUI: how often each level occurs in the block that is looked at."""
    if info.scheme is None or info.scheme.id != "log4" or block is None:
        return None  # nothing to say here, so the panel does not show
    from rich.table import Table

    codes = next(field.items for field in block.fields if field.name == "codes")
    table = Table("level", "elements")
    for code, level in enumerate(info.scheme.layout.table):
        table.add_row(f"{level:g}", str(codes.count(code)))
    return table


@click.command("log4-levels")
@click.option("--ratio", type=float, default=0.7, show_default=True, help="From one level to the next.")
def levels(ratio):
    """Print the levels of log4."""
    click.echo(" ".join(f"{level:.4g}" for level in Log4(ratio=ratio).levels()))


# Hooks: functions with these names, marked with hookimpl. Leave out what you do not need.


@hookimpl
def qformat_schemes():
    return [Log4]


@hookimpl
def qformat_panels():
    return [Panel("Levels of log4", usage)]


@hookimpl
def qformat_commands():
    return [levels]
