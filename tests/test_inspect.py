"""What the skins show: blocks down to the bit, usage of fields, statistics, lists, models."""

from __future__ import annotations

import json

import numpy as np
import pytest
from conftest import SCHEMES, save_bf16, tiny_model, weights
from hypothesis import given
from hypothesis import strategies as st
from typed_gguf import every_type

import qformat
from qformat.blocks.fields import field_values
from qformat.blocks.layout import Field, RawBlocks
from qformat.blocks.tiles import Tile
from qformat.inspect.block import block_count, block_view
from qformat.inspect.listing import chosen, fuzzy, layer_pattern, natural
from qformat.inspect.model import model_facts
from qformat.inspect.statistics import FAR, statistics
from qformat.inspect.summary import summarize
from qformat.inspect.usage import Levels, Spread, layout_of, usage
from qformat.inspect.values import values


@given(
    at=st.integers(0, 40), bits=st.integers(1, 32), count=st.integers(1, 6), step=st.integers(0, 40),
    kind=st.sampled_from(["uint", "int"]), seed=st.integers(0, 99),
)  # fmt: skip
def test_fields_of_many_records_are_the_bits_of_each(at, bits, count, step, kind, seed):
    field = Field("f", at, bits, count, kind, step=max(step, bits) if step else 0)
    records = np.random.default_rng(seed).integers(0, 256, (3, -(-field.end // 8)), np.uint8)
    found = field_values(field, records)
    for row, record in zip(found, records, strict=True):
        word = int.from_bytes(record.tobytes(), "little")
        for i, item in enumerate(row):
            raw = (word >> field.bit(i)) & ((1 << bits) - 1)
            wanted = raw - (1 << bits) if kind == "int" and raw >> (bits - 1) else raw
            assert item == wanted


@pytest.fixture(scope="module")
def boxes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inspect")
    source = save_bf16({"w": weights(1, (8, 172))}, folder / "source.safetensors")
    specs = [*SCHEMES, "asym4:zero=min"]
    for i, spec in enumerate(specs):
        qformat.convert(source, folder / f"{i}.safetensors", rules=[qformat_rule(spec)])
    return [qformat.open(folder / f"{i}.safetensors") for i in range(len(specs))]


def qformat_rule(spec):
    from qformat.convert.recipe import Rule

    return Rule("*", spec)


@pytest.fixture(scope="module")
def typed(tmp_path_factory):
    return qformat.open(every_type(tmp_path_factory.mktemp("types") / "types.gguf"))


def tensors(boxes, typed):
    return [(c, t) for c in (*boxes, typed) for t in c.tensors.values() if t.scheme is not None]


def test_each_bit_of_a_block_belongs_to_one_item_whose_bits_they_are(boxes, typed):
    for checkpoint, info in tensors(boxes, typed):
        for index in (0, block_count(info) - 1):
            view = block_view(checkpoint, info, index)
            seen = set()
            for stored in view.stored:
                word = int.from_bytes(stored.data, "little")
                for span in stored.spans:
                    bits = view.fields[span.field].bits[span.item]
                    assert f"{(word >> span.bit) & ((1 << span.bits) - 1):0{span.bits}b}" == bits
                    seen.add((span.field, span.item))
                owners = stored.owners()
                assert sum(o is not None for o in owners) == sum(s.bits for s in stored.spans)
                where = next(p.file for p in info.planes.values())
                with where.open("rb") as file:
                    file.seek(stored.data_offset)
                    assert file.read(len(stored.data)) == stored.data
            assert len(seen) == sum(len(f.items) for f in view.fields)


def test_usage_counts_every_item_of_every_block(boxes, typed):
    for checkpoint, info in tensors(boxes, typed):
        views = [block_view(checkpoint, info, i) for i in range(block_count(info))]
        found = usage(checkpoint, info)
        items = sum(len(f.items) for v in views for f in v.fields)
        counted = sum(sum(u.counts) if isinstance(u, Levels) else u.count for u in found)
        wide = sum(
            f.bits > 12 and f.kind in ("uint", "int") for f in getattr(layout_of(info.scheme), "fields", ())
        )
        if not wide:
            assert counted == items
        first = found[0]
        if not isinstance(info.scheme.layout, RawBlocks) and isinstance(first, Levels):
            codes = [i for v in views for i in v.fields[0].items]
            assert dict(first.items()) == {n: codes.count(n) for n, _ in first.items()}
        for spread in (u for u in found if isinstance(u, Spread)):
            assert sum(spread.histogram) == spread.count


def test_statistics_count_what_is_near_and_what_is_far(tmp_path):
    data = np.concatenate([np.linspace(-1, 1, 1000), [50.0, -50.0, np.nan]]).astype(np.float32)
    checkpoint = qformat.open(save_bf16({"w": data}, tmp_path / "w.safetensors"))
    found = statistics(checkpoint, checkpoint.tensors["w"])
    finite = data[np.isfinite(data)].astype(np.float64)
    assert found.near == np.count_nonzero(np.abs(finite) <= 0.5)
    assert found.outliers == np.count_nonzero(np.abs(finite - finite.mean()) > FAR * finite.std()) == 2
    assert found.not_finite == 1
    assert found.is_far(0)
    assert not found.is_far(16)
    seen = []
    statistics(checkpoint, checkpoint.tensors["w"], seen.append)
    assert sum(seen) == 2 * data.size


def test_values_are_those_of_the_block(boxes):
    for checkpoint in boxes:
        info = checkpoint.tensors["w"]
        view = block_view(checkpoint, info, 7)
        row, first = view.row, view.first
        assert values(checkpoint, info, Tile(row, 1, first, len(view.values))).tolist() == [list(view.values)]


def test_lists_sort_naturally_and_filter_loosely(model):
    checkpoint = qformat.open(model)
    names = [t.name for t in chosen(checkpoint, None, "name", None)]
    assert names.index("model.layers.0.mlp.up_proj.weight") < names.index("model.layers.1.mlp.up_proj.weight")
    assert sorted(["a10", "a9", "b1"], key=natural) == ["a9", "a10", "b1"]
    assert natural("²") != natural("2")
    keep = fuzzy("L1 DOWN")
    assert [n for n in names if keep(n)] == ["model.layers.1.mlp.down_proj.weight"]
    assert [n for n in names if fuzzy("*.0.*")(n)] == [n for n in names if ".0." in n]
    assert fuzzy("")("anything")
    assert layer_pattern("a.1.b2.3") == "a.#.b2.#"


def test_a_model_says_what_memory_it_takes(tmp_path):
    folder = tiny_model(tmp_path / "m")
    config = {
        "architectures": ["LlamaForCausalLM"], "hidden_size": 64, "intermediate_size": 172,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 80,
        "max_position_embeddings": 128, "rms_norm_eps": 1e-6, "rope_theta": 1e4,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    found = model_facts(qformat.open(folder))
    assert found.family == "llama"
    assert found.cache_per_token == 2 * 2 * 32 * 2
    assert found.weights == summarize(qformat.open(folder)).nbytes
    (folder / "config.json").write_text('{"model_type": "odd"}')
    unknown = model_facts(qformat.open(folder))
    assert unknown.config is None
    assert "not known" in dict(unknown.facts())["family"]
