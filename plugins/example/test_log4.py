"""The conformance kit, and one test of our own."""

import numpy as np
from log4 import Log4

from qformat.schemes.coder import decode, encode
from qformat.testing import SchemeTests


class TestLog4(SchemeTests):
    scheme = Log4
    bound = 0.13  # the relative error on normally distributed weights
    # Noted from the first run; from then on a change of the format is a failing test.
    golden = "0b93b730a117d93e"
    encoded = "54dfac6a91cb82f7"


def test_levels_are_exact_where_the_largest_weight_is():
    values = np.asarray([Log4().levels() * 2], np.float32)
    np.testing.assert_array_equal(decode(Log4(), encode(Log4(), values).planes, values.shape), values)
