"""A number as bits: what a format makes of a value, and what each bit of it means. Exact, no NumPy.

A float of ``e`` exponent and ``m`` mantissa bits, E and M being those fields, is::

    E > 0   (-1)**sign * 2**(E - bias)     * (1 + M / 2**m)     normal
    E = 0   (-1)**sign * 2**(1 - bias - m) * M                  subnormal, or zero

IEEE 754's formats and E5M2 keep the highest exponent for infinity and NaN. E4M3 gives up one code
of each sign for NaN, E2M1 none (OCP's specifications of 8-bit floats and of microscaling).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from qformat.errors import QFormatError


@dataclass(frozen=True)
class Format:
    """How a number is stored. ``exponent`` is 0 for an integer in two's complement.

    ``top`` is the code of the largest number; ``infinite`` says whether the next one is infinity.
    """

    name: str
    also: str  # what else it is called
    exponent: int
    mantissa: int
    top: int
    infinite: bool = False
    nan: int | None = None  # the code that a NaN is given

    @property
    def bits(self) -> int:
        return 1 + self.exponent + self.mantissa

    @property
    def integer(self) -> bool:
        return self.exponent == 0

    @property
    def bias(self) -> int:
        return (1 << self.exponent - 1) - 1 if self.exponent else 0

    @property
    def fields(self) -> tuple[tuple[str, int], ...]:
        """Names and widths, highest bits first."""
        if self.integer:
            return (("sign", 1), ("integer", self.mantissa))
        return (("sign", 1), ("exponent", self.exponent), ("mantissa", self.mantissa))

    def value(self, code: int) -> float:
        """The number that a code stands for; exact, as a Python float holds all of these formats."""
        sign, magnitude = code >> self.bits - 1, code & (1 << self.bits - 1) - 1
        if self.integer:
            return float(code - (sign << self.bits))
        if magnitude > self.top:
            number = math.inf if self.infinite and magnitude == self.top + 1 else math.nan
        else:
            power, fraction = divmod(magnitude, 1 << self.mantissa)
            whole = fraction + (1 << self.mantissa if power else 0)
            number = math.ldexp(whole, max(power, 1) - self.bias - self.mantissa)
        return -number if sign else number

    def encode(self, value: float) -> int:
        """The code of the nearest number, ties to the even code.

        What is too large becomes infinity where the format has one, and the largest number where not.

        Raises
        ------
        QFormatError
            For NaN in a format that has none.
        """
        if math.isnan(value):
            if self.nan is None:
                raise QFormatError(f"{self.name} has no NaN", hint="the other formats do")
            return self.nan
        if self.integer:
            low, high = -(1 << self.mantissa), (1 << self.mantissa) - 1
            return round(min(max(value, low), high)) & (1 << self.bits) - 1
        sign = 1 << self.bits - 1 if math.copysign(1, value) < 0 else 0
        return sign | self._magnitude(abs(value))

    def _magnitude(self, size: float) -> int:
        beyond = self.top + 1 if self.infinite else self.top
        if math.isinf(size):
            return beyond
        power, least = self._power(size), 1 - self.bias
        whole = round(math.ldexp(size, self.mantissa - power))  # exact but for the rounding, half to even
        return min((power - least << self.mantissa) + whole, beyond)

    def _power(self, size: float) -> int:
        """The exponent of a finite number's binade; subnormals and zero count as the smallest normals."""
        return max(math.frexp(size)[1] - 1 if size else 1 - self.bias, 1 - self.bias)

    def spacing(self, value: float) -> float:
        """The distance between numbers of a finite value's binade: the unit in its last place."""
        if self.integer:
            return 1.0
        return math.ldexp(1, self._power(value) - self.mantissa)

    def specials(self) -> list[tuple[str, Number]]:
        """Its outstanding numbers by name."""
        if self.integer:
            return [("smallest", Number(self, self.top + 1)), ("largest", Number(self, self.top))]
        found = [
            ("smallest subnormal", 1),
            ("smallest normal", 1 << self.mantissa),
            ("one", self.bias << self.mantissa),
            ("largest", self.top),
        ]
        if self.infinite:
            found.append(("infinity", self.top + 1))
        if self.nan is not None:
            found.append(("NaN", self.nan))
        return [(name, Number(self, code)) for name, code in found]


def _ieee(name: str, also: str, exponent: int, mantissa: int) -> Format:
    infinity = (1 << exponent) - 1 << mantissa
    return Format(name, also, exponent, mantissa, infinity - 1, True, infinity | 1 << mantissa - 1)


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        f.name: f
        for f in (
            _ieee("f32", "float32", 8, 23),
            _ieee("f16", "float16", 5, 10),
            _ieee("bf16", "bfloat16", 8, 7),
            Format("e4m3", "fp8 E4M3", 4, 3, 0x7E, nan=0x7F),
            _ieee("e5m2", "fp8 E5M2", 5, 2),
            Format("e2m1", "fp4 E2M1", 2, 1, 0x7),
            Format("int8", "int8", 0, 7, 0x7F),
        )
    }
)


@dataclass(frozen=True)
class Number:
    """One code of a format.

    >>> n = FORMATS["bf16"].encode(0.1)
    >>> tenth = Number(FORMATS["bf16"], n)
    >>> tenth.value, tenth.spaced, tenth.flipped(7).value
    (0.10009765625, '0 01111011 1001101', 0.050048828125)
    """

    format: Format
    code: int

    @property
    def value(self) -> float:
        return self.format.value(self.code)

    @property
    def bits(self) -> str:
        """Most significant bit first."""
        return f"{self.code:0{self.format.bits}b}"

    @property
    def fields(self) -> tuple[tuple[str, str], ...]:
        """Names and bits, highest first."""
        found, at = [], 0
        for name, width in self.format.fields:
            found.append((name, self.bits[at : at + width]))
            at += width
        return tuple(found)

    @property
    def spaced(self) -> str:
        """The bits with their fields apart."""
        return " ".join(bits for _, bits in self.fields)

    @property
    def kind(self) -> str:
        """``zero``, ``subnormal``, ``normal``, ``infinite``, ``NaN`` or ``integer``."""
        if self.format.integer:
            return "integer"
        magnitude = self.code & (1 << self.format.bits - 1) - 1
        if magnitude > self.format.top:
            return "NaN" if math.isnan(self.value) else "infinite"
        if magnitude >> self.format.mantissa:
            return "normal"
        return "subnormal" if magnitude else "zero"

    def flipped(self, bit: int) -> Number:
        """The number with one bit turned over; bit 0 is the least significant.

        Raises
        ------
        QFormatError
            If the format has no such bit.
        """
        if not 0 <= bit < self.format.bits:
            raise QFormatError(
                f"{self.format.name} has bits 0 (the least significant) to {self.format.bits - 1}; not {bit}"
            )
        return Number(self.format, self.code ^ 1 << bit)

    def flips(self) -> list[tuple[int, str, Number]]:
        """For each bit, highest first: its number, its field, and what flipping it gives."""
        owners = [name for name, width in self.format.fields for _ in range(width)]
        last = self.format.bits - 1
        return [(last - i, name, self.flipped(last - i)) for i, name in enumerate(owners)]

    @property
    def below(self) -> Number | None:
        """The next smaller number."""
        return self._moved(-1)

    @property
    def above(self) -> Number | None:
        """The next larger number."""
        return self._moved(1)

    def _moved(self, by: int) -> Number | None:
        if math.isnan(self.value):
            return None
        sign = 1 << self.format.bits - 1
        if self.format.integer:
            at = int(self.value) + by
            return Number(self.format, at & (sign << 1) - 1) if -sign <= at < sign else None
        at = self.code & sign - 1
        at = (-at if self.code & sign else at) + by  # both zeros are one place
        if abs(at) > self.format.top + self.format.infinite:
            return None
        return Number(self.format, abs(at) | (sign if at < 0 else 0))

    @property
    def spacing(self) -> float | None:
        """The unit in its last place; None if it is not finite."""
        return self.format.spacing(self.value) if math.isfinite(self.value) else None

    @property
    def digits(self) -> float | None:
        """Significant decimal digits here: log10 of the value over the spacing; 0 at zero."""
        spacing = self.spacing
        if spacing is None:
            return None
        return max(math.log10(abs(self.value) / spacing), 0.0) if self.value else 0.0


def number(text: str, name: str) -> Number:
    """A number in a format, from a decimal (``0.1``, ``-inf``) or its bits (``0x3dcd``, ``0b101``).

    >>> number("0x7e", "e4m3").value
    448.0

    Raises
    ------
    QFormatError
        If the text is neither, or has more bits than the format.
    """
    chosen = FORMATS[name]
    if text[:2].lower() in ("0x", "0b"):
        try:
            code = int(text, 0)
        except ValueError:
            raise _unreadable(text) from None
        if code >> chosen.bits:
            raise QFormatError(f"{text} has more than the {chosen.bits} bits of {chosen.name}")
        return Number(chosen, code)
    return Number(chosen, chosen.encode(decimal(text)))


def decimal(text: str) -> float:
    """A value from a decimal.

    Raises
    ------
    QFormatError
        If it is none.
    """
    try:
        return float(text)
    except ValueError:
        raise _unreadable(text) from None


def _unreadable(text: str) -> QFormatError:
    return QFormatError(
        f"{text!r} is not a number", hint="write a decimal as 0.1, -2e-3, inf, or bits as 0x3dcd"
    )
