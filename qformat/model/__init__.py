"""The reference forward pass in JAX: any checkpoint of a known architecture, layer by layer.

>>> from qformat.model import open_model
>>> model = open_model("samples/village")
>>> model.config.family, model.config.layers, model.config.width
('llama', 4, 256)
>>> model.logits([[5, 7, 11]]).shape
(1, 3, 1280)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qformat.files.opening import Source
    from qformat.model.model import Model
    from qformat.model.weights import Dtype

__all__ = ["open_model"]


def open_model(source: Source, dtype: Dtype = "f32") -> Model:
    """Open a model to run it; headers only.

    ``dtype`` is what its matrices are computed in: ``"f32"``, or ``"bf16"`` with sums in float32.

    Raises
    ------
    FormatError
        If the checkpoint or its architecture is not known, or a tensor is missing or of a wrong shape.
    SchemeError
        If a tensor is quantized by a scheme whose plugin is not installed.
    """
    from qformat.files.opening import opened
    from qformat.model.model import Model  # JAX is loaded here, and not before

    return Model(opened(source), dtype)
