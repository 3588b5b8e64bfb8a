"""A checkpoint's tokenizer, from its tokenizer files or out of a GGUF's own vocabulary."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as Engine

from qformat.errors import FormatError
from qformat.files.opening import Source, opened
from qformat.files.strict_json import parse
from qformat.model import tokenizer_special
from qformat.model.tokenizer import Tokenizer
from qformat.views import vocabulary, vocabulary_json
from qformat.views.gguf_keys import gguf_keyvalues

_GGUF = vocabulary_json.PREFIX
_SPM_DEFAULTS = {"bos_token_id": 1, "eos_token_id": 2, "unknown_token_id": 0}


def load_tokenizer(source: Source) -> Tokenizer:
    """The tokenizer of a checkpoint: a folder, a GGUF, a container made of either.

    A GGUF's tokenizer cuts as llama.cpp does: its text is not normalized.

    Raises
    ------
    FormatError
        If it has none, or one of a kind that is not known (which is named), or it is damaged.
    """
    checkpoint = opened(source)
    values = gguf_keyvalues(checkpoint)
    if values is not None:
        words = {k: values.read(k) for k in values if k.startswith(("tokenizer.", "general."))}
        return _from_keys(words, checkpoint.path)
    files = {
        n: checkpoint.read_attachment(n) for n in checkpoint.attachments if n.endswith((".json", ".model"))
    }
    if "tokenizer.json" in files:
        return _from_files(files, checkpoint.path)
    if "tokenizer.model" in files:
        keys = vocabulary.to_keys(files)
        return _from_keys({k: v.value for k, v in keys.items()}, checkpoint.path)
    raise FormatError(
        "it has no tokenizer: neither tokenizer.json nor tokenizer.model nor a GGUF's vocabulary",
        file=checkpoint.path,
        hint="name the model's folder, not its weights alone",
    )


def _from_files(files: Mapping[str, bytes], path: Path) -> Tokenizer:
    def read(name: str) -> dict[str, Any]:
        found = parse(files[name], file=path, what=name) if name in files else {}
        if not isinstance(found, dict):
            raise FormatError(f"{name} is not a JSON object", file=path)
        return found

    described = read("tokenizer.json")
    settings = {**read("special_tokens_map.json"), **read("tokenizer_config.json")}
    engine = _engine(files["tokenizer.json"], path)
    return _finished(engine, described, settings, [read("config.json"), read("generation_config.json")])


def _from_keys(values: Mapping[str, Any], path: Path) -> Tokenizer:
    spm = values.get(_GGUF + "model") == "llama"
    defaults = {_GGUF + key: i for key, i in _SPM_DEFAULTS.items()} if spm else {}
    values = {**defaults, **values}
    try:
        described, settings = vocabulary_json.describe(values)
    except FormatError as error:
        error.file = str(path)
        raise
    described["normalizer"] = described["normalizer"] if spm else None
    if "phi-3" in str(values.get("general.name", "")).lower().replace("phi3", "phi-3"):
        _swallow_spaces(described["added_tokens"])
    engine = _engine(json.dumps(described, ensure_ascii=False).encode(), path)
    ends = [values[key] for short in ("eot", "eom") if (key := f"{_GGUF}{short}_token_id") in values]
    size = len(values[_GGUF + "tokens"])
    return _finished(engine, described, settings, [{"eos_token_id": ends}], size)


def _swallow_spaces(added: list[dict[str, Any]]) -> None:
    """Phi-3's control tokens take the spaces after them along, which a GGUF cannot say."""
    for token in added:
        token["rstrip"] = token["content"] not in ("<unk>", "<s>", "<|endoftext|>")


def _finished(
    engine: Engine,
    described: Mapping[str, Any],
    settings: Mapping[str, Any],
    others: list[Mapping[str, Any]],
    size: int = 0,
) -> Tokenizer:
    engine.no_truncation()
    engine.no_padding()
    numbers = engine.get_vocab(with_added_tokens=True)
    controls = {i for i, token in engine.get_added_tokens_decoder().items() if token.special}
    specials = tokenizer_special.find(numbers, controls, described, settings, others)
    return Tokenizer(engine, described, specials, max(size, max(numbers.values(), default=-1) + 1))


def _engine(raw: bytes, path: Path) -> Engine:
    """What `tokenizers` makes of a tokenizer.json; even its panics become an error."""
    try:
        return Engine.from_buffer(raw)
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:  # noqa: BLE001  # a Rust panic is no Exception
        raise FormatError(
            f"the tokenizer cannot be built: {error}",
            file=path,
            hint="the tokenizer is damaged, or of a kind that the installed `tokenizers` does not know",
        ) from None
