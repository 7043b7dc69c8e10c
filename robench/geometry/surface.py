"""A triangle mesh with its search tree: exact distances, winding numbers and ray casts on CPU and CUDA (Warp)."""

from __future__ import annotations

import functools
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from robench.contracts import Mesh
from robench.errors import EnvironmentNotReady, UsageError
from robench.geometry.mesh import bounds, is_watertight, vertex_normals

# Below this ratio of node size to distance the winding number uses the node's dipole; Warp's own default.
_WINDING_ACCURACY = 2.0
# The bits of a 5-bit number, each three places from the next: three such numbers make a Morton code.
_SPREAD = np.stack([((np.arange(32) >> bit) & 1) << 3 * bit for bit in range(5)]).sum(axis=0).astype(np.uint16)


def resolve_device(device: str) -> str:
    """Return the Warp device for ``cpu``, ``cuda``, ``cuda:N`` or ``auto`` (CUDA where there is one).

    Raises:
        EnvironmentNotReady: If CUDA is asked for and not there.
        UsageError: If the name is none of these.
    """
    from robench.geometry import _kernels

    wp: Any = _kernels.wp  # type: ignore[attr-defined]  # not Warp itself: the kernels' module quietens it first

    if device == "cpu":
        return "cpu"
    if device == "auto":
        return "cuda:0" if wp.is_cuda_available() else "cpu"
    name = "cuda:0" if device == "cuda" else device
    if not name.startswith("cuda:") or not name[5:].isdigit():
        raise UsageError("Unknown device", got=repr(device), expected="cpu, cuda, cuda:N or auto")
    if int(name[5:]) >= wp.get_cuda_device_count():
        raise EnvironmentNotReady(
            f"No CUDA device for '{device}'", got=f"{wp.get_cuda_device_count()} devices", hint="--device cpu"
        )
    return name


class Surface:
    """A mesh ready to be asked about. Build it once, ask often; trees and normals are made when first needed.

    The tree searches in float32, about the mesh's centre; distances to the triangle found are taken in float64.

    Args:
        mesh: At least one face; finite vertices; any unit (answers come in it).
        device: ``cpu``, ``cuda``, ``cuda:N`` or ``auto``.
        builder: Of the tree: ``sah`` or another of Warp's, or None for the quickest on that device. Trees differ only
            in which of two equally near triangles they find.

    Raises:
        ValueError: If there is no face, a face names a vertex that is not there, or a used vertex is not finite.
    """

    def __init__(self, mesh: Mesh, device: str = "cpu", builder: str | None = None) -> None:
        if mesh.is_empty:
            raise ValueError("a mesh without faces has no surface")
        if mesh.faces.min() < 0 or mesh.faces.max() >= len(mesh.vertices):
            raise ValueError(f"faces name vertices outside 0..{len(mesh.vertices) - 1}")
        used = np.zeros(len(mesh.vertices), bool)
        used[mesh.faces] = True
        corners = np.asarray(mesh.vertices, np.float64)
        if not used.all():
            corners = corners[used]
        if not np.isfinite(corners).all():
            raise ValueError("a mesh with vertices that are not finite has no surface")
        self.device = resolve_device(device)
        self._builder = builder
        # The arrays, not the Mesh: `surface_of` keeps this object only as long as its mesh lives.
        self.vertices = mesh.vertices
        self.faces = np.ascontiguousarray(mesh.faces, dtype=np.int32)
        self.colours = mesh.colours
        self.low, self.high = bounds(corners)
        self.centre = (self.low + self.high) / 2.0
        if len(corners) == len(used):
            self._centred = corners - self.centre
        else:
            # A vertex that no face uses may be anything; it must not poison the tree.
            self._centred = np.zeros((len(used), 3), np.float64)
            self._centred[used] = corners - self.centre

    def _local(self, points: NDArray[Any]) -> NDArray[np.float64]:
        return np.asarray(np.asarray(points, np.float64).reshape(-1, 3) - self.centre)

    @functools.cached_property
    def _exact(self) -> Any:
        import warp as wp

        return wp.array(self._centred, dtype=wp.vec3d, device=self.device)

    @functools.cached_property
    def _corners(self) -> Any:
        import warp as wp

        return wp.array(self._centred.astype(np.float32), dtype=wp.vec3, device=self.device)

    @functools.cached_property
    def indices(self) -> Any:
        """The faces as a flat Warp array."""
        import warp as wp

        return wp.array(self.faces.ravel(), dtype=wp.int32, device=self.device)

    @functools.cached_property
    def tree(self) -> Any:
        """The Warp mesh for distances and rays, centred on `centre`."""
        import warp as wp

        builder, leaf = self._builder, 4
        if builder is None and self.device == "cpu" and wp.is_cubql_available():
            builder, leaf = "cubql", 6  # as good a tree as Warp's own, built in a third of the time
        return wp.Mesh(points=self._corners, indices=self.indices, bvh_constructor=builder, bvh_leaf_size=leaf)

    @functools.cached_property
    def _winding_tree(self) -> Any:
        import warp as wp

        return wp.Mesh(points=self._corners, indices=self.indices, support_winding_number=True)

    @functools.cached_property
    def normals(self) -> NDArray[np.float32]:
        """(V, 3) float32 unit vertex normals."""
        return vertex_normals(Mesh(self.vertices, self.faces))

    @functools.cached_property
    def watertight(self) -> bool:
        """True if each edge is matched by one the other way."""
        return is_watertight(Mesh(self.vertices, self.faces))

    def distances(self, points: NDArray[Any]) -> NDArray[np.float32]:
        """Return the (N,) float32 exact distance of each (N, 3) point to the nearest triangle, in the mesh's unit.

        Raises:
            ValueError: If a point is not finite, or no face has any area.
        """
        import warp as wp

        from robench.geometry import _kernels

        _check_points(points)
        if len(points) == 0:
            return np.zeros(0, np.float32)
        local = wp.array(self._local(points), dtype=wp.vec3d, device=self.device)
        order = wp.array(_nearby_in_turn(points), dtype=wp.int32, device=self.device)
        out = wp.empty(len(points), dtype=wp.float32, device=self.device)
        inputs = [self.tree.id, self.indices, self._exact, local, order]
        wp.launch(_kernels.closest, len(points), inputs=inputs, outputs=[out], device=self.device)
        found: NDArray[np.float32] = out.numpy()
        if found.min() < 0:
            raise ValueError("no face of the mesh has any area")
        return found

    def nearest(self, points: NDArray[Any]) -> NDArray[np.float64]:
        """Return the (N, 3) points of the surface that are nearest to (N, 3) points, to float32's precision.

        Raises:
            ValueError: If a point is not finite, or no face has any area.
        """
        import warp as wp

        from robench.geometry import _kernels

        _check_points(points)
        if len(points) == 0:
            return np.zeros((0, 3))
        local = wp.array(self._local(points), dtype=wp.vec3d, device=self.device)
        order = wp.array(_nearby_in_turn(points), dtype=wp.int32, device=self.device)
        out = wp.empty(len(points), dtype=wp.vec3, device=self.device)
        face = wp.empty(len(points), dtype=wp.int32, device=self.device)
        wp.launch(
            _kernels.nearest, len(points), inputs=[self.tree.id, local, order], outputs=[out, face], device=self.device
        )
        if face.numpy().min() < 0:
            raise ValueError("no face of the mesh has any area")
        return np.asarray(out.numpy(), np.float64) + self.centre

    def signed_distances(self, points: NDArray[Any], closed: bool = True) -> NDArray[np.float32]:
        """Return (N,) float32 distances, negative inside (winding number above one half).

        Args:
            points: (N, 3), finite.
            closed: Insist on a watertight mesh. Without, the generalised winding number (Jacobson et al. 2013) decides,
                which closes small holes as a soap film would.

        Raises:
            ValueError: If the mesh is open and `closed`, a point is not finite, or no face has any area.
        """
        import warp as wp

        from robench.geometry import _kernels

        _check_points(points)
        if closed and not self.watertight:
            raise ValueError("inside and outside need a watertight mesh; this one has open edges")
        if len(points) == 0:
            return np.zeros(0, np.float32)
        local = wp.array(self._local(points), dtype=wp.vec3d, device=self.device)
        out = wp.empty(len(points), dtype=wp.float32, device=self.device)
        inputs = [self._winding_tree.id, self.indices, self._exact, local, _WINDING_ACCURACY]
        wp.launch(_kernels.signed, len(points), inputs=inputs, outputs=[out], device=self.device)
        found: NDArray[np.float32] = out.numpy()
        if np.isinf(found).any():
            raise ValueError("no face of the mesh has any area")
        return found

    def inside(self, points: NDArray[Any]) -> NDArray[np.bool_]:
        """Return (N,) bool: at which of (N, 3) finite points does the generalised winding number exceed one half?

        Several times as fast as the sign of `signed_distances`, which it equals. An open mesh is judged as if its holes
        were closed by soap films; one without any area has no inside.

        Raises:
            ValueError: If a point is not finite.
        """
        import warp as wp

        from robench.geometry import _kernels

        _check_points(points)
        if len(points) == 0:
            return np.zeros(0, bool)
        local = wp.array(self._local(points).astype(np.float32), dtype=wp.vec3, device=self.device)
        out = wp.empty(len(points), dtype=wp.float32, device=self.device)
        inputs = [self._winding_tree.id, local, _WINDING_ACCURACY]
        wp.launch(_kernels.winding, len(points), inputs=inputs, outputs=[out], device=self.device)
        return np.asarray(out.numpy() > 0.5)

    def occluded(self, origins: NDArray[Any], directions: NDArray[Any], reach: float = 1e30) -> NDArray[np.bool_]:
        """Return (N,) bool: does a ray from (N, 3) `origins` along (N, 3) `directions` hit within `reach` lengths?"""
        import warp as wp

        from robench.geometry import _kernels

        if len(origins) == 0:
            return np.zeros(0, bool)
        along = wp.array(np.ascontiguousarray(directions, np.float32), dtype=wp.vec3, device=self.device)
        out = wp.empty(len(origins), dtype=wp.int32, device=self.device)
        starts = wp.array(self._local(origins).astype(np.float32), dtype=wp.vec3, device=self.device)
        inputs = [self.tree.id, starts, along, min(float(reach), 1e30)]
        wp.launch(_kernels.occluded, len(origins), inputs=inputs, outputs=[out], device=self.device)
        return np.asarray(out.numpy() > 0)


class MovedSurface(Surface):
    """A rigidly moved mesh that is asked about where it came from, so that trees are built once for all its places.

    Rays have a tree of its own, made when the first is cast.

    Args:
        mesh: ``origin.transformed(matrix)``.
        origin: The surface of the mesh that was moved.
        matrix: (4, 4) rigid map.

    Raises:
        ValueError: As `Surface`; or if the map is not rigid.
    """

    def __init__(self, mesh: Mesh, origin: Surface, matrix: NDArray[np.float64]) -> None:
        super().__init__(mesh, origin.device)
        turn = np.asarray(matrix, np.float64)[:3, :3]
        if not np.allclose(turn @ turn.T, np.eye(3), atol=1e-6) or np.linalg.det(turn) < 0:
            raise ValueError("only a rigid map keeps distances")
        self._origin, self._turn, self._shift = origin, turn, np.asarray(matrix, np.float64)[:3, 3]

    def _back(self, points: NDArray[Any]) -> NDArray[np.float64]:
        _check_points(points)
        return np.asarray((np.asarray(points, np.float64).reshape(-1, 3) - self._shift) @ self._turn)

    @functools.cached_property
    def watertight(self) -> bool:
        """As the origin."""
        return self._origin.watertight

    def distances(self, points: NDArray[Any]) -> NDArray[np.float32]:
        """As `Surface.distances`."""
        return self._origin.distances(self._back(points))

    def nearest(self, points: NDArray[Any]) -> NDArray[np.float64]:
        """As `Surface.nearest`."""
        return np.asarray(self._origin.nearest(self._back(points)) @ self._turn.T + self._shift)

    def signed_distances(self, points: NDArray[Any], closed: bool = True) -> NDArray[np.float32]:
        """As `Surface.signed_distances`."""
        return self._origin.signed_distances(self._back(points), closed)

    def inside(self, points: NDArray[Any]) -> NDArray[np.bool_]:
        """As `Surface.inside`."""
        return self._origin.inside(self._back(points))


def _check_points(points: NDArray[Any]) -> None:
    if not np.isfinite(points).all():
        raise ValueError("points must be finite")


def _nearby_in_turn(points: NDArray[Any]) -> NDArray[np.int32]:
    """Return an order of (N, 3) points, N >= 1, in which neighbours meet the same, still cached nodes of a tree."""
    low, high = bounds(points)
    size = max(float((high - low).max()), 1e-30)
    x, y, z = (((points[:, axis] - low[axis]) * (31.999 / size)).astype(np.intp) for axis in range(3))
    return np.argsort(_SPREAD[x] | _SPREAD[y] << 1 | _SPREAD[z] << 2, kind="stable").astype(np.int32)


_KEPT: WeakKeyDictionary[Mesh, dict[str, Surface]] = WeakKeyDictionary()


def surface_of(mesh: Mesh, device: str = "cpu") -> Surface:
    """Return the mesh's `Surface`, made once per mesh object and device and dropped with the mesh.

    Raises:
        ValueError: As `Surface`.
    """
    name = resolve_device(device)
    kept = _KEPT.setdefault(mesh, {})
    if name not in kept:
        kept[name] = Surface(mesh, name)
    return kept[name]


def moved(mesh: Mesh, matrix: NDArray[np.float64], device: str = "cpu") -> Mesh:
    """Return a rigidly moved mesh that shares the trees of the one that it came from.

    Args:
        mesh: Kept by the caller for as long as trees shall be shared.
        matrix: (4, 4) rigid map.
        device: Where the trees are.

    Raises:
        ValueError: As `Surface`; or if the map is not rigid.
    """
    there = mesh.transformed(matrix)
    if not mesh.is_empty:
        name = resolve_device(device)
        _KEPT.setdefault(there, {})[name] = MovedSurface(there, surface_of(mesh, name), matrix)
    return there


def point_to_surface(
    points: NDArray[Any], vertices: NDArray[Any], faces: NDArray[Any], device: str = "cpu"
) -> NDArray[np.float32]:
    """Return the exact distance of each point to a triangle mesh.

    Args:
        points: (N, 3), finite.
        vertices: (V, 3), finite, same unit and frame.
        faces: (F, 3) vertex indices.
        device: ``cpu``, ``cuda``, ``cuda:N`` or ``auto``.

    Returns:
        (N,) float32 distances in the same unit.

    Raises:
        ValueError: If the mesh has no face or no area, or anything is not finite.
    """
    return Surface(Mesh(vertices, faces), device).distances(points)


def signed_distance(points: NDArray[Any], mesh: Mesh, device: str = "cpu") -> NDArray[np.float32]:
    """Return (N,) float32 distances of (N, 3) points to a watertight mesh, negative inside. See `Surface`."""
    return surface_of(mesh, device).signed_distances(points)


def contains(points: NDArray[Any], mesh: Mesh, device: str = "cpu") -> NDArray[np.bool_]:
    """Return (N,) bool: which of the (N, 3) points lie inside a watertight mesh (winding number above one half).

    Raises:
        ValueError: If the mesh is empty or not watertight.
    """
    surface = surface_of(mesh, device)
    if not surface.watertight:
        raise ValueError("inside and outside need a watertight mesh; this one has open edges")
    return surface.inside(points)
