"""The reference `mean-body`: a fixed body, fitted to the mask's box and to nothing else."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import baselines.mean_body as mean_body
from baselines.mean_body import ASSET, ASSET_SHA256, MeanBody, bounding_box, fit_to_box, sha256_of
from robench.contracts import Camera, Failure, Reconstruction, Request
from robench.errors import EnvironmentNotReady, Mismatch, UsageError


def camera(**changes: object) -> Camera:
    return replace(Camera(np.eye(4), scale=2.5, centre=(255.5, 255.5), width=512, height=512), **changes)  # type: ignore[arg-type]


def request(mask: np.ndarray, cam: Camera | None = None, image: np.ndarray | None = None) -> Request:
    image = np.zeros((*mask.shape, 3), np.uint8) if image is None else image
    return Request("s", image, mask.astype(np.float32), cam or camera())


def person(top: int = 40, bottom: int = 480, left: int = 200, right: int = 300) -> np.ndarray:
    mask = np.zeros((512, 512), np.float32)
    mask[top:bottom, left:right] = 1
    return mask


@pytest.fixture(scope="module")
def model() -> MeanBody:
    body = MeanBody()
    report = body.open("cpu")
    assert (report.device, report.checkpoint_sha256) == ("cpu", ASSET_SHA256)
    return body


def only(model: MeanBody, req: Request) -> Reconstruction:
    (result,) = model.reconstruct([req])
    assert isinstance(result, Reconstruction)
    return result


def test_asset_is_the_hashed_reference() -> None:
    assert sha256_of(ASSET) == ASSET_SHA256 == MeanBody.card.extra["checkpoint_sha256"]
    assert ASSET_SHA256 in ASSET.with_name("CARD.md").read_text(encoding="utf-8")


def test_body_is_one_closed_surface_facing_outwards(model: MeanBody) -> None:
    mesh = only(model, request(person())).mesh
    v, f = mesh.vertices.astype(np.float64), mesh.faces
    directed = Counter(map(tuple, np.concatenate([f[:, [0, 1]], f[:, [1, 2]], f[:, [2, 0]]]).tolist()))
    assert all(count == 1 and directed[b, a] == 1 for (a, b), count in directed.items())
    volume = np.einsum("ij,ij->i", v[f[:, 0]], np.cross(v[f[:, 1]], v[f[:, 2]])).sum() / 6
    height = np.ptp(v[:, 1])
    # A person of density 1 at this height weighs between 40 and 80 kg per 170 cm.
    assert 40_000 < volume * (170 / height) ** 3 < 80_000


def test_body_stands_upright_and_faces_the_viewer(model: MeanBody) -> None:
    v = only(model, request(person())).mesh.vertices
    up = (v[:, 1] - v[:, 1].min()) / np.ptp(v[:, 1])
    feet, shoulders, head = v[up < 0.02], v[(up > 0.7) & (up < 0.8)], v[up > 0.9]
    assert np.ptp(head[:, 0]) < np.ptp(shoulders[:, 0])
    # Toes and nose point to the viewer: the feet reach further to the front than the ankles behind them.
    ankles = v[(up > 0.04) & (up < 0.08)]
    assert feet[:, 2].max() > ankles[:, 2].max() + 3
    # Left and right are alike round the centre of the box.
    assert v[:, 0].min() + v[:, 0].max() == pytest.approx(2 * (249.5 - 255.5) / 2.5, abs=0.01)


@pytest.mark.parametrize("kind", ["orthographic", "pinhole"])
def test_projected_box_matches_the_mask(model: MeanBody, kind: str) -> None:
    cam = camera() if kind == "orthographic" else camera(kind="pinhole", scale=2500.0)
    mesh = only(model, request(person(), cam)).mesh
    uv = cam.project(mesh.vertices)[:, :2]  # world and view frame are the same here
    tolerance = 0.01 if kind == "orthographic" else 6.0  # a foot 15 cm nearer than 10 m is 1.5 % larger
    assert uv[:, 1].min() == pytest.approx(39.5, abs=tolerance)
    assert uv[:, 1].max() == pytest.approx(479.5, abs=tolerance)
    assert (uv[:, 0].min() + uv[:, 0].max()) / 2 == pytest.approx(249.5, abs=tolerance)
    assert (mesh.vertices[:, 2].min() + mesh.vertices[:, 2].max()) / 2 == pytest.approx(0.0, abs=1e-3)


def test_height_in_centimetres_follows_the_camera(model: MeanBody) -> None:
    mask = person(100, 450)
    for scale in (1.0, 2.0, 4.0):
        mesh = only(model, request(mask, camera(scale=scale))).mesh
        assert np.ptp(mesh.vertices[:, 1]) == pytest.approx(350 / scale, rel=1e-5)


def test_nothing_but_the_box_is_looked_at(model: MeanBody) -> None:
    mask = person()
    hollow = mask.copy()
    hollow[60:460, 210:290] = 0
    noisy = np.random.default_rng(0).integers(0, 256, (512, 512, 3), dtype=np.uint8)
    wanted = only(model, request(mask)).mesh.vertices
    turned = camera(view_from_world=np.diag([-1.0, 1.0, -1.0, 1.0]))
    for other in (request(hollow), request(mask * 0.6), request(mask, image=noisy), request(mask, turned)):
        np.testing.assert_array_equal(only(model, other).mesh.vertices, wanted)
    assert only(model, request(mask)).inputs_read == {"mask", "camera"}


def test_moving_the_mask_moves_the_body(model: MeanBody) -> None:
    a = only(model, request(person(40, 400, 100, 200))).mesh.vertices
    b = only(model, request(person(60, 420, 150, 250))).mesh.vertices
    np.testing.assert_allclose(b - a, np.broadcast_to([50 / 2.5, -20 / 2.5, 0], a.shape), atol=1e-3)


def test_batch_does_not_change_a_result(model: MeanBody) -> None:
    requests = [request(person(40, 200 + 30 * i)) for i in range(4)]
    for together, req in zip(model.reconstruct(requests), requests, strict=True):
        assert isinstance(together, Reconstruction)
        np.testing.assert_array_equal(together.mesh.vertices, only(model, req).mesh.vertices)


def test_blank_mask_is_a_failure_and_its_neighbours_are_not(model: MeanBody) -> None:
    first, blank, last = model.reconstruct([request(person()), request(person() * 0.4), request(person())])
    assert isinstance(blank, Failure)
    assert blank.kind == "no_detection"
    assert isinstance(first, Reconstruction)
    assert isinstance(last, Reconstruction)


def test_bounding_box_by_hand() -> None:
    mask = np.zeros((10, 12), np.float32)
    assert bounding_box(mask) is None
    mask[3, 5] = 1
    assert bounding_box(mask) == (4.5, 2.5, 5.5, 3.5)
    mask[7, 2] = 0.51
    mask[9, 11] = 0.5
    assert bounding_box(mask) == (1.5, 2.5, 5.5, 7.5)


def test_fit_by_hand() -> None:
    cube = np.array([[x, y, z] for x in (0, 2) for y in (0, 2) for z in (0, 2)], np.float32)
    cam = Camera(np.eye(4), scale=2.0, centre=(10.0, 10.0), width=40, height=40)
    fitted = fit_to_box(cube, (9.5, 3.5, 19.5, 13.5), cam)
    np.testing.assert_allclose(fitted.min(axis=0), [-0.25, -1.75, -2.5])  # 10 px = 5 cm, centre (14.5, 8.5) px
    np.testing.assert_allclose(fitted.max(axis=0), [4.75, 3.25, 2.5])


def test_what_cannot_be_opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    body = MeanBody()
    with pytest.raises(UsageError, match="not open"):
        body.reconstruct([request(person())])
    with pytest.raises(UsageError, match="takes no checkpoint"):
        body.open("cpu", tmp_path / "other.safetensors")
    with pytest.raises(UsageError, match="device"):
        body.open("abacus")
    assert body.open("cuda").device == "cpu"
    body.close()
    with pytest.raises(UsageError, match="not open"):
        body.reconstruct([request(person())])

    changed = tmp_path / "body.safetensors"
    changed.write_bytes(ASSET.read_bytes()[:-1] + b"\x7f")
    monkeypatch.setattr(mean_body, "ASSET", changed)
    with pytest.raises(Mismatch, match="was changed"):
        body.open("cpu")
    changed.unlink()
    with pytest.raises(EnvironmentNotReady, match="missing"):
        body.open("cpu")


def test_outer_skin_keeps_the_largest_part() -> None:
    from baselines.mean_body.make import outer_skin

    big = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]], float)
    small = np.array([[5, 5, 5], [6, 5, 5], [5, 6, 5]], float)
    faces = np.array([[0, 1, 2], [3, 4, 5], [3, 5, 6], [5, 6, 7]])
    vertices, kept = outer_skin(np.concatenate([small, big]), faces)
    np.testing.assert_array_equal(vertices, big)
    np.testing.assert_array_equal(kept, [[0, 1, 2], [0, 2, 3], [2, 3, 4]])
