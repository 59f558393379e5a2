"""The preparation as a graph of plain operators, which stands in front of complete model files.

`PreparationGraph` takes the steps of `tumorscope.images.preparation`, one by one, with operators
that ONNX's set 13 has and TensorRT 8.2 reads: no data decides about shapes, so runs and boxes are
masks and numbers, and the reduced copy always has `GRID` x `GRID` cells, of which the first ones
count. `build_preparation` turns it into the ONNX model that is stored with
`tumorscope.inference.complete_file`.
"""

import tempfile
import warnings
from collections import OrderedDict
from pathlib import Path

import onnx
import torch
from onnx import helper
from torch import Tensor, nn

from tumorscope.export.onnx_file import EDGE_OPSET
from tumorscope.export.served_network import INPUT_NAME
from tumorscope.images.preparation import (
    CELL_PARTS,
    CONTRAST_PARTS,
    EDGE_SHARE,
    FLAT_SHARE,
    FLAT_STEPS,
    FRAME_STEPS,
    FRAMES,
    GAP,
    GRID,
    HEAD_SHARE,
    ISLAND_SHARE,
    LEVEL_ROUNDS,
    LEVEL_SHARE,
    NUDGE,
    RIM,
    RIM_SHARE,
    ROOT_STEPS,
    SCAN_SHARE,
    SIDE_PARTS,
    UNEVEN,
)
from tumorscope.inference.complete_file import BOX_NAME, PIXELS_NAME

_FAR = 1e6
"""Moves a number out of the way of a minimum or maximum."""

Range = tuple[Tensor, Tensor]
"""The first one, and the one after the last, of some rows or columns."""


def build_preparation() -> onnx.ModelProto:
    """Return the preparation as an ONNX model, for a network's input of any side.

    The side stands in two constants, `preparation.size` and `preparation.outputs`.
    """
    # In a module of that name, so that names in the file begin with it.
    graph = nn.Sequential(OrderedDict(preparation=PreparationGraph(160)))
    pixels = (torch.arange(96 * 80, dtype=torch.float32) % 251).reshape(1, 96, 80)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        file = Path(folder) / "preparation.onnx"
        # As in `build_onnx`: the exporter that writes operator set 13 is deprecated.
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        # Fractions that are the same for every picture.
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)  # type: ignore[attr-defined]
        torch.onnx.export(
            graph,
            (pixels,),
            file,
            input_names=[PIXELS_NAME],
            output_names=[INPUT_NAME, BOX_NAME],
            dynamic_axes={PIXELS_NAME: {1: "H", 2: "W"}},
            opset_version=EDGE_OPSET,
            do_constant_folding=False,  # Else no constant would keep its name.
            dynamo=False,
        )
        model = onnx.load(file)
    for node in model.graph.node:
        # What the exporter numbers, it would number alike in a network.
        for names in (node.input, node.output):
            names[:] = [name.replace("onnx::", "/preparation/") for name in names]
    model.ir_version = helper.find_min_ir_version_for(list(model.opset_import))
    return model


class PreparationGraph(nn.Module):
    """Pixels `[1, H, W]` come in, the network's input `[1, 1, S, S]` and the box `[1, 4]` go out.

    Args:
        size: Side of the network's input.
    """

    size: Tensor
    places: Tensor
    outputs: Tensor
    up_to: Tensor
    just_before: Tensor
    shortly_before: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        places = torch.arange(GRID, dtype=torch.float32)
        apart = places[:, None] - places
        # As buffers, each stands in a file once, by its name; as expressions, once for every use.
        for name, values in {
            "size": torch.tensor(float(size)),
            "places": places,
            "outputs": torch.arange(size, dtype=torch.float32),
            "up_to": (apart >= 0).float(),
            "just_before": (apart == 1).float(),
            "shortly_before": ((apart >= 1) & (apart <= GAP + 1)).float(),
        }.items():
            self.register_buffer(name, values)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the network's input and the box."""
        grey = pixels[0].float()
        rows = torch.arange(grey.shape[0]).float()
        columns = torch.arange(grey.shape[1]).float()
        inside = _without_frames(grey, rows, columns)
        down, across = (_Blocks(span, self.places) for span in inside)
        sums = down.matrix(rows) @ grey @ across.matrix(columns).T
        pixels_each = down.step * across.step
        cells = torch.floor((sums + torch.floor(pixels_each / 2)) / pixels_each)
        head = _HeadFinder(self, cells, down.count, across.count).ends()
        vertical, horizontal = down.in_pixels(head[0]), across.in_pixels(head[1])
        stretched = _stretch_contrast(grey, cells, _cells_in(head, self.places))
        narrow = _round(stretched @ self._interpolation(horizontal, columns).T)
        square = _round(self._interpolation(vertical, rows) @ narrow)
        return square[None, None], torch.stack((*vertical, *horizontal))[None]

    def _interpolation(self, span: Range, pixels: Tensor) -> Tensor:
        """Return `[S, pixels]`: how much of each pixel goes into each pixel of the result.

        It is Pillow's triangle filter, which widens where the picture shrinks.
        """
        begin, end = span[0] + NUDGE, span[1] - NUDGE
        # In units of `NUDGE` all ends are whole numbers, and so is all that is large here: in
        # float32 the plain formula would be off by a hundred thousandth of a pixel.
        length = (end - begin) / NUDGE
        whole = torch.floor(length / self.size)
        steps = self.outputs + 0.5
        rest = steps * (length - whole * self.size)
        carried = torch.floor(rest / self.size)
        centres = begin / NUDGE + steps * whole + carried
        nearer = (pixels[None] + 0.5) / NUDGE - centres[:, None]
        distances = nearer - ((rest - carried * self.size) / self.size)[:, None]
        scale = (length / self.size * NUDGE).clamp(min=1.0)
        touched = _mask(pixels, (torch.floor(span[0]), -torch.floor(-span[1])))
        weights = (1 - distances.abs() * NUDGE / scale).clamp(min=0.0) * touched
        return weights / weights.sum(dim=1, keepdim=True)


class _Blocks:
    """The blocks of pixels along one side, from which the reduced copy is made.

    Args:
        inside: The pixels inside all frames.
        places: 0, 1, 2 and so on, one for each block that there may be.
    """

    def __init__(self, inside: Range, places: Tensor) -> None:
        begin, end = inside
        self.inside, self.places = inside, places
        self.step = torch.floor((end - begin + (GRID - 1)) / GRID)
        self.count = torch.floor((end - begin) / self.step)
        self.first = begin + torch.floor((end - begin - self.count * self.step) / 2)

    def matrix(self, pixels: Tensor) -> Tensor:
        """Return `[GRID, pixels]`: 1 where a pixel belongs to a block."""
        block = torch.floor((pixels - self.first) / self.step)
        here = _equal(block[None], self.places[:, None])
        return here * (self.places < self.count).float()[:, None]

    def in_pixels(self, ends: Range) -> Range:
        """Turn ends in cells into pixels; where they take the outermost cells, all of them."""
        begin, end = ends
        starts, stops = (begin > 0).float(), (end < self.count).float()
        return (
            starts * (self.first + begin * self.step) + (1 - starts) * self.inside[0],
            stops * (self.first + end * self.step) + (1 - stops) * self.inside[1],
        )


class _HeadFinder:
    """Finds the head in the reduced copy.

    Args:
        graph: Has the constants.
        cells: Mean grey values, whole numbers, `[GRID, GRID]`; 0 beyond the last row and column.
        rows: How many rows count.
        columns: How many columns count.
    """

    def __init__(
        self, graph: PreparationGraph, cells: Tensor, rows: Tensor, columns: Tensor
    ) -> None:
        zero = torch.zeros(())
        self.graph, self.cells, self.places = graph, cells, graph.places
        self.rows, self.columns = (zero, rows), (zero, columns)

    def ends(self) -> tuple[Range, Range]:
        """Return the head's top and bottom, and its left and right, in cells."""
        rows, columns = self._scan()
        bright = self._bright(rows, columns)
        counts = _sums(bright, _mask(self.places, columns))
        inside = self._beside_frames(counts, rows, columns[1] - columns[0])
        most = (counts * _mask(self.places, rows)).amax()
        inside = inside * (counts > HEAD_SHARE * most).float()
        block = self._main_run(inside, counts, self.graph.just_before, SCAN_SHARE, self.rows)
        of_block = _mask(self.places, block)
        bright = bright * of_block[:, None]
        beside = self._beside_frames(_sums(bright.T, of_block), columns, block[1] - block[0])
        bright = bright * beside
        sides = self._head_ends(bright.T, block, self.columns)
        vertical = self._head_ends(bright, sides, block)
        return vertical, self._head_ends(bright.T, vertical, self.columns)

    def _scan(self) -> tuple[Range, Range]:
        """Return the rows and the columns of the richest part of the picture."""
        valid_rows, valid_columns = (
            _mask(self.places, self.rows),
            _mask(self.places, self.columns),
        )
        valid = valid_rows[:, None] * valid_columns
        span = (self.cells - _FAR * (1 - valid)).amax() - (self.cells + _FAR * (1 - valid)).amin()
        tolerance = torch.floor(span / FLAT_STEPS).clamp(min=1.0)
        down = ((self.cells[1:GRID] - self.cells[:-1]).abs() > tolerance).float() * valid[1:GRID]
        across = ((self.cells[:, 1:GRID] - self.cells[:, :-1]).abs() > tolerance).float()
        across = across * valid[:, 1:GRID]
        columns = self.columns
        for _ in range(2):
            rows = self._scan_rows(down, across, columns, self.rows)
            columns = self._scan_rows(across.T, down.T, rows, self.columns)
        return rows, columns

    def _scan_rows(self, down: Tensor, across: Tensor, columns: Range, rows: Range) -> Range:
        looked_at = _mask(self.places, columns)
        changes = _sums(across, looked_at[1:GRID] * looked_at[:-1])
        # The last row that counts has no neighbour to be like.
        differs = (_sums(down, looked_at) + (self.places[1:GRID] >= rows[1]).float() > 0).float()
        one = torch.ones(1)
        inside = (changes > FLAT_SHARE * (columns[1] - columns[0])).float()
        inside = inside * torch.cat((one, differs)) * torch.cat((differs, one))
        return self._main_run(inside, changes, self.graph.just_before, SCAN_SHARE, rows)

    def _main_run(
        self, inside: Tensor, weights: Tensor, before: Tensor, share: float, whole: Range
    ) -> Range:
        starts = inside * (1 - (_sums(before, inside) > 0).float())
        number = _sums(self.graph.up_to, starts)
        mass = _sums(_equal(number[:, None], number), weights * inside) * inside
        kept = inside * (1 - (mass < share * mass.amax()).float())
        return _first_and_end(kept, self.places, whole)

    def _bright(self, rows: Range, columns: Range) -> Tensor:
        """Return 1 where a cell is as bright as the head, `[GRID, GRID]`."""
        scan = _mask(self.places, rows)[:, None] * _mask(self.places, columns)
        darkest = (self.cells + _FAR * (1 - scan)).amin()
        roots = _round(ROOT_STEPS * (self.cells - darkest).clamp(min=0.0).sqrt())
        number, total = scan.sum(), (roots * scan).sum()
        level = total / number
        for _ in range(LEVEL_ROUNDS):
            bright = (roots > level).float() * scan
            count, part = bright.sum(), (roots * bright).sum()
            low = (total - part) / (number - count).clamp(min=1.0)
            level = low + LEVEL_SHARE * (part / count.clamp(min=1.0) - low)
        valid = _mask(self.places, self.rows)[:, None] * _mask(self.places, self.columns)
        return (roots > level).float() * valid

    def _beside_frames(self, counts: Tensor, scan: Range, length: Tensor) -> Tensor:
        in_scan = _mask(self.places, scan)
        partly = (counts < RIM_SHARE * length).float() * in_scan
        begin, end = _first_and_end(partly, self.places, scan)
        rim = ((begin - scan[0]) < RIM + 0.5).float(), ((scan[1] - end) < RIM + 0.5).float()
        kept = (
            rim[0] * begin + (1 - rim[0]) * scan[0],
            rim[1] * end + (1 - rim[1]) * scan[1],
        )
        return _mask(self.places, kept) + (1 - in_scan) * (counts < length / 2).float()

    def _head_ends(self, bright: Tensor, span: Range, whole: Range) -> Range:
        first, end = torch.floor(span[0] + 0.5), torch.floor(span[1] + 0.5)
        aside = torch.floor(SIDE_PARTS * (end - first))
        counts = _sums(bright, _mask(self.places, (first + aside, end - aside)))
        level = EDGE_SHARE * counts.amax()
        inside = (counts > level).float()
        near = self.graph.shortly_before
        low, high = self._main_run(inside, counts, near, ISLAND_SHARE, whole)
        starts, stops = (low > whole[0]).float(), (high < whole[1]).float()
        return (
            low + starts * (self._crossing(counts, low, low - 1, level) - 0.5),
            high - stops * (self._crossing(counts, high - 1, high, level) - 0.5),
        )

    def _crossing(self, counts: Tensor, row: Tensor, beyond: Tensor, level: Tensor) -> Tensor:
        """Return how far from the row beyond to the last row the counts cross the level."""
        after = (counts * _equal(self.places, row)).sum()
        before = (counts * _equal(self.places, beyond)).sum()
        part = CELL_PARTS * (level - before) / (after - before).clamp(min=1.0)
        return (torch.floor(part + UNEVEN) + 0.5) / CELL_PARTS


def _without_frames(grey: Tensor, rows: Tensor, columns: Tensor) -> tuple[Range, Range]:
    tolerance = torch.floor((grey.amax() - grey.amin()) / FRAME_STEPS)
    zero = torch.zeros(())
    vertical, horizontal = (zero, rows[-1] + 1), (zero, columns[-1] + 1)
    for _ in range(FRAMES):
        of_rows, of_columns = _mask(rows, vertical), _mask(columns, horizontal)
        beside, above = _FAR * (1 - of_columns), _FAR * (1 - of_rows)[:, None]
        wide = (grey - beside).amax(dim=1) - (grey + beside).amin(dim=1)
        high = (grey - above).amax(dim=0) - (grey + above).amin(dim=0)
        uneven_rows = (wide > tolerance).float() * of_rows
        uneven_columns = (high > tolerance).float() * of_columns
        # Where all rows are even, all columns stay, too.
        found = uneven_rows.amax() * uneven_columns.amax()
        vertical = _first_and_end(uneven_rows * found, rows, vertical)
        horizontal = _first_and_end(uneven_columns * found, columns, horizontal)
    return vertical, horizontal


def _cells_in(head: tuple[Range, Range], places: Tensor) -> Tensor:
    """Return 1 for the cells whose middles lie in the box, `[GRID, GRID]`."""
    rows, columns = ((torch.floor(low + 0.5), torch.floor(high + 0.5)) for low, high in head)
    return _mask(places, rows)[:, None] * _mask(places, columns)


def _stretch_contrast(grey: Tensor, cells: Tensor, box: Tensor) -> Tensor:
    low, high = _quantiles(cells, box)
    span = high - low
    above = (torch.minimum(grey, high) - low).clamp(min=0.0)
    stretched = torch.floor((510 * above + span) / (2 * span).clamp(min=1.0))
    flat = (span < 0.5).float()
    return flat * grey + (1 - flat) * stretched


def _quantiles(cells: Tensor, box: Tensor) -> tuple[Tensor, Tensor]:
    """Return the grey values up to which one in `CONTRAST_PARTS` cells lies, and all but one."""
    wanted = box.sum() * torch.tensor((1.0, CONTRAST_PARTS - 1.0))
    values = torch.zeros(2)
    for bit in (128.0, 64.0, 32.0, 16.0, 8.0, 4.0, 2.0, 1.0):
        darker = (cells < (values + bit)[:, None, None]).float() * box
        values = values + bit * (darker.sum(dim=(1, 2)) * CONTRAST_PARTS < wanted).float()
    return values[0], values[1]


def _mask(places: Tensor, span: Range) -> Tensor:
    """Return 1 for the places in a range of whole numbers, else 0."""
    return (places > span[0] - 0.5).float() * (places < span[1] - 0.5).float()


def _sums(rows: Tensor, weights: Tensor) -> Tensor:
    """Return the sum of each row with its places weighted.

    The weights are a column, not a vector: in ONNX Runtime 1.32 the product of a transposed
    matrix and a vector comes out as if nothing were transposed, once it is optimised.
    """
    return (rows @ weights[:, None]).squeeze(1)


def _equal(first: Tensor, second: Tensor) -> Tensor:
    """Return 1 where two whole numbers are equal, else 0."""
    return (1 - (first - second).abs()).clamp(min=0.0)


def _first_and_end(kept: Tensor, places: Tensor, whole: Range) -> Range:
    """Return the first place that is kept and the one after the last; the whole where none is."""
    there = kept.amax()
    first = (places + _FAR * (1 - kept)).amin()
    end = (places - _FAR * (1 - kept)).amax() + 1
    return (
        there * first + (1 - there) * whole[0],
        there * end + (1 - there) * whole[1],
    )


def _round(values: Tensor) -> Tensor:
    return torch.floor(values + 0.5)
