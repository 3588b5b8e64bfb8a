"""Make logits.npz: what transformers computes in float32, on CPU, for the tiny models of `tests/tiny_models.py`.

Needs torch and transformers; the test needs neither. Usage: `python tests/golden/logits/make_logits.py`.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

# Before and after windows end and contexts are left; the first and the last position.
POSITIONS = (0, 1, 31, 33, 63, 65, 100, 119)


def reference(folder: Path, tokens: np.ndarray) -> np.ndarray:
    """Float32 logits ``[t, vocabulary]`` by transformers, softmax in the open."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    with torch.no_grad():
        return model.eval()(torch.tensor(tokens[None])).logits[0].numpy()


def main() -> None:
    from tiny_models import CASES, tokens, write_folder

    found = {}
    with tempfile.TemporaryDirectory() as work:
        for case in CASES:
            logits = reference(write_folder(case, Path(work) / case), tokens(case))
            found[case] = logits[list(POSITIONS)]
            print(case, logits.std())
    np.savez_compressed(HERE / "logits.npz", **found)


if __name__ == "__main__":
    main()
