"""What a scheme is: an id, options, a layout, and two pure functions over a batch of blocks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

from qformat.blocks.decode import decode_blocks
from qformat.blocks.equivalent import Equivalent
from qformat.blocks.layout import Layout, Vocabulary, bits_per_weight, block_size
from qformat.errors import QFormatError, SchemeError
from qformat.plugins.stdout import diverted

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

OptionValue = int | float | str | bool


@dataclass(frozen=True)
class _Constraint:
    help: str
    one_of: tuple[OptionValue, ...]


def option(default: OptionValue, *, one_of: tuple[OptionValue, ...], help: str) -> Any:  # noqa: A002
    """Declare an option of a scheme: its default, the values allowed, and a line of help.

    Raises
    ------
    SchemeError
        For a default that is not allowed, and for words that cannot be typed in ``id:name=word,…``.
    """
    if default not in one_of:
        raise SchemeError(f"an option's default {default!r} is not among its values {one_of}")
    for word in one_of:
        if not str(word) or set(str(word)) & set(",=: "):
            raise SchemeError(f"an option's value {word!r} is empty or has one of `,=:` or a space in it")
    return dataclasses.field(default=default, metadata={"option": _Constraint(help, one_of)})


@dataclass(frozen=True)
class Scheme:
    """How a block of numbers becomes planes and back.

    Subclass it as a frozen dataclass whose fields are made with `option`, set ``id`` and
    ``summary``, and give `layout` and `encode`. `decode` follows from a layout in the closed
    vocabulary; override it for `RawBlocks`.

    ``encode`` and ``decode`` are pure functions in ``jax.numpy``; they are jitted over one fixed
    number of blocks. Import jax inside them, so that listing schemes stays fast.
    """

    id: ClassVar[str]
    encodes: ClassVar[bool] = True  # False: it only decodes what others wrote
    # True: a NaN or infinity in a block always shows in a plane of floats, so the core need not look
    bad_values_show: ClassVar[bool] = False
    # True: `encode` heeds importance weights; False: it gives the same with and without them
    weighted: ClassVar[bool] = False
    whole_rows: ClassVar[bool] = False  # True: `element_weights` looks at whole rows
    version: ClassVar[int] = 1
    older: ClassVar[Mapping[int, type[Scheme]]] = {}  # by version, the classes that read such files
    summary: ClassVar[str] = ""

    def layout(self) -> Layout:
        """The planes with their bit layout, and the rule that decodes them."""
        raise NotImplementedError("a scheme needs a method layout")

    def encode(self, blocks: Any, weights: Any = None) -> Mapping[str, Any]:
        """Encode ``blocks`` float32 ``[n, block]`` to one array per plane.

        An array has the shape ``[n, items per block]`` (``[n]`` will do for one item): integers
        in the range of the codes, numbers that are cast to a float plane's dtype, or uint8 with the bits
        of one-byte floats. Raw blocks have one array per section of the record
        (`qformat.blocks.layout.sections`). ``weights``, if given, has the shape of ``blocks``: the
        importance of each element.
        """
        raise NotImplementedError("a scheme that encodes needs a method encode")

    def decode(self, planes: Mapping[str, Any], product: Callable[[Any], Any]) -> Any:
        """Decode planes (of raw blocks: sections) ``[n, items per block]`` to float32 ``[n, block]``.

        ``product`` wraps each product that something is added to, so that the compiler does not
        fuse the two into one rounding.
        """
        from qformat.schemes.numerics import looked_up

        return decode_blocks(self.layout(), planes, product=product, look_up=looked_up)

    def element_weights(
        self, values: NDArray[np.float32], importance: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """The ``weights`` that `encode` gets: the importances, or what follows from them and the values.

        Both are ``[rows, elements]``, in NumPy; ragged rows are not filled up. It is for schemes whose
        weights depend on more than one block shows.
        """
        del values
        return importance

    def sensitive(self) -> str:
        """The scheme for embeddings and output head under the default policy, as a user types it."""
        return self.spec()

    def fallback(self) -> str:
        """A scheme or cast for rows that its block does not divide, where a format holds no others."""
        return "f16"

    def equivalent(self) -> Equivalent | None:
        """Of raw blocks: the layout of planes that mean the same, and where its items lie in a record.

        Tensors are then re-packed between the two without being quantized again.
        """
        return None

    def as_planes(
        self, sections: Mapping[str, NDArray[Any]]
    ) -> tuple[Vocabulary, dict[str, NDArray[Any]]] | None:
        """Of raw blocks: a layout of planes that decodes to the same bits, and their items.

        ``sections`` are a record's (`qformat.blocks.layout.sections`), ``[n, count]``; items are
        ``[n, items per block]``, in NumPy. Matrices then stay quantized in memory while text is made.
        """
        del sections
        return None

    # --- what follows from the above --------------------------------------------------------

    @contextmanager
    def blamed(self, method: str) -> Iterator[None]:
        """While one of its methods runs: what it prints goes to stderr, what it raises names it.

        Raises
        ------
        SchemeError
            For any error but our own.
        """
        try:
            with diverted():
                yield
        except QFormatError:
            raise
        except Exception as error:
            raise self.fault(method, f"{type(error).__name__}: {error}") from error

    def fault(self, method: str, what: str) -> SchemeError:
        """The error that says what one of its methods did wrong."""
        return SchemeError(
            f"scheme {self.id} failed in `{method}`: {what}",
            hint=f"its plugin is at fault (module {type(self).__module__}); --traceback shows where",
        )

    @property
    def block_size(self) -> int:
        """Elements encoded together."""
        return block_size(self.layout())

    @property
    def bpw(self) -> float:
        """Bits per weight in long rows."""
        return bits_per_weight(self.layout())

    def options(self) -> dict[str, OptionValue]:
        """All options with their values."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}

    def spec(self) -> str:
        """The scheme as a user would type it: the id, then the options that are not default."""
        fields = [f for f in dataclasses.fields(self) if getattr(self, f.name) != f.default]
        shown = ",".join(f"{f.name}={getattr(self, f.name)}" for f in fields)
        return f"{self.id}:{shown}" if shown else self.id

    @classmethod
    def option_help(cls) -> list[tuple[str, str, tuple[OptionValue, ...], OptionValue]]:
        """Name, help, allowed values and default of each option."""
        return [
            (f.name, f.metadata["option"].help, f.metadata["option"].one_of, f.default)  # type: ignore[misc]
            for f in dataclasses.fields(cls)
        ]

    @classmethod
    def from_options(cls, given: Mapping[str, OptionValue]) -> Self:
        """The scheme with these options; values may be strings, as typed.

        Raises
        ------
        SchemeError
            For an unknown option or a value that is not allowed.
        """
        known = {name: allowed for name, _, allowed, _ in cls.option_help()}
        chosen: dict[str, OptionValue] = {}
        for name, value in given.items():
            if name not in known:
                names = ", ".join(known) or "none"
                raise SchemeError(f"scheme {cls.id} has no option {name!r}", hint=f"its options: {names}")
            by_text = {str(v): v for v in known[name]}
            if str(value) not in by_text:
                allowed = ", ".join(by_text)
                raise SchemeError(f"{cls.id}: {name}={value} is not possible", hint=f"allowed: {allowed}")
            chosen[name] = by_text[str(value)]
        return cls(**chosen)
