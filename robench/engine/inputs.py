"""What lies on disk for one sample, and what follows from it: picture, mask, depth, camera, the mesh behind it."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from robench.contracts import Camera, Depth, Image, Mask, Sample
from robench.data.depth_sources import DepthMap, DepthSources
from robench.errors import SampleFailure
from robench.io.files import sha256_file

if TYPE_CHECKING:
    from robench.rendering.scene import MeshScene

GIVEN_OR_MESH = DepthSources()
"""Where depth comes from if nothing else is asked for: the sample's file, else its ground-truth mesh."""


class Inputs:
    """What lies on disk for a sample, read when first asked for and kept; depth may be made.

    Args:
        sample: The sample.
        depths: Where its depth comes from.
    """

    def __init__(self, sample: Sample, depths: DepthSources = GIVEN_OR_MESH) -> None:
        self.sample = sample
        self.depths = depths

    @functools.cached_property
    def image(self) -> Image:
        """(H, W, 3) uint8 sRGB."""
        from robench.io.images import read_image

        return read_image(self.sample.image)

    @functools.cached_property
    def source_sha256(self) -> str:
        """Hash of the picture's file."""
        return sha256_file(self.sample.image)

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W) of the picture."""
        return self.image.shape[0], self.image.shape[1]

    @functools.cached_property
    def mask(self) -> Mask | None:
        """(H, W) float32 true mask of the clean picture, or None."""
        from robench.io.images import read_mask

        return None if self.sample.mask is None else read_mask(self.sample.mask, self.shape)

    @functools.cached_property
    def depth_map(self) -> DepthMap | None:
        """The depth and where it came from, or None."""
        return self.depths.read(self.sample, self.image, self._rendered)

    @property
    def depth(self) -> Depth | None:
        """(H, W) float32 metres, or None."""
        return None if self.depth_map is None else self.depth_map.depth

    def _rendered(self) -> Depth:
        assert self.scene is not None
        return self.scene.depth()

    @functools.cached_property
    def scene(self) -> MeshScene | None:
        """The ground-truth mesh before the sample's camera, for corruptions that re-light or re-render; or None."""
        if self.sample.mesh is None or self.sample.camera is None:
            return None
        from robench.io.meshes import read_mesh
        from robench.rendering.scene import MeshScene

        return MeshScene(read_mesh(self.sample.mesh), self.camera)

    @property
    def has_scene_in_memory(self) -> bool:
        """True if the mesh has been asked for and is kept."""
        return self.__dict__.get("scene") is not None

    def forget_scene(self) -> bool:
        """Free the mesh and its tree, by far the largest things here; they are read again if asked for again.

        Returns:
            True if there was a mesh in memory.
        """
        return self.__dict__.pop("scene", None) is not None

    @property
    def camera(self) -> Camera:
        """The sample's camera, or the one that a plain photograph is taken to have."""
        from robench.data.folder import default_camera

        height, width = self.shape
        camera = self.sample.camera
        if camera is None:
            return default_camera(height, width, self.mask)
        if (camera.width, camera.height) != (width, height):
            raise SampleFailure(
                "failed", f"the camera is for {camera.width}x{camera.height} pixels, the picture has {width}x{height}"
            )
        return camera
