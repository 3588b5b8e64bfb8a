"""Measures the finished folder: `python -m samples.make.check`.

Reads only the shipped files and computes in numpy float32, with no code of the training: files and sizes,
perplexity of the held-out text, quiz accuracy, and a short conversation.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
from jinja2 import Template
from safetensors import safe_open
from tokenizers import Tokenizer

Floats = npt.NDArray[np.float32]

MAX_BYTES = 10_000_000
CONVERSATION = [
    "Hello.",
    "Where does Orla live?",
    "Tell me about Bram.",
    "Who gave Finn the book of poems?",
    "What is the capital of France?",
    "Thank you.",
]


class Llama:
    """A Llama forward pass over one sequence."""

    def __init__(self, folder: Path) -> None:
        self.config: dict[str, Any] = json.loads((folder / "config.json").read_text())
        index = json.loads((folder / "model.safetensors.index.json").read_text())
        self.weights: dict[str, Floats] = {}
        for name, file in index["weight_map"].items():
            with safe_open(folder / file, framework="np") as shard:
                tensor = shard.get_tensor(name)
            if tensor.dtype != ml_dtypes.bfloat16:
                raise SystemExit(f"{name} is {tensor.dtype}, not bfloat16")
            self.weights[name] = tensor.astype(np.float32)

    def norm(self, x: Floats, name: str) -> Floats:
        scale = np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + np.float32(self.config["rms_norm_eps"]))
        return np.asarray(x / scale * self.weights[name])

    def heads(self, x: Floats, name: str) -> Floats:
        """[positions, hidden] to [heads, positions, head size]."""
        flat: Floats = x @ self.weights[name].T
        return flat.reshape(len(x), -1, self.config["head_dim"]).transpose(1, 0, 2)

    def rotated(self, x: Floats) -> Floats:
        size = x.shape[-1]
        rates = self.config["rope_theta"] ** (-np.arange(size // 2) * 2.0 / size)
        turn = np.exp(1j * np.outer(np.arange(x.shape[1]), rates))
        turned = (x[..., : size // 2] + 1j * x[..., size // 2 :]) * turn
        return np.concatenate([turned.real, turned.imag], axis=-1).astype(np.float32)

    def attend(self, x: Floats, prefix: str) -> Floats:
        q = self.rotated(self.heads(x, prefix + "q_proj.weight"))
        k = self.rotated(self.heads(x, prefix + "k_proj.weight"))
        v = self.heads(x, prefix + "v_proj.weight")
        group = len(q) // len(k)
        k, v = np.repeat(k, group, axis=0), np.repeat(v, group, axis=0)
        scores = q @ k.transpose(0, 2, 1) / np.float32(np.sqrt(q.shape[-1]))
        scores += np.triu(np.full(scores.shape[1:], -np.inf, np.float32), 1)
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        mixed = (scores / scores.sum(axis=-1, keepdims=True)) @ v
        out = mixed.transpose(1, 0, 2).reshape(len(x), -1) @ self.weights[prefix + "o_proj.weight"].T
        return np.asarray(out)

    def logits(self, ids: list[int]) -> Floats:
        x = self.weights["model.embed_tokens.weight"][ids]
        for layer in range(self.config["num_hidden_layers"]):
            prefix = f"model.layers.{layer}."
            x = x + self.attend(self.norm(x, prefix + "input_layernorm.weight"), prefix + "self_attn.")
            h = self.norm(x, prefix + "post_attention_layernorm.weight")
            gate = h @ self.weights[prefix + "mlp.gate_proj.weight"].T
            up = h @ self.weights[prefix + "mlp.up_proj.weight"].T
            x = x + (gate / (1 + np.exp(-gate)) * up) @ self.weights[prefix + "mlp.down_proj.weight"].T
        return np.asarray(self.norm(x, "model.norm.weight") @ self.weights["lm_head.weight"].T)

    def log_likelihoods(self, ids: list[int]) -> Floats:
        """Of every token after the first, given those before it."""
        logits = self.logits(ids[:-1])
        top = logits.max(axis=-1, keepdims=True)
        total = top[:, 0] + np.log(np.exp(logits - top).sum(axis=-1))
        return np.asarray(logits[np.arange(len(logits)), ids[1:]] - total)


def check_files(folder: Path, model: Llama) -> None:
    total = sum(path.stat().st_size for path in folder.iterdir())
    if total > MAX_BYTES:
        raise SystemExit(f"the folder has {total} bytes, more than {MAX_BYTES}")
    odd = [name for name, weight in model.weights.items() if weight.shape[-1] % 256]
    if odd:
        raise SystemExit(f"rows that are not whole 256-element blocks: {odd}")
    count = sum(weight.size for weight in model.weights.values())
    print(f"folder            {total} bytes, {len(model.weights)} tensors, {count} parameters")


def perplexity(model: Llama, tokenizer: Tokenizer, text: str) -> tuple[int, float]:
    """Windows of context - 1 tokens, each after a BOS of its own; every token of the text is scored once."""
    bos, *ids = tokenizer.encode(text).ids
    size = model.config["max_position_embeddings"] - 1
    parts = [model.log_likelihoods([bos, *ids[i : i + size]]) for i in range(0, len(ids), size)]
    return len(ids), float(np.exp(-np.concatenate(parts).mean()))


def plain_prompt(question: dict[str, Any]) -> str:
    return f"Question: {question['question']}\nAnswer:"


def letter_prompt(question: dict[str, Any]) -> str:
    lines = [f"{letter}. {choice}" for letter, choice in zip("ABCD", question["choices"], strict=True)]
    return "\n".join([f"Question: {question['question']}", *lines, "Answer:"])


def chosen_by_text(model: Llama, tokenizer: Tokenizer, question: dict[str, Any]) -> tuple[int, int]:
    """The choice with the highest likelihood after the plain prompt: in total, and per token."""
    prompt = tokenizer.encode(plain_prompt(question)).ids
    totals, means = [], []
    for choice in question["choices"]:
        answer = tokenizer.encode(" " + choice, add_special_tokens=False).ids
        scores = model.log_likelihoods(prompt + answer)[len(prompt) - 1 :]
        totals.append(scores.sum())
        means.append(scores.mean())
    return int(np.argmax(totals)), int(np.argmax(means))


def chosen_by_letter(model: Llama, tokenizer: Tokenizer, question: dict[str, Any]) -> int | None:
    """The choice whose letter the model generates (greedily) after the multiple-choice prompt."""
    ids = tokenizer.encode(letter_prompt(question)).ids
    token = tokenizer.decode([int(np.argmax(model.logits(ids)[-1]))]).strip()
    return "ABCD".index(token) if token in tuple("ABCD") else None


def check_quiz(model: Llama, tokenizer: Tokenizer, quiz: list[dict[str, Any]]) -> None:
    right = np.zeros(3)
    for question in quiz:
        total, mean = chosen_by_text(model, tokenizer, question)
        picks = (total, mean, chosen_by_letter(model, tokenizer, question))
        right += [pick == question["answer"] for pick in picks]
    for label, count in zip(("text, total", "text, per token", "letter"), right, strict=True):
        print(f"quiz {label:16s} {count:.0f} of {len(quiz)} ({count / len(quiz):.2%})")


def converse(model: Llama, tokenizer: Tokenizer, folder: Path, limit: int = 100) -> None:
    """Greedy replies to CONVERSATION, each with all that was said before."""
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    stops = json.loads((folder / "generation_config.json").read_text())["eos_token_id"]
    template = Template(settings["chat_template"])
    messages: list[dict[str, str]] = []
    for said in CONVERSATION:
        messages.append({"role": "user", "content": said})
        prompt = template.render(
            messages=messages, bos_token=settings["bos_token"], add_generation_prompt=True
        )
        ids = tokenizer.encode(prompt, add_special_tokens=False).ids
        reply: list[int] = []
        while len(reply) < limit and (token := int(np.argmax(model.logits(ids + reply)[-1]))) not in stops:
            reply.append(token)
        messages.append({"role": "assistant", "content": tokenizer.decode(reply)})
        print(f"user: {said}\nassistant: {messages[-1]['content']}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m samples.make.check", description=__doc__)
    parser.add_argument("--samples", type=Path, default=Path(__file__).parents[1], help="the folder to check")
    samples: Path = parser.parse_args().samples
    folder = samples / "village"
    model, tokenizer = Llama(folder), Tokenizer.from_file(str(folder / "tokenizer.json"))
    check_files(folder, model)
    text = (samples / "heldout.txt").read_text(encoding="utf-8")
    if tokenizer.decode(tokenizer.encode(text).ids) != text:
        raise SystemExit("the tokenizer does not give the held-out text back")
    count, value = perplexity(model, tokenizer, text)
    print(f"held-out text     {count} tokens, perplexity {value:.4f}")
    lines = (samples / "quiz.jsonl").read_text(encoding="utf-8").splitlines()
    check_quiz(model, tokenizer, [json.loads(line) for line in lines])
    converse(model, tokenizer, folder)


if __name__ == "__main__":
    main()
