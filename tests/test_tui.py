"""The TUI's screens on files of each kind: main paths, the command line's numbers, hostile strings, bad files."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import qformat as command
from conftest import save_bf16, tiny_model, weights
from screens import app_of, part, press, seen, settled, write
from textual.widgets import Input
from typed_gguf import every_type

import qformat
from qformat.errors import QFormatError
from qformat.files.gguf.building import Typed, lay_out
from qformat.files.gguf.types import ValueType
from qformat.files.gguf.writing import write_file
from qformat.tui.actions import ACTIONS, KEY_NAMES, of_scope
from qformat.tui.recent import Settings
from qformat.tui.screens.block import BlockScreen
from qformat.tui.screens.browser import Browser
from qformat.tui.screens.help import Help
from qformat.tui.screens.picker import Picker
from qformat.tui.screens.reader import Reader
from qformat.tui.screens.tensor import TensorScreen
from qformat.tui.widgets.bytesview import BytesView
from qformat.tui.widgets.elements import Elements
from qformat.tui.widgets.grid import HeatMap, ValueGrid
from qformat.tui.widgets.histogram import Histogram
from qformat.tui.widgets.tensor_table import TensorTable

SAMPLE = Path(__file__).parents[1] / "samples" / "village"
DOWN = "model.layers.0.mlp.down_proj.weight"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The sample, its container and its GGUF, a vocabulary alone, every GGUF type, a cut and a broken file."""
    folder = tmp_path_factory.mktemp("tui")
    qformat.convert(SAMPLE, folder / "asym4.safetensors", "asym4")
    qformat.convert(SAMPLE, folder / "q4.gguf", "q4_k_m", to="gguf")
    pairs = [
        ("general.architecture", Typed(ValueType.STRING, "llama")),
        ("tokenizer.ggml.tokens", Typed(ValueType.STRING, [f"tok{i}" for i in range(3000)], array=True)),
        ("tokenizer.ggml.scores", Typed(ValueType.FLOAT32, [0.5] * 3000, array=True)),
    ]
    write_file(folder / "vocab.gguf", lay_out(pairs, []), lambda _: b"", overwrite=True)
    every_type(folder / "types.gguf")
    (folder / "cut.gguf").write_bytes((folder / "q4.gguf").read_bytes()[:50_000])
    (folder / "attack.gguf").write_bytes(b"GGUF" + (3).to_bytes(4, "little") + b"\xff" * 64)
    return folder


# --- browser --------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(80, 24), (160, 50)])
@pytest.mark.parametrize("name", [SAMPLE, "asym4.safetensors", "q4.gguf", "vocab.gguf", "types.gguf"])
async def test_the_browser_shows_what_inspect_prints(files, tmp_path, name, size):
    path = files / name
    app = app_of(tmp_path, path)
    async with app.run_test(size=size) as pilot:
        await settled(pilot)
        printed = command("inspect", path, "--model").stdout
        table = app.screen.query_one(TensorTable)
        for row in range(min(len(table.rows), size[1] - 5)):
            shown = table.render_line(row + 1).text.split()
            assert all(cell in printed for cell in shown[-2:] if re.fullmatch(r"[\d,.]+", cell)), shown
        summary = app.screen.query_one("#facts").render().plain
        if size[0] < 110:
            await press(pilot, "i")
            summary = app.screen.query_one("#facts").render().plain
        for number in re.findall(r"[\d,.]{3,}", summary.partition("format")[2]):
            assert number in printed
        for number in re.findall(
            r"[\d,.]+ (?=tokens|MB of|kB of)", app.screen.query_one("#model-facts").render().plain
        ):
            assert number.strip() in printed


@pytest.mark.parametrize("name", ["cut.gguf", "attack.gguf", "none.gguf"])
async def test_a_bad_file_is_a_panel_not_a_crash(files, tmp_path, name):
    app = app_of(tmp_path, files / name)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        assert "This cannot be opened" in seen(app)
        assert name in seen(app)
        await press(pilot, "enter", "s", "g", "t")  # each says why it does nothing
        assert isinstance(app.screen, Browser)


async def test_the_list_sorts_filters_and_groups(files, tmp_path):
    app = app_of(tmp_path, files / "q4.gguf")
    async with app.run_test(size=(120, 40)) as pilot:
        await settled(pilot)
        table = app.screen.query_one(TensorTable)
        whole = list(table.rows)
        await press(pilot, "s", "s")
        sizes = [table.infos[r].nbytes for r in table.rows]
        assert sizes == sorted(sizes, reverse=True)
        await press(pilot, "r")
        assert [table.infos[r].nbytes for r in table.rows] == sizes[::-1]
        await press(pilot, "slash")
        await write(pilot, "2 ffnup")
        assert table.rows == ["blk.2.ffn_up.weight"]
        await press(pilot, "escape")
        assert len(table.rows) == len(whole)
        await press(pilot, "g")
        assert "blk.#.ffn_up.weight" in seen(app)
        assert len(table.rows) == 12
        await press(pilot, "end", "up", "up", "enter")
        assert len(table.rows) == 4
        await press(pilot, "escape")
        assert len(table.rows) == 12


@pytest.mark.parametrize("width", [80, 100, 110, 115, 121, 160])
async def test_columns_are_shown_where_there_is_room(files, tmp_path, width):
    app = app_of(tmp_path, files / "asym4.safetensors")
    async with app.run_test(size=(width, 40)) as pilot:
        await settled(pilot)
        table = app.screen.query_one(TensorTable)
        assert "rel. RMSE" in table.render_line(0).text
        assert all(
            row.split()[0].endswith("weight") for row in (table.render_line(y).text for y in (1, 2, 3))
        )
        sorts = set()
        for _ in range(6):
            await press(pilot, "s")
            sorts.add(table.sort)
            assert ("▼" in table.render_line(0).text) == (table.sort != "file")
        assert {"elements", "error"} <= sorts


async def test_a_status_that_is_too_long_ends_in_an_ellipsis(files, tmp_path):
    app = app_of(tmp_path, files / "asym4.safetensors")
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        await press(pilot, "slash")
        await write(pilot, "x" * 80)
        assert part(app, "#status").endswith("…")


async def test_a_column_is_sorted_by_a_click_on_its_head(files, tmp_path):
    app = app_of(tmp_path, files / "asym4.safetensors")
    async with app.run_test(size=(160, 40)) as pilot:
        await settled(pilot)
        table = app.screen.query_one(TensorTable)
        head = table.render_line(0).text
        await pilot.click(TensorTable, offset=(head.index("bytes") + 2, 0))
        await settled(pilot)
        sizes = [table.infos[r].nbytes for r in table.rows]
        assert sizes == sorted(sizes, reverse=True)
        await pilot.click(TensorTable, offset=(5, 3), times=2)
        await settled(pilot)
        assert isinstance(app.screen, TensorScreen)


async def test_only_rows_on_screen_are_described(files, tmp_path):
    described = []

    class Spy(dict):
        def __getitem__(self, name):
            described.append(name)
            return super().__getitem__(name)

    class Fake:
        format, path, metadata, attachments, digests = "gguf", Path("x.gguf"), {}, {}, {}

        def __init__(self, tensors):
            self.tensors, self.files = tensors, ()

    app = app_of(tmp_path, files / "x.gguf", opener=lambda _path: Fake(Spy()))
    source = qformat.open(files / "q4.gguf").tensors["output.weight"]
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        table = app.screen.query_one(TensorTable)
        names = [f"t.{i}" for i in range(100_000)]
        table.infos = Spy.fromkeys(names, source)
        table.redraw()
        described.clear()
        table.show(names)
        await settled(pilot)
        await press(pilot, "end", "pageup", "home")
        assert len(set(described)) < 100


async def test_metadata_opens_long_lists_a_stretch_at_a_time(files, tmp_path):
    app = app_of(tmp_path, files / "vocab.gguf")
    async with app.run_test(size=(160, 50)) as pilot:
        await settled(pilot)
        tree = app.screen.query_one("#metadata")
        tree.focus()
        tokens = next(n for n in tree.root.children[1].children if "tokens" in n.label.plain)
        assert not tokens.children
        tokens.expand()
        await settled(pilot)
        assert len(tokens.children) == 201
        assert "2,800 more" in tokens.children[-1].label.plain
        await press(pilot, "t")
        await write(pilot, "tok299")
        assert "11 of 3,000 tokens" in seen(app)


# --- one tensor, one block ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "tensor"), [("asym4.safetensors", DOWN), ("q4.gguf", "blk.0.ffn_down.weight")]
)
async def test_a_tensor_and_its_block_have_the_command_lines_numbers(files, tmp_path, name, tensor):
    path = files / name
    app = app_of(tmp_path, path, original=SAMPLE)
    async with app.run_test(size=(160, 50)) as pilot:
        await settled(pilot)
        await press(pilot, "slash")
        await write(pilot, tensor)
        await press(pilot, "enter", "enter")
        printed = command("inspect", path, "-t", tensor).stdout
        for widget in ("#tensor-facts", "#tensor-statistics"):
            for number in re.findall(r"\d[\d,.]*\d|\d", app.screen.query_one(widget).render().plain):
                assert number in printed or number in tensor, number
        charts = [h.chart.title for h in app.screen.query(Histogram)]
        assert len(charts) >= 3
        assert all(re.search(r"\d+ of \d+ levels|from|within", title) for title in charts)
        for title in charts[1:]:
            assert title.partition(": ")[2] in printed
        await press(pilot, "m")
        heat = app.screen.query_one(HeatMap)
        assert heat.number is not None
        await press(pilot, "e", "e", "down", "right")
        assert app.screen.kind == "error"
        assert 0 < heat.number < 0.2
        await press(pilot, "x")
        grid = app.screen.query_one(ValueGrid)
        value = json.loads(command("inspect", path, "-t", tensor, "-b", "0", "--json").stdout)["block"]
        assert grid.number == pytest.approx(value["values"][0], rel=1e-6)
        await press(pilot, "enter")
        assert isinstance(app.screen, BlockScreen)
        assert list(app.screen.view.values) == value["values"]
        assert "original" in app.screen.query_one(Elements).render_line(0).text
        shown = app.screen.query_one(Elements).render_line(1).text.split()
        assert f"{value['values'][0]:.7g}" in shown
        await press(pilot, "right", "down", "up")
        assert app.screen.index == 1
        await press(pilot, "left", "left")  # the second one says that the tensor ends here
        assert app.screen.index == 0


async def test_blocks_of_every_type_show_every_byte(files, tmp_path):
    app = app_of(tmp_path, files / "types.gguf")
    async with app.run_test(size=(160, 50)) as pilot:
        await settled(pilot)
        checkpoint = app.screen.checkpoint
        for info in [t for t in checkpoint.tensors.values() if t.scheme is not None]:
            await app.push_screen(BlockScreen(checkpoint, info, 1))
            await settled(pilot)
            view = app.screen.view
            assert view is not None, info.name
            source = app.screen.query_one(BytesView)
            text = "".join(source.render_line(y).text[6:] for y in range(1, source.size.height))
            assert view.stored[0].data.hex() in text.replace(" ", "")
            await press(pilot, "full_stop")
            named = {view.fields[s.field].name for s in source.spans_under_cursor()}
            assert named
            await press(pilot, "escape")


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_every_element_and_field_of_a_large_block_is_reached_by_key(files, tmp_path, size):
    app = app_of(tmp_path, files / "types.gguf")
    async with app.run_test(size=size) as pilot:
        await settled(pilot)
        checkpoint = qformat.open(files / "types.gguf")
        info = next(t for t in checkpoint.tensors.values() if t.scheme and t.scheme.spec() == "q2_k")
        app.push_screen(BlockScreen(checkpoint, info, 0))
        await settled(pilot)
        page = app.screen

        def columns() -> set[int]:
            elements = page.query_one(Elements)
            lines = [elements.render_line(y).text.split() for y in range(1, elements.size.height)]
            return {int(cells[0]) for cells in lines if cells}

        met = columns()
        for _ in range(256 // len(met) + 1):
            await press(pilot, "pagedown")
            met |= columns()
        assert met == set(range(256)) == set(range(len(page.view.values)))
        await press(pilot, "home")
        assert 0 in columns()
        await press(pilot, "end")
        assert 255 in columns()
        await press(pilot, "pageup")
        assert 255 not in columns()
        shown = ""
        for _ in range(8):
            shown += part(app, "#block-facts")
            await press(pilot, "right_square_bracket")
        assert all(f"■ {field.name} " in shown for field in page.view.fields)
        assert "How it decodes" in shown
        for _ in range(8):
            await press(pilot, "left_square_bracket")
        assert f"■ {page.view.fields[0].name}" in part(app, "#block-facts")


async def test_a_block_that_cannot_be_decoded_says_so_at_every_key(files, tmp_path, monkeypatch):
    def broken(*_):
        raise QFormatError("the block is broken")

    app = app_of(tmp_path, files / "asym4.safetensors")
    async with app.run_test(size=(100, 30), notifications=True) as pilot:
        await settled(pilot)
        checkpoint = qformat.open(files / "asym4.safetensors")
        app.push_screen(BlockScreen(checkpoint, checkpoint.tensors[DOWN], 0))
        await settled(pilot)
        assert app.screen.why_not("later") is None
        monkeypatch.setattr("qformat.tui.screens.block.block_view", broken)
        await press(pilot, "right", "full_stop")
        assert "the block is broken" in seen(app)
        assert "this block cannot be decoded" in seen(app)
        assert "is being read" not in seen(app)
        assert app.screen.why_not("left") is None


async def test_a_scheme_of_a_third_party_is_shown_from_the_layout_alone(tmp_path):
    from qformat.convert.recipe import Rule

    source = save_bf16({"w": weights(1, (8, 172))}, tmp_path / "w.safetensors")
    target = tmp_path / "odd.safetensors"
    qformat.convert(source, target, rules=[Rule("*", "asym4:zero=min")])
    raw = target.read_bytes().replace(b'\\"id\\":\\"asym4\\"', b'\\"id\\":\\"weird\\"')
    target.write_bytes(raw)
    app = app_of(tmp_path, target)
    async with app.run_test(size=(120, 40)) as pilot:
        await settled(pilot)
        await press(pilot, "enter", "enter")
        assert "weird" in seen(app)
        assert "mins" in seen(app)
        assert "codes[0]" in seen(app)


# --- manners --------------------------------------------------------------------------------


async def test_strings_from_a_file_are_text_everywhere(tmp_path):
    name = "w\x1b[31m[red]x[/red][@click=app.quit]y\u202e"
    source = save_bf16(
        {name: weights(1, (8, 64))}, tmp_path / "[b]a.safetensors", {"[red]k\x1b[2J": "[bold]v\x9b"}
    )
    app = app_of(tmp_path, source)
    async with app.run_test(size=(160, 40)) as pilot:
        await settled(pilot)
        texts = [seen(app)]
        app.screen.query_one("#metadata").focus()
        await press(pilot, "home", "enter")
        assert isinstance(app.screen, Reader)
        texts.append(seen(app))
        await press(pilot, "escape")
        app.screen.query_one(TensorTable).focus()
        await press(pilot, "enter")
        texts += [seen(app)]
        await press(pilot, "o")
        texts += [seen(app)]
        assert "[red]x[/red][@click=app.quit]" in texts[0]
        for text in texts:
            assert not set(text) & {"\x1b", "\x9b", "\u202e"}


async def test_help_and_palette_come_from_the_registry(files, tmp_path):
    app = app_of(tmp_path, files / "vocab.gguf")
    async with app.run_test(size=(120, 60)) as pilot:
        await settled(pilot)
        commands = [c.title for c in app.get_system_commands(app.screen)]
        assert {f"Browser: {a.title}" for a in of_scope("browser")} <= set(commands)
        await press(pilot, "question_mark")
        assert isinstance(app.screen, Help)
        for action in of_scope("browser"):
            assert action.title in seen(app)
        assert "not now" in seen(app)  # a vocabulary alone has no tensor to look into
        await press(pilot, "escape", "colon")
        assert "Search" in seen(app)
        await press(pilot, "escape")


def test_actions_have_methods_and_keys_that_do_not_clash():
    from qformat.tui.app import QFormatApp

    pages = {p.scope: p for p in _pages()}
    taken = {}
    for action in ACTIONS:
        owner = QFormatApp if action.scope == "app" else pages[action.scope]
        assert hasattr(owner, f"do_{action.verb}"), action.id
        for key in action.keys.split(","):
            assert taken.setdefault((action.scope, key), action.id) == action.id
    assert set(KEY_NAMES) >= {"slash", "escape"}


def _pages():
    import importlib
    import pkgutil

    from qformat.tui import screens
    from qformat.tui.page import Page

    for module in pkgutil.iter_modules(screens.__path__):
        importlib.import_module(f"qformat.tui.screens.{module.name}")
    return Page.__subclasses__()


async def test_keys_and_theme_follow_the_settings(files, tmp_path):
    (tmp_path / "tui.toml").write_text('theme = "mono"\n[keys]\n"browser.group" = "z"\n')
    app = app_of(tmp_path, files / "q4.gguf", settings=Settings.read(tmp_path / "tui.toml"))
    async with app.run_test(size=(160, 40)) as pilot:
        await settled(pilot)
        assert app.theme == "mono"
        assert "z Group" in seen(app).splitlines()[-1]
        await press(pilot, "z")
        assert len(app.screen.query_one(TensorTable).rows) == 12
        await press(pilot, "f2")
        assert app.theme != "mono"
    (tmp_path / "tui.toml").write_text("theme = 3")
    assert "tui.toml" in Settings.read(tmp_path / "tui.toml").fault


async def test_the_footer_leaves_out_keys_that_a_field_takes_as_text(files, tmp_path):
    app = app_of(tmp_path, files / "q4.gguf")
    async with app.run_test(size=(160, 40)) as pilot:
        await settled(pilot)
        assert " o Open " in seen(app).splitlines()[-1]
        await press(pilot, "e")
        last = seen(app).splitlines()[-1]
        assert " Open " not in last
        assert "^q Quit" in last
        assert "f1 Help" in last


async def test_the_footer_has_room_for_what_a_screen_is_for(files, tmp_path):
    app = app_of(tmp_path, files / "q4.gguf")
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        await press(pilot, "e")
        assert app.screen.why_not("run")
        assert "^r Measure" in seen(app).splitlines()[-1]


async def test_a_measurement_that_fails_shows_no_empty_plot(files, tmp_path):
    app = app_of(tmp_path, files / "q4.gguf")
    async with app.run_test(size=(100, 30), notifications=True) as pilot:
        await settled(pilot)
        await press(pilot, "e")
        await write(pilot, "nothing")
        await press(pilot, "ctrl+r")
        assert "there is no file nothing" in seen(app)
        bad = tmp_path / "bad.txt"
        bad.write_bytes(b"\xff")
        app.screen.query_one("#text", Input).value = str(bad)
        await press(pilot, "ctrl+r")
        assert "is not UTF-8" in part(app, "#evaluate-state")
        assert "ctrl+r measures" in seen(app)


@pytest.mark.parametrize("count", ["0", "-1", "-"])
async def test_windows_are_one_at_least(files, tmp_path, count):
    text = tmp_path / "text.txt"
    text.write_text("Once there was a village.")
    app = app_of(tmp_path, files / "q4.gguf")
    async with app.run_test(size=(100, 30), notifications=True) as pilot:
        await settled(pilot)
        await press(pilot, "e")
        app.screen.query_one("#text", Input).value = str(text)
        app.screen.query_one("#windows", Input).value = count
        await press(pilot, "ctrl+r")
        assert "a number from 1 on" in seen(app)
        assert not app.screen.has_class("-running")


async def test_a_defect_in_a_worker_ends_its_work(files, tmp_path, monkeypatch):
    text = tmp_path / "text.txt"
    text.write_text("Once there was a village.")
    monkeypatch.setattr("qformat.evaluate.verbs.evaluate", lambda *_, **__: 1 // 0)
    app = app_of(tmp_path, files / "q4.gguf")
    async with app.run_test(size=(100, 30)) as pilot:
        await settled(pilot)
        await press(pilot, "e")
        page = app.screen
        page.query_one("#text", Input).value = str(text)
        await press(pilot, "ctrl+r")
        assert not page.is_busy("measure")
        assert not page.has_class("-running")
        assert "ZeroDivisionError" in part(app, "#evaluate-state")
        assert "ctrl+r measures" in seen(app)


async def test_old_figures_are_gone_when_a_measurement_begins(files, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text((SAMPLE.parent / "heldout.txt").read_text()[:3000])
    app = app_of(tmp_path, files / "asym4.safetensors")
    async with app.run_test(size=(100, 50)) as pilot:
        await settled(pilot)
        await press(pilot, "e")
        page = app.screen
        page.query_one("#text", Input).value = str(text)
        await press(pilot, "ctrl+r")
        await settled(pilot)
        assert page.result is not None
        assert "perplexity" in part(app, "#evaluate-facts")
        text.write_bytes(b"\xff")
        await press(pilot, "ctrl+r")
        assert "is not UTF-8" in part(app, "#evaluate-state")
        assert "perplexity" not in seen(app)


@pytest.mark.parametrize("key", ["o", "question_mark", "semicolon", "colon", "e"])
async def test_ctrl_q_leaves_the_program_from_everywhere(files, tmp_path, key):
    app = app_of(tmp_path, files / "q4.gguf")
    async with app.run_test(size=(100, 30)) as pilot:
        await settled(pilot)
        await press(pilot, key)
        assert not isinstance(app.screen, Browser)
        await pilot.press("ctrl+q")
        assert app._exit


async def test_pop_ups_change_the_theme(files, tmp_path):
    app = app_of(tmp_path, files / "q4.gguf")
    async with app.run_test(size=(100, 30)) as pilot:
        await settled(pilot)
        app.push_screen(Reader("a title", "a text"))
        await settled(pilot)
        before = app.theme
        await press(pilot, "f2")
        assert app.theme != before
        assert isinstance(app.screen, Reader)


async def test_jump_goes_to_a_part(files, tmp_path):
    app = app_of(tmp_path, files / "q4.gguf")
    async with app.run_test(size=(160, 40)) as pilot:
        await settled(pilot)
        await press(pilot, "semicolon", "s")
        assert app.focused is app.screen.query_one("#metadata")


async def test_the_picker_marks_models_and_remembers(tmp_path, monkeypatch):
    tiny_model(tmp_path / "a model")
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    app = app_of(tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        assert isinstance(app.screen, Picker)
        assert "◆ model  a model/" in seen(app)
        assert "▸ folder other/" in seen(app)
        await press(pilot, "enter")
        assert isinstance(app.screen, Browser)
        assert "lm_head.weight" in seen(app)
        assert app.recent.paths() == [tmp_path / "a model"]
        await press(pilot, "o")
        assert "↺ recent" in seen(app)
        await press(pilot, "escape")
        assert isinstance(app.screen, Browser)


async def test_work_ends_with_the_screen(files, tmp_path):
    app = app_of(tmp_path, files / "asym4.safetensors")
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        await pilot.press("enter")
        await pilot.pause()
        page = app.screen
        await pilot.press("escape")
        await settled(pilot)
        assert all(job.stopped for job in page._jobs.values())


async def test_what_is_not_finite_is_shown(tmp_path):
    data = np.array([[np.nan, np.inf, -np.inf, 1.0]] * 8, np.float32)
    app = app_of(tmp_path, save_bf16({"w": data}, tmp_path / "w.safetensors"))
    async with app.run_test(size=(100, 30)) as pilot:
        await settled(pilot)
        await press(pilot, "enter", "m", "x")
        assert "nan" in seen(app)
        assert "inf" in seen(app)


def test_the_browser_imports_no_jax_and_help_no_textual(files):
    code = (
        "import sys, asyncio; from pathlib import Path; from qformat.tui.app import QFormatApp\n"
        "async def main():\n"
        f"    app = QFormatApp([Path({str(files / 'q4.gguf')!r})])\n"
        "    async with app.run_test() as pilot:\n"
        "        for _ in range(4): await pilot.pause(); await app.workers.wait_for_complete()\n"
        "asyncio.run(main()); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    names = {n.split(".")[0] for n in done.stdout.split()}
    assert "textual" in names
    assert not names & {"jax", "qformat_plugins", "textual_plot", "plotext"}


def test_the_tui_needs_a_terminal(files):
    done = command("tui", files / "q4.gguf", check=False)
    assert done.returncode == 2
    assert "needs a terminal" in done.stderr


# --- converting and measuring ---------------------------------------------------------------


async def test_a_plan_follows_what_is_typed_and_a_run_writes_it(files, tmp_path):
    target = tmp_path / "t.safetensors"
    app = app_of(tmp_path, SAMPLE)
    async with app.run_test(size=(160, 50)) as pilot:
        await settled(pilot)
        await press(pilot, "v")
        page = app.screen
        page.query_one("#target").value = str(target)
        page.query_one("#scheme").value = "sym4"
        page.query_one("#rules").text = "*down_proj*=sym8"
        await settled(pilot)
        dry = ("convert", SAMPLE, target, "-s", "sym4", "--set", "*down_proj*=sym8", "--dry-run", "--json")
        wanted = json.loads(command(*dry).stdout)
        assert f"{wanted['bytes']:,} bytes" in seen(app)
        page.query_one("#scheme").value = "sym9"
        await settled(pilot)
        assert "there is no scheme" in seen(app)
        await press(pilot, "ctrl+r")  # says why not
        assert not target.exists()
        page.query_one("#scheme").value = "sym4"
        await settled(pilot)
        await press(pilot, "ctrl+r")
        assert target.stat().st_size == wanted["bytes"]
        assert "written in" in seen(app)


async def test_the_format_follows_the_targets_ending_until_one_is_chosen(files, tmp_path):
    app = app_of(tmp_path, SAMPLE)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        await press(pilot, "v")
        page = app.screen
        assert "target: container" in seen(app)
        page.query_one("#target").value = str(tmp_path / "t.gguf")
        page.query_one("#scheme").value = "q8_0"
        await settled(pilot)
        assert "target: GGUF" in seen(app)
        assert "GGUF, " in part(app, "#outcome")
        await press(pilot, "ctrl+r")
        assert qformat.open(tmp_path / "t.gguf").format == "gguf"
        await press(pilot, "ctrl+t")
        assert "target: safetensors" in seen(app)
        page.query_one("#target").value = str(tmp_path / "u.gguf")
        await settled(pilot)
        assert "target: safetensors" in seen(app)


async def test_a_plan_says_whether_there_is_a_place_for_it(files, tmp_path):
    app = app_of(tmp_path, SAMPLE)
    async with app.run_test(size=(160, 50)) as pilot:
        await settled(pilot)
        await press(pilot, "v")
        page = app.screen
        there = tmp_path / "there.safetensors"
        there.write_bytes(b"")
        for target, said in (
            ("", "there is no target"),
            (str(there), "it exists already"),
            (str(tmp_path / "no" / "t.safetensors"), "its folder does not exist"),
            ("~nobody-of-this-name/t.safetensors", "its folder does not exist"),
            (f"{tmp_path}/{'x' * 300}/t.safetensors", "its folder does not exist"),
        ):
            page.query_one("#target").value = target
            await settled(pilot)
            assert said in part(app, "#outcome")
            assert page.why_not("run")
            assert "--overwrite" not in seen(app)
        page.query_one("#target").value = str(tmp_path / "t.safetensors")
        await settled(pilot)
        assert page.why_not("run") is None
        (tmp_path / "t.safetensors").write_bytes(b"made meanwhile")
        await press(pilot, "ctrl+r")
        assert "it exists already" in part(app, "#outcome")
        assert "--overwrite" not in seen(app)
        assert (tmp_path / "t.safetensors").read_bytes() == b"made meanwhile"


async def test_a_cancelled_run_leaves_nothing(files, tmp_path, monkeypatch):
    from qformat.tui.workers import Job

    target = tmp_path / "out" / "t.safetensors"
    target.parent.mkdir()
    app = app_of(tmp_path, SAMPLE)
    async with app.run_test(size=(100, 30)) as pilot:
        await settled(pilot)
        await press(pilot, "v")
        page = app.screen
        page.query_one("#target").value = str(target)
        await settled(pilot)

        def progress(job, done, at=""):
            job.stop()  # as Escape does, while the first piece is being written
            job.check()

        monkeypatch.setattr(Job, "progress", progress)
        await press(pilot, "ctrl+r")
        assert list(target.parent.iterdir()) == []
        assert not page.written
