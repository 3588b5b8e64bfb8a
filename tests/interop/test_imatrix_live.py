"""What an importance matrix holds, live against transformers: the inputs that its own modules see."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_models import CASES, tokens, write_folder
from transformers import AutoModelForCausalLM

from qformat import families
from qformat.evaluate.importance import squares
from qformat.model import open_model


def inputs_squared(folder, ids) -> dict[str, np.ndarray]:
    """For each module that has a matrix, the sum of the squares of its inputs, by column."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    sums: dict[str, np.ndarray] = {}

    def watch(name):
        def hook(_module, given, _out):
            x = given[0].detach().double().reshape(-1, given[0].shape[-1])
            sums[name] = sums.get(name, 0) + (x * x).sum(0).numpy()

        return hook

    for name, module in model.named_modules():
        if getattr(module, "weight", None) is not None and module.weight.ndim == 2:
            module.register_forward_hook(watch(f"{name}.weight"))
    with torch.no_grad():
        model.eval()(torch.from_numpy(ids))
    return sums


@pytest.mark.parametrize("case", CASES)
def test_sums_are_those_of_the_modules_own_inputs(case, tmp_path):
    folder, ids = write_folder(case, tmp_path / "model"), tokens(case)[None]
    model = open_model(folder)
    sums, counts = squares(model, ids.astype(np.int32))
    theirs = inputs_squared(folder, ids)
    shapes = {name: info.shape for name, info in model.checkpoint.tensors.items()}
    compared = 0
    for derived in families.to_gguf(model.config, shapes):
        known = [theirs[s] for s in derived.sources if s in theirs]
        if derived.name in sums and len(known) == len(derived.sources) and len(sums[derived.name]) == 1:
            assert counts[derived.name].tolist() == [ids.size]
            for wanted in known:
                found = sums[derived.name][0]
                if not derived.op.rows_only:  # heads in another order, or none is: the same values
                    found, wanted = np.sort(found), np.sort(wanted)  # noqa: PLW2901
                if found.shape == wanted.shape:
                    np.testing.assert_allclose(found, wanted, rtol=2e-3, atol=1e-4 * wanted.max())
                    compared += 1
    assert compared >= 2 * model.config.layers
