"""Finding the family of a model, by what config.json or a GGUF says it is.

Plugins are asked for what is not known here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qformat.errors import PluginError
from qformat.families.checks import FamilyError, shown
from qformat.families.cohere import COHERE, COHERE2
from qformat.families.family import Family
from qformat.families.gemma import GEMMA
from qformat.families.gemma2 import GEMMA2
from qformat.families.gemma3 import GEMMA3
from qformat.families.gpt2 import GPT2
from qformat.families.gptneox import GPTNEOX
from qformat.families.granite import GRANITE
from qformat.families.llama import LLAMA
from qformat.families.mixtral import MIXTRAL
from qformat.families.olmo2 import OLMO2
from qformat.families.phi2 import PHI2
from qformat.families.phi3 import PHI3
from qformat.families.qwen2 import QWEN2
from qformat.families.qwen3 import QWEN3
from qformat.families.qwen3moe import QWEN3MOE
from qformat.families.qwen35 import QWEN35
from qformat.families.smollm3 import SMOLLM3
from qformat.families.starcoder2 import STARCODER2
from qformat.plugins.host import host

FAMILIES = {
    family.name: family
    for family in (
        LLAMA, MIXTRAL, QWEN2, QWEN3, QWEN3MOE, QWEN35, GEMMA, GEMMA2, GEMMA3, PHI2, PHI3, GPT2,
        OLMO2, SMOLLM3, GRANITE, STARCODER2, GPTNEOX, COHERE, COHERE2,
    )
}  # fmt: skip
BY_TYPE = {kind: family for family in FAMILIES.values() for kind in family.model_types}
BY_CLASS = {name: family for family in FAMILIES.values() for name in family.architectures}


def family(name: str) -> Family:
    """The family of that name, as `ModelConfig.family` has it."""
    if name in FAMILIES:
        return FAMILIES[name]
    for found in from_plugins():
        if found.name == name:
            return found
    raise FamilyError(f"the family {shown(name)} is not known", hint="is its plugin installed?")


def of_config(config: Mapping[str, Any]) -> Family:
    """The family of a config.json, by its `architectures` and then its `model_type`."""
    classes = config.get("architectures") or [None]
    name = classes[0] if isinstance(classes, list) else classes
    kind = config.get("model_type")
    for found, table in ((name, BY_CLASS), (kind, BY_TYPE)):
        if isinstance(found, str) and found in table:
            return table[found]
    others = from_plugins()
    for other in others:
        if name in other.architectures or kind in other.model_types:
            return other
    known = ", ".join(sorted({*BY_TYPE, *(t for f in others for t in f.model_types)}))
    raise FamilyError(
        f"the architecture {shown(name or kind)} of config.json is not known", hint=f"known are {known}"
    )


def of_gguf(values: Mapping[str, Any]) -> Family:
    """The family of a GGUF, by `general.architecture`; Mixtral is a `llama` with experts."""
    name = values.get("general.architecture")
    if name is None:
        raise FamilyError(
            "it has no general.architecture, so nothing says what model this is", hint="is it a model?"
        )
    if name == "llama":
        return MIXTRAL if values.get("llama.expert_count") else LLAMA
    for known in FAMILIES.values():
        if known.architecture == name:
            return known
    others = from_plugins()
    for other in others:
        if other.architecture == name:
            return other
    all_known = ", ".join(sorted({f.architecture for f in (*FAMILIES.values(), *others)}))
    raise FamilyError(f"the GGUF's architecture {shown(name)} is not known", hint=f"known are {all_known}")


def from_plugins() -> list[Family]:
    """The families that plugins provide."""
    return [found for _, found in host().ask("qformat_families", _check)]


def _check(found: object) -> None:
    if not isinstance(found, Family):
        raise PluginError(f"qformat_families gave {found!r}, which is not a Family")
    if found.name in FAMILIES:
        raise PluginError(f"the family {found.name!r} is built in")
