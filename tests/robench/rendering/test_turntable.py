"""Cameras that walk around a person: which side they see, and that they turn about the right axis."""

from __future__ import annotations

import numpy as np
import pytest

from robench.contracts import Camera, Mesh
from robench.rendering.turntable import azimuth, turn_pictures, turned

SIDE = 40


def camera(view: np.ndarray | None = None, **kwargs) -> Camera:
    return Camera(np.eye(4) if view is None else view, 0.2, (SIDE / 2 - 0.5, SIDE / 2 - 0.5), SIDE, SIDE, **kwargs)


def balls(*centres: tuple[float, float, float], colours: list[tuple[int, int, int]]) -> Mesh:
    """Octahedra of radius 20 cm, each of one colour."""
    points = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], np.float32) * 20
    faces = np.array([[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4], [2, 0, 5], [1, 2, 5], [3, 1, 5], [0, 3, 5]])
    vertices = np.concatenate([points + np.float32(c) for c in centres])
    return Mesh(
        vertices,
        np.concatenate([faces + 6 * i for i in range(len(centres))]).astype(np.int32),
        np.repeat(np.array(colours, np.uint8), 6, axis=0),
    )


@pytest.mark.parametrize("angle", [0, 30, 90, 180, 217, 270, 359])
@pytest.mark.parametrize("start", [0, 40, -130])
def test_a_camera_stands_where_it_walked_to(angle, start) -> None:
    found = azimuth(turned(turned(camera(), start), angle))
    assert (found - start - angle + 180) % 360 == pytest.approx(180)


def test_the_axis_goes_through_the_origin_of_the_view_frame() -> None:
    view = np.eye(4)
    view[:3, 3] = [-15, -90, 7]  # the person stands beside the world's origin
    centre = np.array([[15.0, 90.0, -7.0], [15.0, 130.0, -7.0]])
    for kind in ("orthographic", "pinhole"):
        before = camera(view, kind=kind)
        for angle in (50, 180, 300):
            np.testing.assert_allclose(turned(before, angle).project(centre), before.project(centre), atol=1e-9)


def test_each_side_is_seen_from_its_side() -> None:
    # The person faces +z: +x is at their left.
    front, left, back, right = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)
    mesh = balls((0, 0, 60), (60, 0, 0), (0, 0, -60), (-60, 0, 0), colours=[front, left, back, right])
    pictures = turn_pictures(mesh, camera(), [0, 90, 180, 270])
    middle = [tuple(int(v) for v in picture[SIDE // 2, SIDE // 2]) for picture in pictures]
    assert middle == [front, left, back, right]
    # From the front their left is at the picture's right.
    assert tuple(pictures[0][SIDE // 2, SIDE // 2 + 12]) == left


def test_edges_are_smooth_and_the_rest_is_black() -> None:
    mesh = balls((0, 0, 0), colours=[(200, 100, 50)])
    (smooth,) = turn_pictures(mesh, camera(), [0], samples=4)
    (hard,) = turn_pictures(mesh, camera(), [0], samples=1)
    assert set(np.unique(hard[..., 0])) == {0, 200}
    assert len(np.unique(smooth[..., 0])) > 2
    assert smooth[..., 0].mean() == pytest.approx(200 * (2 * (20 * 0.2) ** 2) / SIDE**2, rel=0.1)
    (bare,) = turn_pictures(Mesh(mesh.vertices, mesh.faces), camera(), [0], samples=1)
    np.testing.assert_array_equal(bare[..., 0] > 0, hard[..., 0] > 0)
