"""Small analytic subjects for the tests: ellipsoids seen by an orthographic camera, their silhouettes exact."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from robench.contracts import Camera, Mesh, Sample
from robench.io.images import write_mask, write_png
from robench.io.meshes import write_mesh

RADII = (30.0, 80.0, 20.0)
SIZE = 64


def ellipsoid(radii=RADII, centre=(0.0, 0.0, 0.0), rings=24, segments=36) -> Mesh:
    """A closed, outward, coloured ellipsoid in centimetres."""
    theta = np.pi * np.arange(1, rings) / rings
    phi = 2 * np.pi * np.arange(segments) / segments
    t, p = np.meshgrid(theta, phi, indexing="ij")
    body = np.stack([np.sin(t) * np.cos(p), np.cos(t), np.sin(t) * np.sin(p)], axis=-1).reshape(-1, 3)
    unit = np.concatenate([[[0, 1, 0]], body, [[0, -1, 0]]])
    faces = []
    last = len(unit) - 1

    def at(ring, segment):
        return 1 + ring * segments + segment % segments

    for s in range(segments):
        faces.append([0, at(0, s + 1), at(0, s)])
        faces.append([last, at(rings - 2, s), at(rings - 2, s + 1)])
        for r in range(rings - 2):
            faces.append([at(r, s), at(r, s + 1), at(r + 1, s)])
            faces.append([at(r, s + 1), at(r + 1, s + 1), at(r + 1, s)])
    vertices = (unit * radii + centre).astype(np.float32)
    colours = np.clip(127.5 + 100 * unit, 0, 255).astype(np.uint8)
    return Mesh(vertices, np.array(faces, np.int32), colours)


def camera(size: int = SIZE, tall: float = 200.0) -> Camera:
    return Camera(np.eye(4), size / tall, ((size - 1) / 2, (size - 1) / 2), size, size)


def picture(radii, cam: Camera, centre=(0.0, 0.0)) -> tuple[np.ndarray, np.ndarray]:
    """Image and mask of an ellipsoid: shaded by height, silhouette x²/a² + y²/b² <= 1."""
    v, u = np.mgrid[0 : cam.height, 0 : cam.width]
    x, y = (u - cam.centre[0]) / cam.scale, -(v - cam.centre[1]) / cam.scale
    a, b = (x - centre[0]) / radii[0], (y - centre[1]) / radii[1]
    mask = (a**2 + b**2 <= 1).astype(np.float32)
    image = np.stack([127.5 + 100 * a, 127.5 + 100 * b, np.full_like(a, 200)], axis=-1)
    return np.clip(image * mask[..., None], 0, 255).astype(np.uint8), mask


def samples(root: Path, count: int = 3, size: int = SIZE) -> list[Sample]:
    found = []
    for i in range(count):
        radii = (25.0 + 5 * i, 70.0 + 5 * i, 18.0 + 2 * i)
        cam = camera(size)
        image, mask = picture(radii, cam)
        paths = [root / f"{i}.png", root / f"{i}_mask.png", root / f"{i}.ply"]
        write_png(paths[0], image)
        write_mask(paths[1], mask)
        write_mesh(paths[2], ellipsoid(radii))
        found.append(Sample(f"s{i}", f"s{i}", 0.0, paths[0], paths[1], camera=cam, mesh=paths[2]))
    return found
