"""ggml's block types against vectors that ggml itself made, and against gguf-py."""

from __future__ import annotations

import importlib.util
import sys
import zlib
from pathlib import Path

import gguf
import numpy as np
import pytest
from conftest import weights
from hypothesis import given, settings
from hypothesis import strategies as st
from qformat_plugins.ggml.refined import refined_scale, running_count

from qformat.blocks.layout import bits_per_weight, sections
from qformat.errors import DataError, SchemeError
from qformat.schemes import coder
from qformat.schemes.kernels import jit
from qformat.schemes.numerics import hidden_zero
from qformat.schemes.registry import registry

GOLDEN = Path(__file__).parent / "golden" / "ggml"


def _inputs():
    spec = importlib.util.spec_from_file_location("golden_inputs", GOLDEN / "ggml_inputs.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["golden_inputs"] = module
    spec.loader.exec_module(module)
    return module


inputs = _inputs()
ALL = (*inputs.ENCODED, *inputs.DECODE_ONLY)


def golden(name):
    with np.load(GOLDEN / f"{name}.npz") as data:
        return data["records"], int(data["decoded"])


def decode(name, records):
    scheme = registry().parse(name)
    return coder.decode(scheme, {"blocks": records.reshape(-1)}, (len(records), scheme.block_size))


@pytest.mark.parametrize("name", inputs.ENCODED)
def test_encodes_to_the_bytes_that_ggml_gives(name):
    records, _ = golden(name)
    ours = coder.encode(registry().parse(name), inputs.values(name)).planes["blocks"].reshape(records.shape)
    assert np.flatnonzero((ours != records).any(axis=1)).tolist() == []


@pytest.mark.parametrize("name", inputs.WEIGHTED)
def test_encodes_to_the_bytes_that_ggml_gives_with_importance(name):
    rows = inputs.values(name)
    with np.load(GOLDEN / f"{name}.npz") as data:
        records = data["weighted"]
    important = inputs.importance(rows.shape[1])
    ours = coder.encode(registry().parse(name), rows, weights=important).planes["blocks"]
    assert np.flatnonzero((ours.reshape(records.shape) != records).any(axis=1)).tolist() == []


@pytest.mark.parametrize("name", ["q4_0", "q4_1", "q4_k", "q6_k", "iq4_nl"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_bad_values_are_refused_with_importance_too(name, bad):
    values = np.ones((3, 512), np.float32)
    values[1, 290] = bad
    with pytest.raises(DataError) as caught:
        coder.encode(registry().parse(name), values, weights=np.ones(512, np.float32))
    assert caught.value.at == (1, 290)


def test_rows_that_must_be_whole_may_be_longer_than_a_tile_only_without_importance():
    values, important = np.ones((1, 1 << 21), np.float32), np.ones(1 << 21, np.float32)
    with pytest.raises(SchemeError, match="in rows of at most"):
        coder.encode(registry().parse("q4_0"), values, weights=important)
    assert coder.encode(registry().parse("q4_0"), values).planes
    assert coder.encode(registry().parse("q6_k"), values, weights=important).planes


def test_the_types_whose_encoders_heed_importance_are_ggmls():
    assert {n for n in inputs.ENCODED if registry().parse(n).weighted} == set(inputs.WEIGHTED)


@pytest.mark.parametrize("name", ALL)
def test_decodes_to_the_bits_that_ggml_gives(name):
    records, crc = golden(name)
    assert zlib.crc32(decode(name, records).tobytes()) == crc


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_decodes_any_bytes_as_gguf_py_does(name, seed):
    scheme = registry().parse(name)
    records = np.random.default_rng(seed).integers(0, 256, (16, scheme.layout().size), dtype=np.uint8)
    with np.errstate(all="ignore"):
        theirs = gguf.quants.dequantize(records, gguf.GGMLQuantizationType[name.upper()])
    theirs = np.where(np.abs(theirs) < 2.0**-126, 0, theirs)  # such numbers count as zero
    np.testing.assert_array_equal(decode(name, records), theirs)


@pytest.mark.parametrize("name", ALL)
def test_sizes_are_those_of_gguf(name):
    scheme = registry().parse(name)
    layout = scheme.layout()
    assert (layout.block, layout.size) == gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name.upper()]]
    assert bits_per_weight(layout) == layout.size * 8 / layout.block
    assert sum(s.size for s in sections(layout)) == layout.size


@pytest.mark.parametrize("name", ALL)
def test_every_bit_of_a_record_belongs_to_one_field(name):
    layout = registry().parse(name).layout()
    taken = [
        field.bit(i) + k for field in layout.fields for i in range(field.count) for k in range(field.bits)
    ]
    assert sorted(taken) == list(range(layout.size * 8))


@pytest.mark.parametrize("name", ["q8_0", "q5_0", "q4_k", "iq4_xs", "tq1_0"])
def test_threads_and_tiles_change_nothing(name):
    scheme = registry().parse(name)
    row = np.random.default_rng(3).standard_normal((3, scheme.block_size * 9), dtype=np.float32)
    whole = coder.encode(scheme, row, threads=3).planes["blocks"]
    parts = [coder.encode(scheme, r[None], threads=1).planes["blocks"] for r in row]
    assert np.array_equal(whole, np.concatenate(parts))


@pytest.mark.parametrize("name", inputs.DECODE_ONLY)
def test_refuses_to_encode_what_it_only_decodes(name):
    scheme = registry().parse(name)
    assert not scheme.encodes
    with pytest.raises(SchemeError, match="but not encoded"):
        coder.encode(scheme, np.zeros((1, scheme.block_size), np.float32))


@pytest.mark.parametrize("name", ALL)
def test_sensitive_tensors_get_eight_bits(name):
    assert registry().parse(name).sensitive() == "q8_0"


@pytest.mark.parametrize("name", ["q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "q4_k", "q6_k", "iq4_nl"])
@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf, -np.inf])
def test_bad_values_are_found_wherever_they_are(name, bad):
    scheme = registry().parse(name)
    for place in (0, 1, 30, scheme.block_size - 1):
        values = np.ones((4, scheme.block_size), np.float32)
        values[2, place] = bad
        with pytest.raises(DataError) as caught:
            coder.encode(scheme, values)
        assert caught.value.at == (2, place)


@pytest.mark.parametrize("name", ["q8_0", "q4_0", "q4_1", "q4_k", "q6_k", "iq4_xs"])
def test_scales_that_overflow_are_errors(name):
    scheme = registry().parse(name)
    with pytest.raises(DataError, match="too large"):
        coder.encode(scheme, np.linspace(-1e30, 1e30, scheme.block_size, dtype=np.float32)[None])


def test_a_sub_block_of_q3_k_gets_the_same_scale_whatever_lies_beside_it():
    search = jit(lambda blocks: refined_scale(blocks, 16, 4, hidden_zero(blocks))[0])
    values = weights(5, (40, 256), np.float32)
    scales = np.asarray(search(values))
    for scale, alone in zip(scales[:48], values.reshape(-1, 16), strict=False):
        # All of them move codes, or none does.
        np.testing.assert_array_equal(search(np.resize(alone, values.shape)), scale)


@pytest.mark.parametrize("count", [1, 7, 16, 48, 640, 8192])
def test_flags_are_counted(count):
    flags = np.random.default_rng(count).integers(0, 2, count).astype(np.float32)
    np.testing.assert_array_equal(running_count(flags), np.cumsum(flags))
