"""Each number on a screen is what the command line prints of the same file: read off the screen, held to its JSON."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from conftest import qformat as command
from screens import app_of, part, press, seen, settled
from textual.pilot import Pilot
from textual.widget import Widget

import qformat
from qformat.tui.app import QFormatApp
from qformat.tui.screens.block import BlockScreen
from qformat.tui.screens.compare import Compare
from qformat.tui.screens.tensor import TensorScreen
from qformat.tui.widgets.elements import Elements
from qformat.tui.widgets.grid import HeatMap, ValueGrid
from qformat.tui.widgets.histogram import Histogram
from qformat.tui.widgets.lines import Lines
from qformat.tui.widgets.sizes import Sizes
from qformat.tui.widgets.table import Table
from qformat.tui.widgets.tensor_table import TensorTable

SAMPLE = Path(__file__).parents[1] / "samples" / "village"
LOW, HIGH = (80, 24), (200, 90)
TENSORS = {
    "asym4.safetensors": "model.layers.1.mlp.down_proj.weight",
    "q4_k_m.gguf": "blk.1.ffn_down.weight",
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("numbers")
    qformat.convert(SAMPLE, folder / "asym4.safetensors", "asym4")
    qformat.convert(SAMPLE, folder / "q4_k_m.gguf", "q4_k_m", to="gguf")
    return folder


def printed(*args: object) -> dict:
    return json.loads(command(*args, "--json").stdout)


def lines(widget: Widget, count: int) -> list[str]:
    """Lines of a widget that draws them one by one, also those that are not on screen."""
    return [widget.render_line(y).text for y in range(count)]


def numbers(text: str) -> list[float]:
    """The numbers of a line, without the digits of a name."""
    found = re.findall(r"(?<![\w.-])[+-]?\d[\d,]*\.?\d*(?:e[+-]?\d+)?(?![\w-])", text)
    return [float(n.replace(",", "")) for n in found]


@pytest.mark.parametrize("name", [*TENSORS, SAMPLE])
async def test_browser(files, tmp_path, name):
    wanted = printed("inspect", files / name, "--model")
    app = app_of(tmp_path, files / name)
    async with app.run_test(size=HIGH) as pilot:
        await settled(pilot)
        table = app.screen.query_one(TensorTable)
        assert len(table.rows) == len(wanted["tensors"])
        for shown, tensor in zip(lines(table, len(table.rows) + 1)[1:], wanted["tensors"], strict=True):
            assert tensor["name"] in shown
            error = ((tensor["note"] or {}).get("error") or {}).get("rmse")  # as text, as the file has it
            tail = numbers(shown.partition(tensor["name"])[2])
            assert tensor["bytes"] in tail
            bpw = tensor["bits_per_weight"]
            assert tail[-1 if error is None else -2] == pytest.approx(bpw, abs=6e-4)
            assert error is None or tail[-1] == pytest.approx(float(error), abs=6e-5)
        facts = f"{part(app, '#facts')} {part(app, '#model-facts')}"
        told = [sum(f["bytes"] for f in wanted["files"]), wanted["parameters"], len(wanted["tensors"])]
        told += [wanted["model"][key] for key in ("layers", "width", "vocabulary", "context")]
        assert set(told) <= set(numbers(facts))
        assert any(n == pytest.approx(wanted["bits_per_weight"], abs=6e-4) for n in numbers(facts))
        legend = part(app, "#legend")
        for group in wanted["schemes"]:
            assert group["scheme"] in legend
            assert f"{group['tensors']:,} tensors, {group['bytes']:,} bytes" in legend


async def opened(pilot: Pilot, app: QFormatApp, name: str) -> None:
    await settled(pilot)
    checkpoint = app.screen.checkpoint
    await app.push_screen(TensorScreen(checkpoint, [name], name))
    await settled(pilot)


@pytest.mark.parametrize("name", TENSORS)
async def test_tensor(files, tmp_path, name):
    tensor = TENSORS[name]
    wanted = printed("inspect", files / name, "-t", tensor)
    block = printed("inspect", files / name, "-t", tensor, "-b", 0)["block"]
    app = app_of(tmp_path, files / name)
    async with app.run_test(size=HIGH) as pilot:
        await opened(pilot, app, tensor)
        told, shown = wanted["statistics"], part(app, "#tensor-statistics")
        for text in (
            f"values {told['count']:,} ",
            f"range {told['min']:.6g} to {told['max']:.6g} ",
            f"mean {told['mean']:.4g} ",
            f"standard deviation {told['std']:.4g} ",
            f"zeros {told['zeros']:,} ",
            f"within ±0.5 {told['within_half'] / told['count']:.4%} ",
        ):
            assert text in shown
        assert shown.endswith(f"{told['outliers']:,}")
        facts = part(app, "#tensor-facts")
        assert f"{wanted['tensor']['bytes']:,}" in facts
        assert f"{wanted['tensor']['bits_per_weight']:.3f}" in facts
        charts = [h.chart for h in app.screen.query(Histogram)]
        assert list(charts[0].counts) == told["histogram"]
        for chart, use in zip(charts[1:], wanted["usage"], strict=False):
            assert chart.title.startswith(f"{use['name']}: ")
            assert list(chart.counts) == use.get("counts", use.get("histogram"))
            if "levels" in use:
                assert f"{use['used']} of {use['levels']} levels" in chart.title
        await press(pilot, "m", "x")
        grid = app.screen.query_one(ValueGrid)
        label, *row = numbers(grid.render_line(1).text)
        assert label == 0
        assert row == pytest.approx(block["values"][: len(row)], rel=1e-4)
        assert f"{block['values'][0]:.7g}" in part(app, "#values-state")
        await press(pilot, "m")
        shown = part(app, "#map-state")
        assert shown.startswith(f"{app.screen.kind} {app.screen.query_one(HeatMap).number:.7g}")
        if name.endswith("safetensors"):
            (scale,) = next(f["items"] for f in block["fields"] if f["name"] == "scales")
            assert shown.startswith(f"scale {scale:.7g} ")


@pytest.mark.parametrize("size", [LOW, HIGH])
@pytest.mark.parametrize("name", TENSORS)
async def test_block(files, tmp_path, name, size):
    tensor = TENSORS[name]
    wanted = printed("inspect", files / name, "-t", tensor, "-b", 5)["block"]
    app = app_of(tmp_path, files / name)
    async with app.run_test(size=size) as pilot:
        await settled(pilot)
        checkpoint = app.screen.checkpoint
        await app.push_screen(BlockScreen(checkpoint, checkpoint.tensors[tensor], 5))
        await settled(pilot)
        last = wanted["first_column"] + len(wanted["values"]) - 1
        assert f"row {wanted['row']:,}, columns {wanted['first_column']:,} to {last:,}" in seen(app)
        wide = [f for f in wanted["fields"] if len(f["items"]) == len(wanted["values"])]
        elements = app.screen.query_one(Elements)
        shown = lines(elements, len(wanted["values"]) + 1)[1:]
        for i, (text, value) in enumerate(zip(shown, wanted["values"], strict=True)):
            cells = text.split()
            assert cells[0] == f"{wanted['first_column'] + i:,}"
            assert cells[-1] == f"{value:.7g}"
            assert all(str(f["items"][i]) in cells for f in wide)
        view = app.screen.query_one("#bytes")
        for stored in wanted["stored"]:
            text = "".join(re.sub(r"^.{6}", "", t) for t in lines(view, len(view._lines)) if "·" not in t)
            assert stored["bytes"] in re.sub(r"[^0-9a-f]", "", text)
        for field in (f for f in wanted["fields"] if len(f["items"]) == 1):
            item = field["items"][0]
            assert f"= {item:g}" in app.screen.query_one("#fields").render().plain


@pytest.mark.parametrize("size", [LOW, HIGH])
async def test_compare(files, tmp_path, size):
    wanted = printed("diff", SAMPLE, files / "q4_k_m.gguf")
    app = app_of(tmp_path, files / "q4_k_m.gguf")
    async with app.run_test(size=size) as pilot:
        await settled(pilot)
        await app.push_screen(Compare(app.screen.checkpoint, SAMPLE))
        await settled(pilot)
        rows = app.screen.query_one(Lines)
        shown = [lines(rows, 1)[0]]
        for _ in wanted["tensors"][1:]:
            await pilot.press("down")
            top, at = round(rows.scroll_offset.y), rows.cursor
            shown.append(rows.render_line(at - top).text)
        for text, tensor in zip(shown, wanted["tensors"], strict=True):
            error = tensor["error"]
            if size == HIGH:
                assert tensor["name"] in text
            cells = text.split()
            assert tensor["right"] in cells
            assert f"{error['relative_rmse']:.4f}" in cells
            assert error["snr_db"] is None or f"{error['snr_db']:.2f}" in cells
            if size == HIGH:
                assert f"{error['max_error']:.4g}" in cells
                assert f"{error['cosine']:.6f}" in cells
        assert f"relative RMSE {wanted['error']['relative_rmse']:.4f}" in seen(app)
        differing = sum(not t["same_values"] for t in wanted["tensors"])
        assert f"{differing:,} different" in seen(app)


async def test_lab(files, tmp_path):
    name = "asym4.safetensors"
    of_block = (files / name, "-t", TENSORS[name], "-b", 3)
    mapped = printed("lab", "block", *of_block)
    sizes = printed("lab", "sizes", files / name, "-t", TENSORS[name])["sizes"]
    largest = max(mapped["values"], key=abs)
    bits = {n["format"]: n for n in printed("lab", "bits", f"{largest!r}")["numbers"]}
    app = app_of(tmp_path, files / name)
    async with app.run_test(size=HIGH) as pilot:
        await opened(pilot, app, TENSORS[name])
        await press(pilot, "l", "n", "n", "n")
        shown = part(app, "#formats")
        for number in bits.values():
            assert number["format"] in shown.lower()
            assert any(n == pytest.approx(number["value"], rel=1e-5) for n in numbers(shown))
        assert (
            "".join(re.findall(r"[01]", app.screen.query_one("#bits").render_line(2).text))
            == (bits["bf16"]["bits"])
        )
        await press(pilot, "m")
        for scheme in mapped["schemes"]:
            error = scheme["error"]
            assert f"rel. RMSE {error['relative_rmse']:.4f}" in seen(app)
            assert f"max {error['max_error']:.4g}" in seen(app)
            assert f"RMSE {error['rmse']:.4g}  {scheme['bits_per_weight']:.3f} bpw" in seen(app)
        await press(pilot, "up")  # the largest value is dragged
        at, value = app.screen.at, float(app.screen.values[app.screen.at])
        changed = printed("lab", "block", *of_block, "--set", f"{at}={value!r}")["schemes"]
        assert all(f"rel. RMSE {s['error']['relative_rmse']:.4f}" in seen(app) for s in changed)
        await press(pilot, "z")
        shown = app.screen.query_one(Sizes).query_one("#size-table").render().plain.splitlines()[1:]
        for text, size in zip(shown, sizes, strict=True):
            assert numbers(text)[0] == size["block"]
            assert f"{size['bits_per_weight']:.3f}" in text
            assert f"{size['error']['relative_rmse']:.4f}" in text


@pytest.mark.parametrize("to", ["qformat", "gguf"])
async def test_convert(tmp_path, to):
    spec = {"qformat": "sym4", "gguf": "q8_0"}[to]
    target = tmp_path / ("t.gguf" if to == "gguf" else "t.safetensors")
    args = ("convert", SAMPLE, target, "-s", spec, "--set", "*down*=keep", "--to", to, "--dry-run")
    wanted = printed(*args)
    app = app_of(tmp_path, SAMPLE)
    async with app.run_test(size=HIGH) as pilot:
        await settled(pilot)
        await press(pilot, "v", *(["ctrl+t"] if to == "gguf" else []))
        page = app.screen
        page.query_one("#target").value = str(target)
        page.query_one("#scheme").value = spec
        page.query_one("#rules").text = "*down*=keep"
        await settled(pilot)
        rows = page.query_one(Table)
        for text, tensor in zip(lines(rows, len(wanted["tensors"]) + 1)[1:], wanted["tensors"], strict=True):
            cells = text.split()
            assert cells[0] == tensor["name"]
            assert tensor["scheme"] in cells
            assert f"{tensor['bytes']:,}" in cells
            assert float(cells[-1]) == pytest.approx(tensor["bits_per_weight"], abs=6e-4)
        shown = part(app, "#outcome")
        assert f"{wanted['bytes']:,} bytes" in shown
        assert f"{wanted['source_bytes'] / wanted['bytes']:.2f}× smaller" in shown
        bpw = float(re.search(r"([\d.]+) bits per weight", shown)[1])
        assert bpw == pytest.approx(wanted["bits_per_weight"], abs=6e-4)


async def test_evaluate(files, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text((SAMPLE.parent / "heldout.txt").read_text()[:3000])
    model = files / "asym4.safetensors"
    wanted = printed("eval", model, "--against", SAMPLE, "--text", text, "--by-layer")
    app = app_of(tmp_path, model, original=SAMPLE)
    async with app.run_test(size=HIGH) as pilot:
        await settled(pilot)
        await press(pilot, "e")
        app.screen.query_one("#text").value = str(text)
        assert "by layer (ctrl+l): no" in seen(app)
        await press(pilot, "ctrl+l")
        assert "by layer (ctrl+l): yes" in seen(app)
        await press(pilot, "ctrl+r")
        await app.workers.wait_for_complete()
        await settled(pilot)
        page = app.screen
        measured = page.result.to_json()
        for found in (measured, wanted):
            found.pop("seconds")
        assert measured == wanted
        shown = part(app, "#evaluate-facts")
        for value in (
            wanted["model"]["perplexity"]["value"],
            wanted["original"]["perplexity"]["value"],
            wanted["divergence"]["kl"]["mean"]["value"],
            wanted["divergence"]["js"]["mean"]["value"],
        ):
            assert any(n == pytest.approx(value, rel=5e-3) for n in numbers(shown)), value
        assert page.points[-1][1] == wanted["divergence"]["kl"]["mean"]["value"]
        await press(pilot, "ctrl+t")
        layers = page.query_one("#layer-bars").render().plain.splitlines()
        for line, told in zip(layers, wanted["by_layer"]["parts"], strict=True):
            assert line.startswith(str(told["part"]))
            value = told["kl"]["value"]
            assert numbers(line.removeprefix(str(told["part"])))[0] == pytest.approx(value, rel=5e-2)
        for width in (80, 120, 160):
            await pilot.resize_terminal(width, 40)
            await settled(pilot)
            rows = page.query_one("#evaluate-layers").region
            shown = [row[rows.x : rows.right].strip() for row in seen(app).splitlines()[rows.y : rows.bottom]]
            parts = [str(told["part"]) for told in wanted["by_layer"]["parts"]]
            assert all(row.startswith(p) for row, p in zip(filter(None, shown), parts, strict=True))
        await press(pilot, "ctrl+t")
        assert "strongest tint" in seen(app)


async def test_tokens(files, tmp_path):
    wanted = printed("tokenize", files / "q4_k_m.gguf", "Hello, Orla.")
    app = app_of(tmp_path, files / "q4_k_m.gguf")
    async with app.run_test(size=LOW) as pilot:
        await settled(pilot)
        await press(pilot, "t")
        assert f"{wanted['vocabulary']['size']:,} tokens" in seen(app)
        for token in wanted["tokens"]:
            app.screen.query_one("#search").value = str(token["id"])
            await settled(pilot)
            shown = app.screen.query_one("#tokens").render_line(0).text.split(maxsplit=1)
            assert shown[0] == str(token["id"])
            assert shown[1].rstrip().replace("Ġ", " ").replace("▁", " ") == token["piece"]
