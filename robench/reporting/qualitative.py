"""The qualitative grid: corrupted input, mask, mesh from the front and the side, and its error, one condition a row."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from robench.contracts import Camera, Image, Mesh
from robench.reporting.examples import Example
from robench.reporting.labels import corruption_label
from robench.reporting.plots import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = ("Input", "Mask", "Mesh, front", "Mesh, side", "Error")
WIDTH, FONT = 7.0, 7.5
"""Inches (two columns of a paper) and points."""
ERROR_MAP = "viridis"
_LEFT, _RIGHT = 0.42, 0.53
_PIXELS = 420
"""Rendered height of a cell: twice what 300 dpi print shows of it."""
_SIDE = np.array([[0.0, 0.0, -1.0, 0.0], [0.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
"""Front view to the view from the person's left."""


@dataclass(frozen=True)
class Window:
    """A rectangle of the picture, in pixels: centre and half sizes."""

    u: float
    v: float
    half_width: float
    half_height: float


def qualitative_grids(
    examples: Sequence[Example], captions: Mapping[tuple[str, int], str] | None = None, rows: int = 6
) -> list[Figure]:
    """Draw the grid, on several pages if it is long. All rows of all pages share one scale, window size and colour map.

    Args:
        examples: At least one; one row each, in this order.
        captions: A second line under the name of a (corruption, severity), e.g. its score.
        rows: At most so many a page; pages are of even length.

    Returns:
        Figures two columns wide; meshes in neutral clay, the error of each visible point of the predicted surface to
        the true surface in centimetres.
    """
    windows = common_windows(examples)
    views = [_views(example, window) for example, window in zip(examples, windows, strict=True)]
    known = [view.error[np.isfinite(view.error)] for view in views if view.error is not None]
    top = nice_ceiling(float(np.quantile(np.concatenate(known), 0.98))) if any(len(k) for k in known) else 1.0
    lines = list(zip(examples, windows, views, strict=True))
    size = math.ceil(len(lines) / math.ceil(len(lines) / rows))
    return [_page(lines[start : start + size], captions or {}, top) for start in range(0, len(lines), size)]


def _page(
    lines: Sequence[tuple[Example, Window, _Views]], captions: Mapping[tuple[str, int], str], top: float
) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    window = lines[0][1]
    cell = (WIDTH - _LEFT - _RIGHT) / len(COLUMNS)
    height = cell * window.half_height / window.half_width * len(lines) + 0.25
    figure = Figure(figsize=(WIDTH, height))
    FigureCanvasAgg(figure)
    figure.subplots_adjust(_LEFT / WIDTH, 0.03 / height, 1 - _RIGHT / WIDTH, 1 - 0.22 / height)
    gaps = {"wspace": 0.03, "hspace": 0.03}
    axes = np.asarray(figure.subplots(len(lines), len(COLUMNS), squeeze=False, gridspec_kw=gaps))
    for row, (example, frame, view) in zip(axes, lines, strict=True):
        _draw_row(row, example, frame, view, top)
        severity = f"severity {example.severity}" if example.severity else ""
        caption = captions.get((example.corruption, example.severity), "")
        text = "\n".join(filter(None, [plain(corruption_label(example.corruption)), severity, plain(caption)]))
        row[0].set_ylabel(text, fontsize=FONT - 0.5, labelpad=3, linespacing=1.2)
    for ax, title in zip(axes[0], COLUMNS, strict=True):
        ax.set_title(title, fontsize=FONT, pad=3)
    _colour_bar(figure, axes, top)
    return figure


@dataclass(frozen=True, eq=False)
class _Views:
    front: Image | None
    side: Image | None
    error: NDArray[np.float32] | None
    shade: NDArray[np.float32] | None


def common_windows(examples: Sequence[Example], margin: float = 0.06) -> list[Window]:
    """Return one window a row, all of one size in pixels, each around its person (truth, else mask, else picture)."""
    return windows_around([person_box(example) for example in examples], margin)


def windows_around(boxes: Sequence[tuple[float, float, float, float]], margin: float = 0.06) -> list[Window]:
    """Return windows of one size in pixels around boxes ``(left, top, right, bottom)``, in readable proportions."""
    half_width = max((box[2] - box[0]) / 2 for box in boxes)
    half_height = max((box[3] - box[1]) / 2 for box in boxes) * (1 + 2 * margin)
    # A lone standing person would make cells too narrow to read; a lying one too flat.
    half_width = max(half_width * (1 + 2 * margin), 0.55 * half_height)
    half_height = max(half_height, half_width / 1.2)
    return [Window((b[0] + b[2]) / 2, (b[1] + b[3]) / 2, half_width, half_height) for b in boxes]


def person_box(example: Example) -> tuple[float, float, float, float]:
    """Return the box ``(left, top, right, bottom)`` in pixels of the person: of the truth, else mask, else picture."""
    if example.truth is not None and not example.truth.is_empty:
        at = in_view(example.camera).project(example.truth.vertices)[:, :2]
        low, high = at.min(axis=0), at.max(axis=0)
        return float(low[0]), float(low[1]), float(high[0]), float(high[1])
    rows, columns = np.nonzero(np.asarray(example.mask) > 0.5)
    if len(rows):
        return float(columns.min()), float(rows.min()), float(columns.max()), float(rows.max())
    return 0.0, 0.0, float(example.camera.width - 1), float(example.camera.height - 1)


def in_view(camera: Camera) -> Camera:
    """Return the camera for meshes that are in its view frame already."""
    return replace(camera, view_from_world=np.eye(4))


def zoomed(camera: Camera, window: Window, height: int = _PIXELS) -> Camera:
    """Return the camera that sees a window of the picture, `height` pixels high."""
    ratio = height / (2 * window.half_height)
    width = round(2 * window.half_width * ratio)
    corner = (window.u - window.half_width, window.v - window.half_height)
    cx, cy = ((c - low) * ratio - 0.5 for c, low in zip(camera.centre, corner, strict=True))
    return replace(camera, scale=camera.scale * ratio, centre=(cx, cy), width=width, height=height)


def from_the_side(camera: Camera, middle: NDArray[Any]) -> Camera:
    """Return the orthographic camera that sees, at the same scale and height, the person from their left.

    Args:
        camera: A camera of meshes in the view frame.
        middle: (3,) point that the view turns about; it comes to the middle column.
    """
    scale = camera.scale if camera.kind == "orthographic" else camera.scale / camera.distance
    centre = ((camera.width - 1) / 2 + scale * float(middle[2]), camera.centre[1])
    return replace(
        camera, view_from_world=_SIDE @ camera.view_from_world, scale=scale, centre=centre, kind="orthographic"
    )


def surface_error(mesh: Mesh, truth: Mesh, camera: Camera) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return, for each pixel, the distance of the visible predicted point to the true surface.

    Args:
        mesh: Prediction, in the frame of `camera`'s world.
        truth: Same frame.
        camera: The view.

    Returns:
        (H, W) float32 centimetres, NaN where nothing is hit; (H, W) float32 cosine between normal and viewing axis.
    """
    from robench.geometry import point_to_surface
    from robench.rendering import raycast

    hits = raycast(mesh, camera)
    error = np.full(hits.mask.shape, np.nan, np.float32)
    if hits.mask.any():
        corners = mesh.vertices[mesh.faces[hits.face[hits.mask]]]
        points = np.einsum("nkc,nk->nc", corners, hits.bary[hits.mask])
        error[hits.mask] = point_to_surface(points, truth.vertices, truth.faces)
    return error, np.abs(hits.normals[..., 2])


def nice_ceiling(value: float) -> float:
    """Return the next of 1, 1.5, 2, 3, 5, 7 times a power of ten: the end of a colour bar."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1.0, 1.5, 2.0, 3.0, 5.0, 7.0, 10.0) if step * power >= value * (1 - 1e-9))


def inputs_over_meshes(
    examples: Sequence[Example], captions: Mapping[tuple[str, int], str] | None = None, across: int = 7
) -> Figure:
    """Draw each input over the front of the mesh that was made of it, all at one scale, in bands of `across`.

    Args:
        examples: At least one, in this order.
        captions: A line under the name of a (corruption, severity), e.g. its score.
        across: Most examples side by side; bands are of even length.

    Returns:
        A figure two columns wide; meshes in neutral clay.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    windows = common_windows(examples)
    bands = math.ceil(len(examples) / across)
    columns = math.ceil(len(examples) / bands)
    lines = 1 + bool(captions)
    cell, head = WIDTH / columns, 0.13 * lines + 0.06
    picture = cell * windows[0].half_height / windows[0].half_width
    height = bands * (2 * picture + head)
    figure = Figure(figsize=(WIDTH, height))
    FigureCanvasAgg(figure)
    for index, (example, window) in enumerate(zip(examples, windows, strict=True)):
        band, column = divmod(index, columns)
        top = height - band * (2 * picture + head) - head
        pair = [
            figure.add_axes((column * cell / WIDTH, (top - (i + 1) * picture) / height, cell / WIDTH, picture / height))
            for i in range(2)
        ]
        for ax in pair:
            _bare(ax)
        _show_in(pair[0], example.image, window)
        mesh = example.prediction
        if mesh is None or mesh.is_empty:
            _say_in(pair[1], example.note or "no mesh")
        else:
            pair[1].imshow(_clay(mesh, zoomed(in_view(example.camera), window)), interpolation="antialiased")
        caption = (captions or {}).get((example.corruption, example.severity), "")
        title = [plain(corruption_label(example.corruption)), plain(caption)][:lines]
        pair[0].set_title("\n".join(title), fontsize=FONT - 0.5, pad=2, linespacing=1.1)
    return figure


def _clay(mesh: Mesh, camera: Camera) -> Image:
    """Render a mesh without its colours before white."""
    from robench.rendering import Lamp, Lamps, render

    light = Lamps(
        (Lamp((0.6, 0.8, 0.8), (0.85, 0.85, 0.85)), Lamp((-0.9, 0.1, 0.5), (0.2, 0.2, 0.2))), (0.14, 0.14, 0.14)
    )
    return render(replace(mesh, colours=None), camera, light, samples=2, background=(255, 255, 255)).colour


def _views(example: Example, window: Window) -> _Views:
    if example.prediction is None or example.prediction.is_empty:
        return _Views(None, None, None, None)
    mesh = example.prediction
    front = zoomed(in_view(example.camera), window)
    around = example.truth if example.truth is not None and not example.truth.is_empty else example.prediction
    middle = (around.vertices.min(axis=0) + around.vertices.max(axis=0)) / 2
    error = shade = None
    if example.truth is not None and not example.truth.is_empty:
        # Twice the pixels of the clay views: the picture is drawn smaller, which smooths its outline.
        error, shade = surface_error(mesh, example.truth, zoomed(in_view(example.camera), window, 2 * _PIXELS))
    return _Views(
        front=_clay(mesh, front),
        side=_clay(mesh, from_the_side(front, middle)),
        error=error,
        shade=shade,
    )


def _draw_row(axes: Sequence[Axes], example: Example, window: Window, view: _Views, top: float) -> None:
    for ax in axes:
        _bare(ax)
    _show_in(axes[0], example.image, window)
    _show_in(axes[1], np.asarray(example.mask), window)
    if view.front is None or view.side is None:
        for ax in axes[2:]:
            _say_in(ax, example.note or "no mesh")
        return
    axes[2].imshow(view.front, interpolation="antialiased")
    axes[3].imshow(view.side, interpolation="antialiased")
    if view.error is None:
        _say_in(axes[4], "no ground truth")
    else:
        axes[4].imshow(_error_picture(view, top), interpolation="antialiased")


def _bare(ax: Axes) -> None:
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set(linewidth=0.5, color="#BBBBBB")


def _show_in(ax: Axes, picture: Any, window: Window) -> None:
    """Show the window of a picture or mask."""
    ax.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="antialiased")  # a colour picture needs no map
    ax.set_facecolor("#EEEEEE")
    ax.set_xlim(window.u - window.half_width, window.u + window.half_width)
    ax.set_ylim(window.v + window.half_height, window.v - window.half_height)


def _say_in(ax: Axes, text: str) -> None:
    ax.text(0.5, 0.5, plain(text), ha="center", va="center", fontsize=FONT, transform=ax.transAxes)


def _error_picture(view: _Views, top: float) -> Image:
    """Return the error in colours over white; a little shading keeps the shape readable without hiding the colour."""
    import matplotlib as mpl

    assert view.error is not None
    assert view.shade is not None
    hit = np.isfinite(view.error)
    colours = mpl.colormaps[ERROR_MAP](np.clip(np.where(hit, view.error, 0) / top, 0, 1))[..., :3]
    picture = np.where(hit[..., None], colours * (0.82 + 0.18 * view.shade[..., None]), 1.0)
    return np.asarray(np.rint(255 * picture), np.uint8)


def _colour_bar(figure: Figure, axes: Any, top: float) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    high, low = axes[0, -1].get_position(), axes[-1, -1].get_position()
    span = min(high.y1 - low.y0, 2.2 / figure.get_figheight())
    bar = figure.add_axes((high.x1 + 0.07 / WIDTH, high.y1 - span, 0.09 / WIDTH, span))
    drawn = figure.colorbar(ScalarMappable(Normalize(0, top), ERROR_MAP), cax=bar, extend="max")
    drawn.set_label("Distance to true surface (cm)", fontsize=FONT, labelpad=2)
    drawn.ax.tick_params(labelsize=FONT - 1, width=0.5, length=2, pad=1.5)
    drawn.outline.set_linewidth(0.5)
