"""How a text is cut, held to what each protocol promises."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qformat.evaluate.windows import LLAMA_CPP, TextError, cut, token_digest

SIZES = {"ctx": st.integers(2, 17), "extra": st.integers(0, 60), "bos": st.none() | st.just(1)}


@given(**SIZES, stride=st.none() | st.integers(1, 17))
def test_every_token_is_scored_once_in_its_place(ctx, extra, bos, stride):
    text = np.arange(100, 100 + ctx + extra)
    stride = stride and min(stride, ctx)
    windows = cut(text, ctx=ctx, stride=stride, bos=bos)
    places = windows.source[windows.scored]
    assert len(set(places)) == len(places)
    # Without a beginning-of-text token, a window's first token cannot be scored by that window.
    unscored = set(range(len(text))) - set(places.tolist())
    # If the text ends with it, that window has nothing to say and is left out.
    assert unscored <= {*windows.source[:, 0].tolist(), len(text) - 1}
    assert windows.scored.any(axis=1).all()
    if bos is not None or (stride is not None and stride < ctx):
        assert unscored <= ({0} if bos is None else set())
    assert np.array_equal(windows.tokens[windows.scored], text[places])
    assert not windows.scored[:, 0].any()
    places = np.nonzero(windows.scored)[1] - 1
    assert windows.last == windows.ctx - places.min()
    inside = windows.source >= 0
    assert np.array_equal(windows.tokens[inside], text[windows.source[inside]])
    if bos is not None:
        assert (windows.tokens[:, 0] == bos).all()


@given(ctx=st.integers(3, 17), extra=st.integers(0, 60), stride=st.integers(1, 8))
def test_a_stride_gives_each_token_a_long_past(ctx, extra, stride):
    windows = cut(np.arange(ctx + extra), ctx=ctx, stride=min(stride, ctx))
    _, position = np.nonzero(windows.scored[1:])
    assert (position >= ctx - min(stride, ctx)).all() or not len(position)


@given(ctx=st.integers(3, 17), extra=st.integers(0, 60), bos=st.none() | st.just(1))
def test_llama_cpp_scores_second_halves_of_disjoint_windows(ctx, extra, bos):
    text = np.arange(100, 100 + 2 * ctx + extra)
    windows = cut(text, ctx=ctx, protocol=LLAMA_CPP, bos=bos)
    assert len(windows) == len(text) // ctx
    assert (windows.scored.sum(axis=1) == ctx - ctx // 2 - 1).all()
    body = text[: len(windows) * ctx].reshape(-1, ctx)
    assert np.array_equal(windows.tokens[:, 1:], body[:, 1:])
    assert (windows.tokens[:, 0] == (body[:, 0] if bos is None else bos)).all()


@pytest.mark.parametrize(("protocol", "least"), [("window", 8), (LLAMA_CPP, 16)])
def test_a_short_text_is_refused_with_its_length(protocol, least):
    assert len(cut(range(least), ctx=8, protocol=protocol))
    if protocol == LLAMA_CPP:
        with pytest.raises(TextError, match="no token of a window of 2"):
            cut(range(least), ctx=2, protocol=protocol)
    with pytest.raises(TextError, match=rf"{least - 1} tokens.*take[s]? {least}"):
        cut(range(least - 1), ctx=8, protocol=protocol)


def test_the_digest_tells_what_was_read_and_scored():
    one = cut(range(20), ctx=8)
    assert token_digest(one) == token_digest(cut(range(20), ctx=8))
    assert token_digest(one) != token_digest(cut([*range(19), 7], ctx=8))
    assert token_digest(cut(range(16), ctx=8)) != token_digest(cut(range(16), ctx=8, protocol=LLAMA_CPP))
