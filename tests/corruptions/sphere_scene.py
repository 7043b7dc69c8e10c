"""A ball before an orthographic camera, in closed form: what the corruptions that re-light are checked against."""

from __future__ import annotations

import numpy as np
from corruption_pictures import texture

from corruptions import Aux
from corruptions._surface import View


class Sphere:
    """A scene of one ball at the origin of the view frame; one pixel is one centimetre."""

    def __init__(self, size=96, radius=35.0):
        self.camera = View("orthographic", 1.0, ((size - 1) / 2, (size - 1) / 2), 1000.0, size, size)
        self.radius = radius
        at = np.arange(size) - (size - 1) / 2
        self.x, self.y = np.meshgrid(at, -at)
        self.height = np.sqrt(np.maximum(radius**2 - self.x**2 - self.y**2, 0))

    def mask(self):
        return self.x**2 + self.y**2 < self.radius**2

    def depth(self):
        return np.where(self.mask(), (1000 - self.height) / 100, np.inf).astype(np.float32)

    def positions(self):
        points = np.stack([self.x, self.y, self.height], axis=-1)
        return (points * self.mask()[..., None]).astype(np.float32)

    def normals(self):
        return (self.positions() / np.float32(self.radius)).astype(np.float32)

    def visibility(self, position_cm, radius_cm, samples):
        facing = ((np.asarray(position_cm) - self.positions()) * self.normals()).sum(-1) > 0
        return np.where(self.mask(), facing, True).astype(np.float32)

    def aux(self, mesh):
        """With the mesh, or with depth alone."""
        return Aux(self.depth(), self.mask(), self if mesh else None, self.camera)


def ball(size=96):
    """A textured ball: image and scene."""
    return texture(size, size) // 2 + 40, Sphere(size)
