"""Recipes: which tensor gets which scheme. The first rule that matches decides."""

from __future__ import annotations

import fnmatch
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qformat.blocks import dtypes
from qformat.errors import RecipeError, SchemeError
from qformat.files.checkpoint import TensorInfo
from qformat.schemes.registry import registry
from qformat.schemes.scheme import Scheme

KEEP = "keep"
CASTS = {"bf16": "BF16", "f16": "F16", "f32": "F32"}

# Names that today's checkpoints use, Hugging Face's and GGUF's.
EMBEDDINGS_AND_HEADS = (
    "*embed_tokens*",
    "*lm_head*",
    "*.wte.*",
    "wte.*",
    "*.wpe.*",
    "wpe.*",
    "*embed_in*",
    "*embed_out*",
    "*word_embeddings*",
    "token_embd.*",
    "output.weight",
    "position_embd.*",
)
SMALL_BUT_DECISIVE = ("*norm*", "*.bias", "*router*", "*.mlp.gate.weight", "*ffn_gate_inp*", "*rope*")
TINY = 1024


@dataclass(frozen=True)
class Rule:
    """Tensors whose name matches ``match`` (a glob) and that meet the conditions get ``scheme``.

    ``scheme`` is a scheme with options, ``keep`` (as it is), or ``bf16``, ``f16``, ``f32`` (cast).
    ``max_dims`` and ``max_elements`` restrict the rule to small tensors.
    """

    match: str
    scheme: str
    max_dims: int | None = None
    max_elements: int | None = None

    def covers(self, info: TensorInfo) -> bool:
        """Whether this rule decides about a tensor."""
        return (
            fnmatch.fnmatchcase(info.name, self.match)
            and (self.max_dims is None or len(info.shape) <= self.max_dims)
            and (self.max_elements is None or info.elements <= self.max_elements)
        )


@dataclass(frozen=True)
class Recipe:
    """An ordered list of rules; tensors that none covers are kept."""

    rules: tuple[Rule, ...]

    def scheme_for(self, info: TensorInfo) -> str:
        """The scheme, cast or ``keep`` for a tensor; integers are indices or codes and always kept."""
        if info.dtype not in dtypes.FLOATS:
            return KEEP
        return next((r.scheme for r in self.rules if r.covers(info)), KEEP)

    def check(self) -> None:
        """Refuse a rule that names no scheme that there is."""
        for rule in self.rules:
            resolve(rule.scheme)

    def to_toml(self) -> str:
        """The recipe as a file that `read_recipe` reads."""
        lines = ["# The first rule that matches a tensor decides; tensors that none matches are kept."]
        for rule in self.rules:
            lines += ["", "[[rule]]", f"match = {_quoted(rule.match)}", f"scheme = {_quoted(rule.scheme)}"]
            lines += [f"{key} = {n}" for key in _LIMITS if (n := getattr(rule, key)) is not None]
        return "\n".join(lines) + "\n"


_LIMITS = ("max_dims", "max_elements")


def _quoted(text: str) -> str:
    import json

    return json.dumps(text)  # a JSON string is a TOML basic string


def default_recipe(scheme: str) -> Recipe:
    """The default policy: what is small stays as it is, embeddings and output head get 8 bits."""
    chosen = resolve(scheme)
    rules = [Rule("*", KEEP, max_dims=1), Rule("*", KEEP, max_elements=TINY)]
    rules += [Rule(pattern, KEEP) for pattern in SMALL_BUT_DECISIVE]
    if isinstance(chosen, Scheme):
        with chosen.blamed("sensitive"):
            sensitive = chosen.sensitive()
        try:
            resolve(sensitive)
        except SchemeError as error:
            raise chosen.fault("sensitive", error.what) from None
        if sensitive != chosen.spec():
            rules += [Rule(pattern, sensitive) for pattern in EMBEDDINGS_AND_HEADS]
    return Recipe((*rules, Rule("*", scheme)))


def resolve(scheme: str) -> Scheme | str | None:
    """A scheme; the dtype of a cast; or None for ``keep``. Names are taken in any case.

    Raises
    ------
    SchemeError
        If it is none of these.
    """
    if scheme.lower() == KEEP:
        return None
    if scheme.lower() in CASTS:
        return CASTS[scheme.lower()]
    return registry().parse(scheme)


def read_recipe(path: Path) -> Recipe:
    """Read a recipe from TOML: ``[[rule]]`` tables with match, scheme, max_dims, max_elements."""
    try:
        value = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"cannot be read: {error.strerror}", file=path) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"is not valid TOML: {error}", file=path) from None
    rules = value.pop("rule", [])
    if value or not isinstance(rules, list) or not rules:
        odd = f"unknown key {next(iter(value))!r}" if value else "no [[rule]]"
        raise RecipeError(f"{odd}: a recipe is a list of [[rule]] tables", file=path)
    recipe = Recipe(tuple(_rule(entry, i, path) for i, entry in enumerate(rules, 1)))
    try:
        recipe.check()
    except SchemeError as error:
        raise RecipeError(error.what, file=path, hint=error.hint) from None
    return recipe


def _rule(entry: Any, i: int, path: Path) -> Rule:
    kinds: dict[str, type] = {"match": str, "scheme": str, "max_dims": int, "max_elements": int}
    if not isinstance(entry, dict) or not {"match", "scheme"} <= set(entry):
        raise RecipeError(f"rule {i} needs match and scheme", file=path)
    for key, value in entry.items():
        if key not in kinds:
            raise RecipeError(
                f"rule {i} has an unknown key {key!r}", file=path, hint=f"known: {', '.join(kinds)}"
            )
        if not isinstance(value, kinds[key]) or isinstance(value, bool):
            raise RecipeError(f"rule {i}: {key} must be {kinds[key].__name__}", file=path)
    return Rule(**entry)


def parse_rule(text: str) -> Rule:
    """A rule as it is typed, ``PATTERN=SCHEME``.

    Raises
    ------
    RecipeError
        If it is not of that form.
    """
    pattern, equals, scheme = text.strip().partition("=")
    if not (pattern and equals and scheme):
        raise RecipeError(f"{text!r} is not PATTERN=SCHEME", hint="such as '*.0.*=keep'")
    return Rule(pattern, scheme)


def combine(scheme: str | None, recipe: Recipe | None, overrides: Iterable[Rule]) -> Recipe:
    """Overrides first, then the recipe, or the default policy for a scheme.

    Raises
    ------
    RecipeError
        If both a scheme and a recipe are given.
    """
    if scheme is not None and recipe is not None:
        raise RecipeError(
            "give a scheme or a recipe, not both", hint="put the scheme into the recipe's last rule"
        )
    base = default_recipe(scheme) if scheme is not None else (recipe or Recipe(()))
    combined = Recipe((*overrides, *base.rules))
    combined.check()
    return combined
