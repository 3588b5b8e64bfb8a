"""Live against llama.cpp and ggml, through llama-cpp-python: bits, choices, loading, text."""

from __future__ import annotations

import ctypes
from pathlib import Path

import gguf
import llama_cpp
import ml_dtypes
import numpy as np
import pytest
from conftest import weights
from llama_cpp import llama_cpp as api
from test_imatrix import write_gguf as write_imatrix

import qformat
from qformat.convert.recipe import Rule
from qformat.files.imatrix import read_imatrix
from qformat.schemes.coder import decode, encode
from qformat.schemes.registry import registry

FILE_TYPES = {m.id: m.file_type for m in registry().mixtures()}
GGML = ctypes.CDLL(str(Path(llama_cpp.__file__).parent / "lib" / "libggml-base.so"))
GGML.ggml_quantize_chunk.restype = ctypes.c_size_t
GGML.ggml_quantize_chunk.argtypes = [
    ctypes.c_int,
    *(ctypes.c_void_p,) * 2,
    *(ctypes.c_int64,) * 3,
    ctypes.c_void_p,
]


def random_model(path: Path, *, layers: int, hidden: int = 256, ffn: int = 512, kv_heads: int = 2) -> Path:
    """A random Llama with a small vocabulary, by gguf-py."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(layers)
    writer.add_context_length(128)
    writer.add_embedding_length(hidden)
    writer.add_feed_forward_length(ffn)
    writer.add_head_count(8)
    writer.add_head_count_kv(kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(hidden // 8)
    writer.add_vocab_size(64)
    shapes = {"token_embd": (64, hidden), "output_norm": (hidden,), "output": (64, hidden)}
    for i in range(layers):
        shapes |= {
            f"blk.{i}.attn_norm": (hidden,),
            f"blk.{i}.ffn_norm": (hidden,),
            f"blk.{i}.attn_q": (hidden, hidden),
            f"blk.{i}.attn_k": (hidden // 8 * kv_heads, hidden),
            f"blk.{i}.attn_v": (hidden // 8 * kv_heads, hidden),
            f"blk.{i}.attn_output": (hidden, hidden),
            f"blk.{i}.ffn_gate": (ffn, hidden),
            f"blk.{i}.ffn_up": (ffn, hidden),
            f"blk.{i}.ffn_down": (hidden, ffn),
        }
    for i, (name, shape) in enumerate(shapes.items()):
        writer.add_tensor(f"{name}.weight", weights(i, shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


class ImatrixData(ctypes.Structure):
    _fields_ = (("name", ctypes.c_char_p), ("data", ctypes.c_void_p), ("size", ctypes.c_size_t))


def llama_quantize(
    source: Path,
    target: Path,
    file_type: int,
    *,
    pure: bool = False,
    means: dict[str, np.ndarray] | None = None,
) -> None:
    params = api.llama_model_quantize_default_params()
    params.ftype, params.pure, params.nthread = file_type, pure, 2
    if means is not None:
        rows = [ImatrixData(n.encode(), v.ctypes.data, v.size) for n, v in means.items()]
        table = (ImatrixData * (len(rows) + 1))(*rows, ImatrixData(None, None, 0))
        params.imatrix = ctypes.cast(table, type(params.imatrix))
    assert api.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(params)) == 0


def tensors(path: Path) -> dict[str, tuple[str, bytes]]:
    return {t.name: (t.tensor_type.name, t.data.tobytes()) for t in gguf.GGUFReader(path).tensors}


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return random_model(tmp_path_factory.mktemp("model") / "model.gguf", layers=16)


# llama-quantize refuses q2_k_s without an importance matrix.
@pytest.mark.parametrize("mixture", [n for n in FILE_TYPES if n not in ("f32", "q2_k_s")])
def test_a_mixture_is_llama_quantizes_to_the_bit(model, tmp_path, mixture):
    ours, theirs = tmp_path / "ours.gguf", tmp_path / "theirs.gguf"
    qformat.convert(model, ours, mixture, to="gguf")
    llama_quantize(model, theirs, FILE_TYPES[mixture])
    assert tensors(ours) == tensors(theirs)


@pytest.mark.parametrize(
    "mixture", ["q2_k_s", "q2_k", "q3_k_l", "q4_0", "q5_0", "q4_k_m", "iq4_nl", "iq4_xs"]
)
def test_a_mixture_is_llama_quantizes_to_the_bit_with_importance_too(model, tmp_path, mixture):
    ours, theirs = tmp_path / "ours.gguf", tmp_path / "theirs.gguf"
    shapes = {t.name: t.shape[0] for t in gguf.GGUFReader(model).tensors if t.name.startswith("blk.")}
    means = {n: importance(i, int(cols)) for i, (n, cols) in enumerate(shapes.items()) if "norm" not in n}
    matrix = write_imatrix(tmp_path / "imatrix.gguf", means)
    qformat.convert(model, ours, mixture, imatrix=matrix)
    means = {n: v[0] for n, v in read_imatrix(matrix).entries.items()}  # sums and counts round
    llama_quantize(model, theirs, FILE_TYPES[mixture], means=means)
    assert tensors(ours) == tensors(theirs)


@pytest.mark.parametrize("name", ["q8_0", "q4_0", "q4_1", "q4_k_s", "q2_k"])
def test_pure_types_and_ragged_rows_too(tmp_path, name):
    source = random_model(tmp_path / "m.gguf", layers=3, hidden=96, ffn=172, kv_heads=8)
    for pure in (False, True):
        ours, theirs = tmp_path / f"o{pure}.gguf", tmp_path / f"t{pure}.gguf"
        scheme = name.removesuffix("_s") if pure else name
        qformat.convert(source, ours, scheme, to="gguf", pure=pure)
        llama_quantize(source, theirs, FILE_TYPES[name], pure=pure)
        assert tensors(ours) == tensors(theirs)


def data(kind: str, count: int) -> np.ndarray:
    rng = np.random.default_rng(7)
    if kind == "gaussian":
        values = weights(3, (count // 4096, 4096)).astype(np.float32)
        return values * np.exp(0.3 * rng.standard_normal((len(values), 1))).astype(np.float32)
    if kind == "laplace":
        return rng.laplace(0, 0.02, (count // 4096, 4096)).astype(np.float32)
    return rng.uniform(-0.1, 0.1, (count // 4096, 4096)).astype(np.float32)


ENCODED = [
    kind.id
    for kind, _ in registry().schemes()
    if hasattr(gguf.GGMLQuantizationType, kind.id.upper()) and kind.encodes
]


@pytest.mark.parametrize("kind", ["gaussian", "laplace", "uniform"])
@pytest.mark.parametrize("name", ENCODED)
def test_encoders_give_ggmls_bits(name, kind):
    scheme = registry().parse(name)
    values = data(kind, 1 << 20)
    planes = encode(scheme, values).planes
    out = np.zeros(planes["blocks"].size, np.uint8)
    number = int(getattr(gguf.GGMLQuantizationType, name.upper()))
    GGML.ggml_quantize_chunk(number, values.ctypes.data, out.ctypes.data, 0, *values.shape, None)
    assert np.array_equal(planes["blocks"], out)
    wanted = gguf.quants.dequantize(out.reshape(len(values), -1), gguf.GGMLQuantizationType(number))
    assert np.array_equal(decode(scheme, planes, values.shape), wanted)


def importance(seed: int, count: int) -> np.ndarray:
    """Importances over some orders of magnitude, and one in a hundred of none at all."""
    rng = np.random.default_rng(seed)
    found = rng.gamma(0.5, 1, count) * (rng.random(count) > 0.01)
    return found.astype(np.float32)


@pytest.mark.parametrize("kind", ["gaussian", "laplace", "uniform"])
@pytest.mark.parametrize("name", [n for n in ENCODED if registry().parse(n).weighted])
def test_encoders_give_ggmls_bits_with_importance_too(name, kind):
    scheme = registry().parse(name)
    values, important = data(kind, 1 << 20), importance(5, 4096)
    planes = encode(scheme, values, weights=important).planes
    out = np.zeros(planes["blocks"].size, np.uint8)
    number = int(getattr(gguf.GGMLQuantizationType, name.upper()))
    GGML.ggml_quantize_chunk(
        number, values.ctypes.data, out.ctypes.data, 0, *values.shape, important.ctypes.data
    )
    assert np.array_equal(planes["blocks"], out)
    assert not np.array_equal(planes["blocks"], encode(scheme, values).planes["blocks"])


def test_a_container_in_between_changes_nothing(model, tmp_path):
    box, back = tmp_path / "box.safetensors", tmp_path / "back.gguf"
    small = tmp_path / "small.gguf"
    llama_quantize(model, small, FILE_TYPES["q4_k_m"])
    qformat.convert(small, box, rules=[Rule("*", "keep")])
    qformat.convert(box, back, to="gguf")
    assert back.read_bytes() == small.read_bytes()


def test_bf16_is_ml_dtypes_bf16(model, tmp_path):
    qformat.convert(model, tmp_path / "b.gguf", "bf16", to="gguf")
    source, made = gguf.GGUFReader(model).tensors, gguf.GGUFReader(tmp_path / "b.gguf").tensors
    for a, b in zip(source, made, strict=True):
        if b.tensor_type.name == "BF16":
            assert b.data.tobytes() == a.data.astype(ml_dtypes.bfloat16).tobytes()


SAMPLE = Path(__file__).parents[2] / "samples" / "village"
PROMPT = "Orla lives in"


def continued(path: Path, prompt: str, count: int = 40) -> str:
    """The text that llama.cpp continues with, always taking the likeliest token."""
    model = llama_cpp.Llama(str(path), n_ctx=256, n_threads=2, verbose=False)
    text = model.create_completion(prompt, max_tokens=count, temperature=0.0)["choices"][0]["text"]
    model.close()
    return str(text)


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    target = tmp_path_factory.mktemp("exported") / "village.gguf"
    qformat.convert(SAMPLE, target, "f16", to="gguf")
    return target


# Ours and llama-quantize's, each of the one type for all matrices.
PURE = {"f16": "f16", "q8_0": "q8_0", "q4_0": "q4_0", "q4_1": "q4_1", "q4_k_m": "q4_k", "q2_k": "q2_k"}


@pytest.mark.parametrize("mixture", PURE)
def test_the_sample_continues_as_llama_cpps_own_file_does(exported, tmp_path, mixture):
    ours, theirs = tmp_path / "ours.gguf", tmp_path / "theirs.gguf"
    qformat.convert(SAMPLE, ours, PURE[mixture], to="gguf", pure=True)
    wide = tmp_path / "wide.gguf"
    qformat.convert(SAMPLE, wide, "f32", to="gguf")
    llama_quantize(wide, theirs, FILE_TYPES[mixture], pure=True)
    assert tensors(ours) == tensors(theirs)
    text = continued(ours, PROMPT)
    assert text == continued(theirs, PROMPT)
    if mixture in ("f16", "q8_0"):
        assert "Elderby" in text  # where Orla does live


def test_llama_cpp_loads_a_split_model_from_its_first_file(exported, tmp_path):
    report = qformat.convert(exported, tmp_path / "m.gguf", to="gguf", max_shard_size=3_000_000)
    assert len(report.files) > 2
    assert continued(tmp_path / min(report.files), PROMPT) == continued(exported, PROMPT)
    qformat.edit(tmp_path, {"general.name": "another name, longer than before"})
    assert continued(tmp_path / min(report.files), PROMPT) == continued(exported, PROMPT)


def test_llama_cpp_tokenizes_the_exported_vocabulary_as_tokenizers_does(exported):
    from tokenizers import Tokenizer

    model = llama_cpp.Llama(str(exported), vocab_only=True, verbose=False)
    text = (SAMPLE.parent / "heldout.txt").read_text(encoding="utf-8")[:30_000] + "\nnaïve 漢字 🙂\t\n"
    wanted = Tokenizer.from_file(str(SAMPLE / "tokenizer.json")).encode(text).ids
    assert model.tokenize(text.encode(), add_bos=True, special=True) == wanted
    model.close()


def test_the_sample_comes_back_from_gguf(tmp_path):
    qformat.convert(SAMPLE, tmp_path / "m.gguf", to="gguf")
    qformat.convert(tmp_path / "m.gguf", tmp_path / "back", to="safetensors", dtype="BF16")
    assert qformat.diff(SAMPLE, tmp_path / "back").same
