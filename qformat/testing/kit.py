"""The tests that a scheme's author inherits."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from qformat.blocks.decode import decode_rows
from qformat.blocks.descriptor import Provider, SchemeRecord, record_from_json, record_to_json
from qformat.blocks.layout import RawBlocks, bits_per_weight, planes, sections, stored_bytes
from qformat.errors import DataError, QFormatError
from qformat.schemes.coder import decode
from qformat.schemes.kernels import kernel
from qformat.schemes.registry import registry
from qformat.schemes.scheme import Scheme
from qformat.testing import material
from qformat.testing.material import SHAPES, back, weights


class SchemeTests:
    """Inherit it, and set ``scheme``, ``bound`` and, once they are known, the two digests."""

    scheme: ClassVar[type[Scheme]]
    bound: ClassVar[float]  # relative RMSE that default options reach on normally distributed weights
    constant_bound: ClassVar[float] = 0.25  # relative error allowed for blocks of one number
    golden: ClassVar[str] = ""  # freezes what planes decode to
    encoded: ClassVar[str | None] = ""  # freezes the encoder's bytes; None: they may differ by machine

    # --- what the class says of itself ------------------------------------------------------

    def variants(self) -> list[Scheme]:
        """The default options, and each option's other values one at a time."""
        found: list[Scheme] = [self.scheme()]
        for name, _, allowed, default in self.scheme.option_help():
            found += [self.scheme(**{name: value}) for value in allowed if value != default]
        return found

    def test_the_class_is_complete(self) -> None:
        kind = self.scheme
        assert isinstance(kind.version, int), "version must be an integer"
        assert kind.version >= 1, "version counts from 1"
        assert kind.summary, "give `summary`: one line that `qformat schemes` shows"
        assert "\n" not in kind.summary, "`summary` must be one line"
        params: Any = getattr(kind, "__dataclass_params__", None)
        assert params is not None, "decorate the class with @dataclass(frozen=True)"
        assert params.frozen, "decorate the class with @dataclass(frozen=True): options must not change"
        for field in dataclasses.fields(kind):
            assert "option" in field.metadata, f"make the field {field.name!r} with option(…), or a ClassVar"

    def test_the_program_finds_it(self) -> None:
        known = {found.id: found for found, _ in registry().schemes()}
        assert self.scheme.id in known, (
            f"qformat does not know {self.scheme.id!r}: install the package (pip install -e .) with an entry "
            "point in the group `qformat`, or set QFORMAT_PLUGINS=FILE.py"
        )

    def test_importing_it_does_not_import_jax(self) -> None:
        module = sys.modules[self.scheme.__module__]
        file = Path(str(module.__file__))
        code = (
            "import sys, importlib\n"
            f"sys.path[:0] = {sys.path!r}\n"
            f"name, file = {self.scheme.__module__!r}, {str(file)!r}\n"
            "try:\n    importlib.import_module(name)\n"
            "except ImportError:\n"
            "    from pathlib import Path\n"
            "    from qformat.plugins.host import load_file\n"
            "    load_file(Path(file))\n"
            "sys.exit('jax' in sys.modules)\n"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)  # noqa: S603
        assert done.returncode == 0, (
            f"importing {file.name} imports jax, which takes half a second in every command: "
            f"import it inside encode and decode\n{done.stderr}"
        )

    # --- layout -----------------------------------------------------------------------------

    def test_options_come_back_from_a_files_descriptor(self) -> None:
        for scheme in self.variants():
            record = self._record(scheme)
            text = json.dumps(record_to_json(record), allow_nan=False)
            try:
                read = record_from_json(json.loads(text), "scheme")
            except QFormatError as error:
                raise AssertionError(
                    f"the layout of {scheme.spec()} is not one that a file can hold: {error}"
                ) from None
            assert read == record, f"{scheme.spec()} reads back differently: use plain numbers and tuples"
            again = self.scheme.from_options(read.options)
            assert again == scheme, f"from_options must give {scheme.spec()} back; it gave {again.spec()}"
            name, _, rest = scheme.spec().partition(":")
            typed = dict(item.split("=") for item in rest.split(",") if item)
            assert self.scheme.from_options(typed) == scheme, (
                f"{name}: an option reads differently when typed"
            )

    def test_every_bit_is_accounted_for(self) -> None:
        for scheme in self.variants():
            layout = scheme.layout()
            if isinstance(layout, RawBlocks):
                sections(layout)
                if layout.fields:
                    assert material.raw_bits(layout) == list(range(layout.size * 8)), (
                        f"{scheme.spec()}: each bit of the record must belong to exactly one Field; "
                        "name unused ones too"
                    )
                continue
            blocks = material.synthetic(scheme, 3)
            bits = sum(array.size * 8 for array in blocks.values())
            assert bits == sum(p.row_bytes(3 * scheme.block_size) for p in planes(layout)) * 8

    def test_sizes_are_those_of_the_layout(self) -> None:
        scheme = self.scheme()
        for shape in SHAPES:
            made = back(scheme, weights(1, shape))[0].planes
            size = sum(array.size for array in made.values())
            assert size == stored_bytes(scheme.layout(), shape), f"shape {shape} takes {size} bytes"
        cols = 1 << 16
        long = stored_bytes(scheme.layout(), (1, cols)) * 8 / cols
        assert abs(long - bits_per_weight(scheme.layout())) < 0.05 * long, "bits per weight are wrong"

    # --- values -----------------------------------------------------------------------------

    def test_the_round_trip_stays_within_the_bound(self) -> None:
        found = self._error(self.scheme())
        assert found <= self.bound, (
            f"the relative RMSE is {found:.4f}, above the bound of {self.bound}: is `decode` the inverse of "
            "`encode`, and are codes chosen for the scale as stored?"
        )
        assert found >= self.bound / 4, (
            f"the relative RMSE is {found:.4f}: declare a closer bound than {self.bound}"
        )

    def test_all_options_work(self) -> None:
        for scheme in self.variants()[1:]:
            found = self._error(scheme)
            assert found < 1, f"{scheme.spec()} has a relative RMSE of {found:.3f}: zeros would do better"

    def test_threads_and_tiles_change_nothing(self) -> None:
        scheme = self.scheme()
        values = weights(2, (9, 5 * scheme.block_size + 3))
        one, _ = back(scheme, values, threads=1)
        three, _ = back(scheme, values, threads=3)
        alone, _ = back(scheme, values[4:5])
        for name, data in one.planes.items():
            assert np.array_equal(data, three.planes[name]), (
                f"{name} differs between runs: no randomness, please"
            )
            row = data.size // 9
            assert np.array_equal(data[4 * row : 5 * row], alone.planes[name]), (
                f"{name} of a row depends on the other rows: `encode` must treat each block on its own"
            )

    def test_odd_shapes(self) -> None:
        scheme = self.scheme()
        for shape in (*SHAPES, (3, scheme.block_size + 1), (1, scheme.block_size - 1)):
            values = weights(3, shape)
            _, decoded = back(scheme, values)
            assert decoded.shape == shape, f"shape {shape} comes back as {decoded.shape}"
            assert np.isfinite(decoded).all(), f"shape {shape} decodes to NaN or infinity"

    def test_zeros(self) -> None:
        _, decoded = back(self.scheme(), np.zeros((2, 300), np.float32))
        assert not decoded.any(), (
            "zeros must decode to zeros: where the scale is 0, divide by 1 instead "
            "(jnp.where(scale > 0, scale, 1))"
        )

    def test_constants(self) -> None:
        for value in (1.0, -0.375, 3e-3):
            _, decoded = back(self.scheme(), np.full((1, 300), value, np.float32))
            worst = float(np.abs(decoded / value - 1).max())
            assert worst <= self.constant_bound, (
                f"a block of nothing but {value} is off by {worst:.0%}: mind a range of zero width"
            )

    def test_denormals(self) -> None:
        _, decoded = back(self.scheme(), np.full((1, 300), 1e-40, np.float32))
        assert (np.abs(decoded) < 1e-37).all(), "numbers below 2**-126 count as zero and must not grow"

    def test_huge_values(self) -> None:
        values = weights(4, (2, 300)) * np.float32(1e38)
        try:
            _, decoded = back(self.scheme(), values)
        except DataError:
            return  # "the scale overflows" is an answer
        assert np.isfinite(decoded).all(), "huge values decode to infinity: a number in between overflows"

    def test_nan_and_infinity_are_refused(self) -> None:
        for bad in (np.nan, np.inf, -np.inf):
            values = weights(5, (3, 300))
            values[1, 290] = bad
            where = self._refusal(values)
            assert where is not None, (
                f"{bad} was encoded: remove `bad_values_show`, or let it show in a plane of floats"
            )
            assert where == (1, 290), f"the error for {bad} names {where}, not (1, 290)"

    def test_importance_helps_what_is_important(self) -> None:
        scheme = self.scheme()
        shape = (16, 2 * scheme.block_size)
        values, important = weights(6, shape), material.importance(7, shape)

        def error(decoded: Any) -> float:
            return float((important.astype(np.float64) * (decoded.astype(np.float64) - values) ** 2).sum())

        plain, heeded = (
            error(material.weighted(scheme, values, None)),
            error(material.weighted(scheme, values, important)),
        )
        assert heeded <= plain * (1 + 1e-6), (
            f"with weights the weighted error is {heeded:.6g}, without {plain:.6g}: minimize "
            "sum(weights * error**2), or ignore the weights"
        )

    def test_heeding_importance_is_declared(self) -> None:
        scheme = self.scheme()
        kern = kernel(scheme)
        shape = (kern.blocks, kern.block)
        values, important = weights(6, shape), material.importance(7, shape)
        plain, heeded = kern.encode(values).planes, kern.encode(values, weights=important).planes
        differ = any(not np.array_equal(plain[name], heeded[name]) for name in plain)
        assert differ == scheme.weighted, (
            "`encode` heeds its weights: say `weighted = True`, or it never gets any"
            if differ
            else "`weighted = True` is declared, but `encode` gives the same with weights as without"
        )

    # --- the format -------------------------------------------------------------------------

    def test_golden_bytes_freeze_the_format(self) -> None:
        scheme = self.scheme()
        stored = material.synthetic(scheme, 4)
        decoded = decode(scheme, stored, (1, 4 * scheme.block_size))
        found = material.digest(stored | {"decoded": decoded})
        assert found == self.golden, (
            f"planes decode to other values than when {self.golden!r} was noted, so old files would: "
            "restore that, or raise `version` and list the old class in `older`. "
            f"A new scheme notes golden = {found!r}"
        )

    def test_the_encoder_gives_the_bytes_that_were_noted(self) -> None:
        if self.encoded is None:
            return
        scheme = self.scheme()
        values = material.staircase(3 * scheme.block_size + 5)[None]
        found = material.digest(back(scheme, values)[0].planes)
        assert found == self.encoded, (
            f"the encoder's bytes changed: if that is wanted, or it is new, note encoded = {found!r}; "
            "if they differ between machines, set encoded = None"
        )

    def test_the_descriptor_alone_decodes_it(self) -> None:
        for scheme in self.variants():
            layout = scheme.layout()
            if isinstance(layout, RawBlocks):
                continue
            assert type(scheme).decode is Scheme.decode, (
                "a layout of the vocabulary decodes itself: remove `decode`"
            )
            shape = (2, 3 * scheme.block_size + 5)
            done, decoded = back(scheme, weights(8, shape))
            read = decode_rows(layout, material.rows_of(planes(layout), done.planes, shape), shape[1])
            assert np.array_equal(read.view(np.uint32), decoded.view(np.uint32)), (
                f"{scheme.spec()} decodes differently without the plugin, which is a fault of qformat"
            )

    def test_it_compiles_for_devices_that_are_not_here(self) -> None:
        import jax
        import jax.numpy as jnp

        for scheme in self.variants():
            blocks = _abstract((8, scheme.block_size), jnp.float32)
            try:
                given = jax.eval_shape(scheme.encode, blocks)
                jax.jit(scheme.encode).trace(blocks).lower(lowering_platforms=("cuda", "tpu"))
                decoded = jax.eval_shape(
                    lambda p, s=scheme: s.decode(p, lambda product: product), self._as_given(scheme, given)
                )
            except Exception as error:
                raise AssertionError(
                    f"{scheme.spec()} cannot be compiled without values: use jax.numpy only, no float(), no "
                    f"`if` on numbers, no NumPy. {type(error).__name__}: {error}"
                ) from error
            assert decoded.shape == blocks.shape, f"decode gives {decoded.shape} for blocks {blocks.shape}"
            assert decoded.dtype == jnp.float32, f"decode gives {decoded.dtype}, float32 is wanted"

    # --- helpers ----------------------------------------------------------------------------

    def _record(self, scheme: Scheme) -> SchemeRecord:
        return SchemeRecord(
            scheme.id, scheme.version, scheme.options(), Provider("test", "1"), scheme.layout()
        )

    def _refusal(self, values: Any) -> tuple[int, ...] | None:
        """Where the error says that values cannot be encoded; None if they were."""
        try:
            back(self.scheme(), values)
        except DataError as error:
            return error.at or ()
        return None

    def _error(self, scheme: Scheme) -> float:
        values = weights(9, (32, 1024))
        return material.relative(values, back(scheme, values)[1])

    def _as_given(self, scheme: Scheme, given: Any) -> Any:
        """The encoder's arrays as the core hands them to the decoder."""
        from qformat.schemes.kernels import kernel

        types = kernel(scheme).types
        assert set(given) == set(types), f"encode gives {sorted(given)}, the layout has {sorted(types)}"
        return {n: _abstract((8, count), dtype) for n, (dtype, count) in types.items()}


def _abstract(shape: tuple[int, ...], dtype: Any) -> Any:
    """An array's shape and type without values."""
    import jax

    return jax.ShapeDtypeStruct(shape, dtype)  # type: ignore[no-untyped-call]
