"""The built-in schemes pass the kit that everybody's pass."""

from __future__ import annotations

import pytest

from qformat.schemes.registry import registry
from qformat.testing import SchemeTests

# id -> relative RMSE, digest of decoded planes, digest of encoded bytes (None: a search may differ by machine)
SCHEMES = {
    "sym4": (0.115, "5c7477eb8f61a19c", "531990c233110c25"),
    "asym3": (0.22, "eff85ba8ae016800", "ae6e9432f9a89ca7"),
    "nf4": (0.11, "63f6d2b5f5897b7f", "baef0b43f41650e3"),
    "fp8": (0.03, "bc950fe0c5335a0a", "959d179a1bc09c99"),
    "mxfp8": (0.035, "ec789c0c8e2b3bc9", "c060115dc0c88278"),
    "mxfp4-planar": (0.13, "a414e4d86ba8c5d7", "f2cf06a41a9349f2"),
    "nvfp4-planar": (0.11, "b619774490530943", "f781cf5adfbc04a3"),
    "hqq": (0.1, "20e4e3a82ef341a5", None),
    "mse2": (0.4, "86f338fd0f48442a", None),
    "q5_0": (0.06, "2ae4797681244eea", "ffd8065e2c8f6a28"),
    "q4_k": (0.1, "559916c98d490fee", "ebabdbbecefa9d48"),
}


class FewOptions(SchemeTests):
    """The default options and the last of the others, to be quick."""

    def variants(self):
        return SchemeTests.variants(self)[:: max(1, len(SchemeTests.variants(self)) - 1)]


def kit_of(name: str) -> type[SchemeTests]:
    kind = next(found for found, _ in registry().schemes() if found.id == name)
    bound, golden, encoded = SCHEMES[name]
    return type(name, (FewOptions,), {"scheme": kind, "bound": bound, "golden": golden, "encoded": encoded})


CHECKS = [check for check in vars(SchemeTests) if check.startswith("test_")]


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("name", SCHEMES)
def test_conformance(name, check):
    getattr(kit_of(name)(), check)()
