"""Recipes: the default policy, files, overrides, and what is refused."""

from __future__ import annotations

import pytest
from conftest import qformat as command

import qformat
from qformat.convert.options import Options
from qformat.convert.recipe import Rule, combine, default_recipe, read_recipe
from qformat.convert.verbs import plan
from qformat.errors import RecipeError, SchemeError


def schemes(model, target, *args, **kwargs):
    return {t.info.name: t.coding for t in plan(model, target, Options(*args, **kwargs)).tensors}


def test_the_default_policy(model, tmp_path):
    found = schemes(model, tmp_path / "x", "asym4:block=64")
    assert found["model.norm.weight"] == "bf16"
    assert found["model.layers.0.input_layernorm.weight"] == "bf16"
    assert found["model.embed_tokens.weight"] == "asym8:block=64"
    assert found["lm_head.weight"] == "asym8:block=64"
    assert found["model.layers.1.mlp.down_proj.weight"] == "asym4:block=64"


def test_a_printed_recipe_reads_back_as_itself(tmp_path, model):
    recipe = default_recipe("sym2:block=96")
    file = tmp_path / "r.toml"
    file.write_text(recipe.to_toml())
    assert read_recipe(file) == recipe
    printed = command("convert", model, "-s", "sym2:block=96", "--print-recipe").stdout
    assert printed == recipe.to_toml()


def test_the_first_rule_that_matches_wins(model, tmp_path):
    rules = [Rule("*.0.*", "keep"), Rule("*.mlp.*", "sym2"), Rule("*norm*", "f32")]
    found = schemes(model, tmp_path / "x", "sym4", rules=rules)
    assert found["model.layers.0.mlp.up_proj.weight"] == "bf16"
    assert found["model.layers.1.mlp.up_proj.weight"] == "sym2"
    assert found["model.layers.1.self_attn.q_proj.weight"] == "sym4"
    assert found["model.norm.weight"] == "f32"


def test_the_order_of_set_and_keep_on_the_command_line_decides(model, tmp_path):
    def coding(*rules):
        out = command("convert", model, tmp_path / "x", "-s", "sym4", *rules, "-n").stdout
        return {
            line.split()[0]: line.split()[3] for line in out.splitlines() if line.startswith("model.layers")
        }

    up = "model.layers.0.mlp.up_proj.weight"
    assert coding("--set", "*up*=sym8", "--keep", "*.0.*")[up] == "sym8"
    assert coding("--keep", "*.0.*", "--set", "*up*=sym8")[up] == "bf16"
    assert coding("--keep=*.0.*", "--set", "*up*=asym2:block=64,zero=min")[up] == "bf16"


def test_casts_are_recorded_with_their_cost(model, tmp_path):
    qformat.convert(model, tmp_path / "x.safetensors", rules=[Rule("*embed*", "f16"), Rule("*", "keep")])
    info = qformat.open(tmp_path / "x.safetensors").tensors["model.embed_tokens.weight"]
    assert info.dtype == "F16"
    assert info.note["from"] == "BF16"
    assert float(info.note["error"]["rmse"]) < 1e-3
    assert qformat.verify(tmp_path / "x.safetensors", source=model).ok


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense = [", "not valid TOML"),
        ("", "list of"),
        ("other = 1", "unknown key 'other'"),
        ('[[rule]]\nmatch = "*"', "needs match and scheme"),
        ('[[rule]]\nmatch = "*"\nscheme = "sym4"\nmax_dim = 1', "unknown key 'max_dim'"),
        ('[[rule]]\nmatch = "*"\nscheme = 4', "must be str"),
        ('[[rule]]\nmatch = "*"\nscheme = "sym5000"', "no scheme"),
    ],
)
def test_a_bad_recipe_is_refused_with_its_file(tmp_path, text, message):
    file = tmp_path / "r.toml"
    file.write_text(text)
    with pytest.raises(RecipeError, match=message) as caught:
        read_recipe(file)
    assert str(file) in str(caught.value)


def test_a_scheme_and_a_recipe_exclude_each_other():
    with pytest.raises(RecipeError, match="not both"):
        combine("sym4", default_recipe("sym8"), [])
    with pytest.raises(SchemeError, match="no scheme"):
        combine("sym4", None, [Rule("*", "symm4")])
