"""What the golden vectors were made from, the same on every machine: integers scaled by powers of two."""

from __future__ import annotations

import numpy as np

BLOCK_32 = ("q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "iq4_nl", "mxfp4")
ENCODED = (*BLOCK_32, "q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "iq4_xs", "tq1_0", "tq2_0")
WEIGHTED = ("q4_0", "q4_1", "q5_0", "q5_1", "iq4_nl", "q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "iq4_xs")
DECODE_ONLY = ("nvfp4", "iq1_s", "iq1_m", "iq2_xxs", "iq2_xs", "iq2_s", "iq3_xxs", "iq3_s")
SIZES = {
    "nvfp4": 36,
    "iq1_s": 50,
    "iq1_m": 56,
    "iq2_xxs": 66,
    "iq2_xs": 74,
    "iq2_s": 82,
    "iq3_xxs": 98,
    "iq3_s": 110,
}


def values(name: str) -> np.ndarray:
    """Rows of 256 (for block 32: of 64) elements: ordinary, then adversarial."""
    cols = 64 if name in BLOCK_32 else 256
    random = np.random.default_rng(20)
    total = sum(random.integers(-(2**20), 2**20, (24, cols)) for _ in range(6)).astype(np.float64)
    rows = np.zeros((40, cols), np.float64)
    rows[:8] = total[:8] * 2.0**-27  # about Gaussian
    rows[8:12] = (total[8:12] / 2**14).round() * 2.0**-13  # few bits, as bfloat16 has: many ties
    rows[12:14] = total[12:14] * 2.0**-27
    rows[12:14, ::37] *= 16  # outliers
    rows[14:16] = random.integers(-(2**22), 2**22, (2, cols)) * 2.0**-22  # uniform
    rows[16] = 0
    rows[17] = -0.0
    rows[18] = 1
    rows[19] = -3.5
    rows[20, 5] = 7  # one outlier among zeros
    rows[21] = total[0] * 2.0**-24
    rows[21, 100 % cols] = -4096
    rows[22] = total[1] * 2.0**-8  # huge
    rows[23] = total[2] * 2.0**-37  # tiny
    rows[24] = np.abs(total[3]) * 2.0**-27
    rows[25] = -np.abs(total[4]) * 2.0**-27
    rows[26] = np.tile([1, -1], cols // 2)
    rows[27] = np.tile([-1, 1], cols // 2)
    rows[28] = np.arange(cols) - cols // 2
    rows[29] = np.arange(cols) * 2.0**-6
    rows[30] = np.tile(np.arange(16) - 8, cols // 16)
    rows[31] = np.sign(total[5])
    rows[32] = np.where(np.arange(cols) % 9 == 0, total[6], 0) * 2.0**-25
    rows[33] = 5 + total[7] * 2.0**-33
    rows[34] = total[8] * 2.0**-25 * np.repeat(2.0 ** (np.arange(cols // 16) % 12 - 8), 16)
    rows[35:] = total[9:14] * 2.0**-26
    return rows.astype(np.float32)


def importance(cols: int) -> np.ndarray:
    """What the elements of a row count: over five orders of magnitude, some nothing."""
    random = np.random.default_rng(22)
    found = random.integers(1, 2**10, cols) * 2.0 ** random.integers(-14, 4, cols)
    found[random.integers(0, 16, cols) == 0] = 0
    return found.astype(np.float32)


def records(name: str) -> np.ndarray:
    """Random records; scales stay finite."""
    data = np.random.default_rng(21).integers(0, 256, (24, SIZES[name]), dtype=np.uint8)
    if name == "iq1_m":
        data[:, 55] &= 0x3F
    elif name != "nvfp4":
        data[:, 1] &= 0x3F
    return data
