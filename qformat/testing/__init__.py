"""A conformance kit for schemes: a plugin's tests inherit it in three lines.

::

    from qformat.testing import SchemeTests

    class TestMine(SchemeTests):
        scheme, bound = Mine, 0.1

Each failure says what the author should do. It needs pytest, and nothing of qformat's own tests.
"""

from qformat.testing.kit import SchemeTests

__all__ = ["SchemeTests"]
