"""The type numbers of GGUF: of key-values, and of tensors with their exact sizes."""

from __future__ import annotations

import enum
from dataclasses import dataclass

MAGIC = b"GGUF"
DEFAULT_ALIGNMENT = 32
ALIGNMENT_KEY = "general.alignment"

# Limits of llama.cpp, which a file may exceed and still be read here.
LLAMA_MAX_NAME = 63  # bytes
LLAMA_MAX_DIMS = 4


class ValueType(enum.IntEnum):
    """The type of a key-value, or of an array's items."""

    UINT8 = 0
    INT8 = 1
    UINT16 = 2
    INT16 = 3
    UINT32 = 4
    INT32 = 5
    FLOAT32 = 6
    BOOL = 7
    STRING = 8
    ARRAY = 9
    UINT64 = 10
    INT64 = 11
    FLOAT64 = 12

    @property
    def label(self) -> str:
        """The type's name as it is printed: ``uint32``."""
        return self.name.lower()


VALUE_TYPES: dict[int, ValueType] = {int(t): t for t in ValueType}

# struct and NumPy codes of one value; the two agree on all of these.
CODES: dict[ValueType, str] = {
    ValueType.UINT8: "B",
    ValueType.INT8: "b",
    ValueType.UINT16: "H",
    ValueType.INT16: "h",
    ValueType.UINT32: "I",
    ValueType.INT32: "i",
    ValueType.FLOAT32: "f",
    ValueType.BOOL: "?",
    ValueType.UINT64: "Q",
    ValueType.INT64: "q",
    ValueType.FLOAT64: "d",
}

WIDTHS: dict[ValueType, int] = {
    kind: {"B": 1, "b": 1, "?": 1, "H": 2, "h": 2, "I": 4, "i": 4, "f": 4, "Q": 8, "q": 8, "d": 8}[code]
    for kind, code in CODES.items()
}


@dataclass(frozen=True)
class TensorType:
    """A ggml tensor type: ``size`` bytes for every ``block`` elements of a row.

    ``dtype`` is the safetensors name of a plain type, None for a block type.
    """

    number: int
    name: str
    block: int
    size: int
    dtype: str | None = None


_TABLE = (
    TensorType(0, "f32", 1, 4, "F32"),
    TensorType(1, "f16", 1, 2, "F16"),
    TensorType(2, "q4_0", 32, 18),
    TensorType(3, "q4_1", 32, 20),
    TensorType(6, "q5_0", 32, 22),
    TensorType(7, "q5_1", 32, 24),
    TensorType(8, "q8_0", 32, 34),
    TensorType(9, "q8_1", 32, 36),  # ggml's size; gguf-py's table still has the 40 of an older struct
    TensorType(10, "q2_k", 256, 84),
    TensorType(11, "q3_k", 256, 110),
    TensorType(12, "q4_k", 256, 144),
    TensorType(13, "q5_k", 256, 176),
    TensorType(14, "q6_k", 256, 210),
    TensorType(15, "q8_k", 256, 292),
    TensorType(16, "iq2_xxs", 256, 66),
    TensorType(17, "iq2_xs", 256, 74),
    TensorType(18, "iq3_xxs", 256, 98),
    TensorType(19, "iq1_s", 256, 50),
    TensorType(20, "iq4_nl", 32, 18),
    TensorType(21, "iq3_s", 256, 110),
    TensorType(22, "iq2_s", 256, 82),
    TensorType(23, "iq4_xs", 256, 136),
    TensorType(24, "i8", 1, 1, "I8"),
    TensorType(25, "i16", 1, 2, "I16"),
    TensorType(26, "i32", 1, 4, "I32"),
    TensorType(27, "i64", 1, 8, "I64"),
    TensorType(28, "f64", 1, 8, "F64"),
    TensorType(29, "iq1_m", 256, 56),
    TensorType(30, "bf16", 1, 2, "BF16"),
    # 31 to 33 and 36 to 38 were in files for a while: rows of q4_0 or iq4_nl, interleaved by 4 or 8.
    TensorType(31, "q4_0_4_4", 32, 18),
    TensorType(32, "q4_0_4_8", 32, 18),
    TensorType(33, "q4_0_8_8", 32, 18),
    TensorType(34, "tq1_0", 256, 54),
    TensorType(35, "tq2_0", 256, 66),
    TensorType(36, "iq4_nl_4_4", 32, 18),
    TensorType(37, "iq4_nl_4_8", 32, 18),
    TensorType(38, "iq4_nl_8_8", 32, 18),
    TensorType(39, "mxfp4", 32, 17),
    TensorType(40, "nvfp4", 64, 36),
    TensorType(41, "q1_0", 128, 18),
    TensorType(42, "q2_0", 64, 18),
)

TENSOR_TYPES: dict[int, TensorType] = {t.number: t for t in _TABLE}
BY_NAME: dict[str, TensorType] = {t.name: t for t in _TABLE}
