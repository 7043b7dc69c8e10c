"""The classifier taken apart gives the network's own occupancies."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from baselines.pifu.network import Encoded, ShapeNet
from baselines.pifu.parity import TINY
from baselines.pifu.rays import SMALLEST, Portions, RayClassifier, arithmetic

RESOLUTION = 16
NODES = RESOLUTION + 1
VARIANTS = [{}, {"residual": False}, {"skip_hourglass": True}, {"mlp": (1,)}]


def scene(**options):
    torch.manual_seed(0)
    net = ShapeNet(replace(TINY, **options)).eval()
    with torch.inference_mode():
        encoded = net.filter(torch.randn(3, 3, 64, 64))
    encoded.maps = [m * 3 for m in encoded.maps]
    return net, encoded


def of(encoded, i):
    return Encoded([m[i : i + 1] for m in encoded.maps], encoded.stem[i : i + 1], encoded.reduced[i : i + 1])


def some_nodes(images, count):
    generator = torch.Generator().manual_seed(1)
    return torch.randperm(images * NODES**3, generator=generator)[:count].sort().values


def expected(net, encoded, keys):
    """What the network itself says of the same points: y up, so the calibration turns it."""
    rest = keys % NODES**3
    points = torch.stack([rest // NODES**2, rest // NODES % NODES, rest % NODES]).float() * (2 / RESOLUTION) - 1
    calib = torch.diag(torch.tensor([1.0, -1.0, 1.0, 1.0]))[None]
    found = torch.empty(len(keys))
    for i in range(len(encoded.stem)):
        mine = keys // NODES**3 == i
        found[mine] = net.query(of(encoded, i), points[None, :, mine], calib)[-1][0, 0]
    return found


@pytest.mark.parametrize("options", VARIANTS, ids=str)
@torch.inference_mode()
def test_occupancies_are_the_networks(options):
    net, encoded = scene(**options)
    keys = some_nodes(3, 4000)
    found, truth = RayClassifier(net).lattice(encoded, RESOLUTION)(keys), expected(net, encoded, keys)
    assert truth.std() > 1e-4
    np.testing.assert_allclose(found, truth, rtol=0, atol=1e-6)


@torch.inference_mode()
def test_the_same_nodes_get_the_same_bits_each_time_and_nearly_so_in_any_portion():
    net, encoded = scene()
    keys = some_nodes(3, 4000)
    rays = RayClassifier(net)
    found = rays.lattice(encoded, RESOLUTION)(keys)
    assert torch.equal(found, rays.lattice(encoded, RESOLUTION)(keys))
    for chunk in (256, 512, 8192):
        other = RayClassifier(net, chunk=chunk).lattice(encoded, RESOLUTION)(keys)
        np.testing.assert_allclose(found, other, rtol=0, atol=1e-6)


@torch.inference_mode()
def test_nothing_asked_is_nothing_answered():
    net, encoded = scene()
    assert RayClassifier(net).lattice(encoded, RESOLUTION)(torch.zeros(0, dtype=torch.int64)).shape == (0,)


@torch.inference_mode()
def test_bfloat16_rounds():
    net, encoded = scene()
    keys = some_nodes(3, 4000)
    low = RayClassifier(net, "bfloat16").lattice(encoded, RESOLUTION)(keys)
    error = (low - expected(net, encoded, keys)).abs().max()
    assert 1e-6 < error < 2e-2


def test_several_views_are_refused():
    with pytest.raises(ValueError, match="2 views"):
        RayClassifier(ShapeNet(replace(TINY, num_views=2)))


def test_portions_halve_and_go_on():
    asked = []

    def some(first, last):
        asked.append((first, last))
        if last - first > 700 and first > 0:
            raise torch.OutOfMemoryError("no")
        return [torch.arange(first, last)]

    portions = Portions(1024)
    assert torch.equal(torch.cat(portions.run(some, 2000)), torch.arange(2000))
    assert asked == [(0, 1024), (1024, 2000), (1024, 1536), (1536, 2000)]
    assert portions.size == 512
    # Of a smaller share too, but never below the least.
    assert [len(p) for p in portions.run(lambda a, b: [torch.arange(a, b)], 600, share=4)] == [256, 256, 88]


def test_portions_give_up_at_the_smallest():
    sizes = []

    def never(first, last):
        sizes.append(last - first)
        raise torch.OutOfMemoryError("no")

    with pytest.raises(torch.OutOfMemoryError):
        Portions(1024).run(never, 5000)
    assert sizes == [1024, 512, SMALLEST]


@pytest.mark.parametrize(("precision", "inside"), [("float32", "ieee"), ("tf32", "tf32"), ("bfloat16", "ieee")])
def test_arithmetic_is_set_for_a_while(precision, inside):
    """Settings of the process, which exist without a GPU too; they come back also after an error."""
    places = (torch.backends.cuda.matmul, torch.backends.cudnn.conv)
    before = [p.fp32_precision for p in places]
    seen = []

    def fails():
        with arithmetic(torch.device("cuda"), precision):
            seen.extend(p.fp32_precision for p in places)
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert seen == [inside, inside]
    assert [p.fp32_precision for p in places] == before
    with arithmetic(torch.device("cpu"), precision):
        assert [p.fp32_precision for p in places] == before
