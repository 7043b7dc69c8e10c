"""Reconstruction on a GPU is the CPU's within what docstrings promise; where there is none, that is shown as a skip."""

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from baselines.pifu import PifuMini
from robench.contracts import Reconstruction, Request
from robench.testing import example_camera, example_image, example_mask

SHAPE = (256, 256)
VOXEL_CM = 200 / 128


def asked(count=5):
    image, mask, camera = example_image(SHAPE), example_mask(SHAPE), example_camera(SHAPE)
    return [Request(str(i), np.roll(image, 4 * i, 1), np.roll(mask, 4 * i, 1), camera) for i in range(count)]


def made(device, requests, **options):
    model = PifuMini(**options)
    model.open(device)
    try:
        found = model.reconstruct(requests)
    finally:
        model.close()
    assert all(isinstance(result, Reconstruction) for result in found)
    return found


def apart(a, b):
    """Greatest distance from a vertex of either mesh to the nearest one of the other, in voxels."""
    x, y = a.mesh.vertices, b.mesh.vertices
    return max(cKDTree(x).query(y)[0].max(), cKDTree(y).query(x)[0].max()) / VOXEL_CM


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_float32_on_cuda_is_the_cpus():
    for gpu, cpu in zip(made("cuda", asked()), made("cpu", asked()), strict=True):
        assert apart(gpu, cpu) < 0.1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_batch_on_cuda_rounds_at_most():
    alone = [made("cuda", [request])[0] for request in asked()]
    for one, other in zip(alone, made("cuda", asked()), strict=True):
        assert apart(one, other) < 0.01


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("precision", ["tf32", "bfloat16"])
def test_other_precisions_are_near_and_leave_the_processs_settings(precision):
    places = (torch.backends.cuda.matmul, torch.backends.cudnn.conv)
    before = [p.fp32_precision for p in places]
    for low, exact in zip(made("cuda", asked(2), precision=precision), made("cuda", asked(2)), strict=True):
        assert np.median(cKDTree(exact.mesh.vertices).query(low.mesh.vertices)[0]) < 0.25 * VOXEL_CM
    assert [p.fp32_precision for p in places] == before
