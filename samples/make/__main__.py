"""Makes everything in samples/ from nothing: `python -m samples.make`."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from .corpus import Corpus, build_corpus
from .export import save_config, save_weights
from .model import ModelConfig
from .tokenizer import BOS, END, EOS, SPECIAL_TOKENS, save_tokenizer, train_tokenizer
from .train import TrainConfig, train

SEED = 20260501
STEPS = 1300
TRAIN_DOCUMENTS = 36_000
HELDOUT_DOCUMENTS = 520
TOKENIZER_DOCUMENTS = 6_000


def pack(tokenizer: Tokenizer, texts: list[str]) -> npt.NDArray[np.uint16]:
    """One stream of ids: every document begins with BOS (the tokenizer adds it) and ends with EOS."""
    eos = tokenizer.token_to_id(EOS)
    ids = [token for encoding in tokenizer.encode_batch(texts) for token in (*encoding.ids, eos)]
    return np.array(ids, np.uint16)


def write_texts(corpus: Corpus, out: Path) -> None:
    """Held-out documents one after the other with an empty line between, and the quiz as JSON lines."""
    (out / "heldout.txt").write_text("\n\n".join(corpus.heldout) + "\n", encoding="utf-8")
    lines = [json.dumps(asdict(question), ensure_ascii=False) for question in corpus.quiz]
    (out / "quiz.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m samples.make", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1], help="where the files go")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument(
        "--checkpoint",
        type=Path,
        default=Path("sample-training.pickle"),
        help="kept while training, so that a stopped run goes on where it was",
    )
    args = parser.parse_args()
    folder = args.out / "village"
    folder.mkdir(parents=True, exist_ok=True)

    corpus = build_corpus(args.seed, TRAIN_DOCUMENTS, HELDOUT_DOCUMENTS)
    write_texts(corpus, args.out)
    config = ModelConfig()
    tokenizer = train_tokenizer(corpus.train[:TOKENIZER_DOCUMENTS], config.vocab)
    save_tokenizer(tokenizer, folder, config.context)
    bos, *stops = (SPECIAL_TOKENS.index(token) for token in (BOS, EOS, END))  # the first ids, in this order
    save_config(config, folder, bos, stops)

    stream = pack(tokenizer, corpus.train)
    run = TrainConfig(steps=args.steps)
    print(f"{len(corpus.train)} documents, {len(stream)} tokens", flush=True)
    params, loss, seconds = train(stream, config, run, args.seed, args.checkpoint)
    save_weights(params, config, folder)
    print(f"last 50 steps: loss {loss:.4f}; {seconds:.0f} s")


if __name__ == "__main__":
    main()
