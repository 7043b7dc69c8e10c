"""Training-time augmentation: the same draw whatever the worker, every kind of picture, maps that follow."""

import collections
import copy
import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from corruption_pictures import CARDS, person
from PIL import Image
from torch.utils.data import DataLoader

import corruptions
from corruptions import Corrupted, MissingInput
from corruptions._seeds import pixel_key
from corruptions.torch_transform import CorruptedDataset, RandomCorruption, harmless

ROOT = Path(__file__).resolve().parents[2]
SHAPE = (40, 48)
IMAGE, DEPTH, MASK = person(*SHAPE)


class People:
    """A map-style data set of dicts, as tensors."""

    def __init__(self, count=6):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if not 0 <= index < self.count:
            raise IndexError(index)
        image, depth, _ = person(*SHAPE, seed=index % self.count)
        return {
            "image": torch.from_numpy(np.ascontiguousarray(np.moveaxis(image, -1, 0))),
            "depth": torch.from_numpy(depth)[None],
            "label": index,
        }


def _noisy(**options):
    return RandomCorruption(["iso_noise", "fog_3d", "low_light"], note="done", **options)


def _seen(loader):
    return {
        int(label): (batch["image"][i].numpy().tobytes(), batch["done"][i])
        for batch in loader
        for i, label in enumerate(batch["label"])
    }


def test_draw_is_that_of_the_library_by_key_and_epoch():
    transform = RandomCorruption(["iso_noise"], severities=[2], seed=4)
    expected = corruptions.corrupt(IMAGE, "iso_noise", 2, 4, key="person@0")
    assert np.array_equal(transform(IMAGE, key="person"), expected)
    transform.set_epoch(3)
    expected = corruptions.corrupt(IMAGE, "iso_noise", 2, 4, key="person@3")
    assert np.array_equal(transform(IMAGE, key="person"), expected)
    assert transform.epoch == 3


def test_seed_epoch_and_key_each_matter_and_nothing_else():
    def picture(seed, epoch, key):
        transform = RandomCorruption(["iso_noise"], severities=[2], seed=seed)
        transform.set_epoch(epoch)
        torch.rand(seed + epoch + key)
        return transform(IMAGE, key=key).tobytes()

    made = {(s, e, k): picture(s, e, k) for s in (0, 1) for e in (0, 1) for k in (0, 1)}
    assert len(set(made.values())) == 8
    assert all(picture(*cell) == result for cell, result in reversed(made.items()))
    state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    picture(0, 0, 0)
    assert torch.equal(state[0], torch.get_rng_state())
    assert np.array_equal(state[1], np.random.get_state()[1])  # noqa: NPY002


def test_without_a_key_the_pixels_are_the_key():
    transform = RandomCorruption(["iso_noise", "low_light"], seed=1)
    assert np.array_equal(transform(IMAGE), transform(IMAGE.copy(), key=pixel_key(IMAGE)))
    assert not np.array_equal(transform(IMAGE), transform(IMAGE, key="another"))


def test_choices_are_even_and_p_is_the_share():
    transform = _noisy(p=0.75, severities=(1, 3))
    sample = {"image": IMAGE[:32, :32], "depth": DEPTH[:32, :32]}
    notes = collections.Counter(transform(sample, key=k)["done"] for k in range(600))
    untouched = notes.pop("")
    assert untouched / 600 == pytest.approx(0.25, abs=0.06)
    assert set(notes) == {f"{name}:{s}" for name in ("iso_noise", "fog_3d", "low_light") for s in (1, 3)}
    assert min(notes.values()) > 0.6 * 450 / 6
    assert max(notes.values()) < 1.4 * 450 / 6


def test_a_smaller_p_leaves_more_samples_alone_and_the_others_as_they_were():
    sample = {"image": IMAGE, "depth": DEPTH}
    often, seldom = ([_noisy(p=p)(sample, key=k) for k in range(24)] for p in (0.9, 0.4))
    touched = [k for k in range(24) if seldom[k]["done"]]
    assert 0 < len(touched) < sum(bool(s["done"]) for s in often)
    for k in touched:
        assert seldom[k]["done"] == often[k]["done"]
        assert np.array_equal(seldom[k]["image"], often[k]["image"])
    untouched = next(s for s in seldom if not s["done"])
    assert untouched["image"] is IMAGE


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("channels", [None, 1, 3, 4])
def test_tensors_are_corrupted_as_arrays_are(dtype, channels):
    transform = RandomCorruption(["color_quant"], severities=[3])
    array = np.dstack([IMAGE, IMAGE[..., :1]]) & 0xF0
    array = array[..., 0] if channels is None else array[..., :channels]
    tensor = torch.from_numpy(np.ascontiguousarray(array if channels is None else np.moveaxis(array, -1, 0)))
    floating = dtype != torch.uint8
    result = transform((tensor / 255).to(dtype) if floating else tensor, key=0)
    assert result.dtype == dtype
    assert result.shape == tensor.shape
    assert result.is_contiguous()
    expected = transform(array, key=0)
    expected = torch.from_numpy(expected if channels is None else np.moveaxis(expected, -1, 0))
    if floating:
        assert torch.equal(result, (expected.to(dtype) / 255))
    else:
        assert torch.equal(result, expected)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_pil_images_stay_pil_images(mode):
    picture = Image.fromarray(IMAGE).convert(mode)
    result = RandomCorruption(["iso_noise"], severities=[1])(picture, key=0)
    assert result.mode == mode
    expected = corruptions.corrupt(np.asarray(picture), "iso_noise", 1, key="0@0")
    assert np.array_equal(np.asarray(result), expected)


Pair = collections.namedtuple("Pair", "picture label")


@pytest.mark.parametrize("sample", [(IMAGE, 7), [IMAGE, 7], Pair(IMAGE, 7)])
def test_pairs_of_picture_and_label(sample):
    result = RandomCorruption(["iso_noise"])(sample, key=1)
    assert type(result) is type(sample)
    assert result[1] == 7
    assert np.array_equal(result[0], RandomCorruption(["iso_noise"])(IMAGE, key=1))


def test_mapping_is_not_changed_and_keeps_the_rest():
    sample = {"rgb": IMAGE.copy(), "z": DEPTH.copy(), "label": [1]}
    kept = copy.deepcopy(sample)
    result = RandomCorruption(["fog_3d"], image="rgb", depth="z")(sample, key=0)
    assert set(sample) == set(kept) == set(result)
    assert np.array_equal(sample["rgb"], kept["rgb"])
    assert result["label"] is sample["label"]
    assert result["z"] is sample["z"]
    assert not np.array_equal(result["rgb"], sample["rgb"])


@pytest.mark.parametrize("as_tensor", [False, True])
def test_mask_and_depth_go_along_with_pixels_that_move(as_tensor):
    sample = {"image": IMAGE, "depth": DEPTH, "mask": MASK}
    if as_tensor:
        sample = {"image": torch.from_numpy(np.moveaxis(IMAGE, -1, 0).copy())} | {
            k: torch.from_numpy(sample[k])[None] for k in ("depth", "mask")
        }
    moved = RandomCorruption(["camera_roll"], severities=[3])(sample, key=0)
    for key in ("depth", "mask"):
        assert type(moved[key]) is type(sample[key])
        assert moved[key].dtype == sample[key].dtype
        assert moved[key].shape == sample[key].shape
    depth, mask = (np.asarray(moved[key]).reshape(SHAPE) for key in ("depth", "mask"))
    assert not np.array_equal(mask, MASK)
    assert np.isinf(depth[0, 0])
    assert np.array_equal(np.isfinite(depth), mask)
    assert set(np.unique(depth)) <= set(np.unique(DEPTH))


class _Redrawn:
    """Gives a picture with a mask and a depth of its own."""

    card = corruptions.Card("redrawn", "1", "draws maps anew", extra={"severities": {s: {} for s in range(1, 6)}})
    moves_pixels = True

    def sample(self, severity, shape, rng):
        return {}

    def apply(self, image, params, aux):
        mask = np.linspace(0, 1, aux.mask.size, dtype=np.float32).reshape(aux.mask.shape)
        return Corrupted(image.copy(), mask=mask, depth=aux.depth + 1)


@pytest.mark.parametrize(
    ("mask", "top"),
    [(MASK, True), (MASK.astype(np.uint8), 1), (MASK.astype(np.uint8) * 255, 255), (MASK.astype(np.float64), 1.0)],
)
def test_maps_that_the_corruption_drew_are_taken_in_the_old_type(mask, top):
    result = RandomCorruption([_Redrawn()])({"image": IMAGE, "depth": DEPTH, "mask": mask}, key=0)
    assert result["mask"].dtype == mask.dtype
    assert result["mask"].max() == top
    assert not np.array_equal(result["mask"], mask)
    assert np.array_equal(result["depth"], DEPTH + 1)


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_workers_and_order_change_nothing(workers):
    loader = DataLoader(
        CorruptedDataset(People(), _noisy(p=0.8)),
        batch_size=2,
        num_workers=workers,
        shuffle=True,
        generator=torch.Generator().manual_seed(workers),
        multiprocessing_context="fork" if workers else None,
    )
    seen = _seen(loader)
    transform, people = _noisy(p=0.8), People()
    assert sorted(seen) == list(range(6))
    for index in range(6):
        expected = transform(people[index], key=index)
        assert seen[index] == (expected["image"].numpy().tobytes(), expected["done"])


def test_epoch_reaches_persistent_workers_of_a_started_process():
    """Spawned: everything is pickled, and the epoch is in memory that both processes see."""
    dataset = CorruptedDataset(People(3), RandomCorruption(["iso_noise", "low_light"], note="done"))
    loader = DataLoader(dataset, num_workers=1, persistent_workers=True, multiprocessing_context="spawn")
    first = _seen(loader)
    dataset.set_epoch(1)
    second = _seen(loader)
    dataset.set_epoch(0)
    assert _seen(loader) == first
    assert all(first[i] != second[i] for i in range(3))
    transform = RandomCorruption(["iso_noise", "low_light"])
    transform.set_epoch(1)
    assert second[2][0] == transform(People()[2], key=2)["image"].numpy().tobytes()


def test_dataset_counts_from_the_end_as_lists_do():
    dataset = CorruptedDataset(People(), _noisy())
    assert len(dataset) == 6
    assert torch.equal(dataset[-1]["image"], dataset[5]["image"])
    with pytest.raises(IndexError):
        dataset[6]


def test_pickled_and_copied_transforms_draw_the_same():
    transform = RandomCorruption(p=0.9, seed=3)
    transform.set_epoch(2)
    expected = transform(IMAGE, key="k")
    for twin in (pickle.loads(pickle.dumps(transform)), copy.deepcopy(transform)):
        assert twin.epoch == 2
        assert np.array_equal(twin(IMAGE, key="k"), expected)


def test_default_is_every_corruption_that_needs_the_picture_alone():
    chosen = [c.card.name for c in RandomCorruption().corruptions]
    assert chosen == harmless()
    assert "iso_noise" in chosen
    assert not set(chosen) & {"fog_3d", "camera_roll"}
    assert all(not CARDS[name].needs for name in chosen)
    assert repr(RandomCorruption(["fog_3d"], [2])) == "RandomCorruption(['fog_3d'], severities=[2], p=1, seed=0)"


def test_missing_depth_is_told_where_it_was_looked_for():
    transform = RandomCorruption(["fog_3d"], depth="z")
    for sample in (IMAGE, (IMAGE, 1), {"image": IMAGE, "depth": DEPTH}):
        with pytest.raises(MissingInput, match=r"fog_3d needs a depth map, got none.*'z' of a mapping"):
            transform(sample, key=0)


@pytest.mark.parametrize(
    ("sample", "error", "message"),
    [
        ({"picture": IMAGE}, ValueError, "no 'image', only 'picture'"),
        ("IMG.png", TypeError, "got str"),
        (torch.zeros(2, 3, 40, 40), ValueError, r"one picture at a time, channels first"),
        (torch.zeros(40, 48, 3, dtype=torch.uint8), ValueError, r"got \(40, 48, 3\)"),
        (torch.zeros(3, 40, 40, dtype=torch.int64), TypeError, "uint8 or floating point, got torch.int64"),
        (torch.full((3, 40, 40), 1.5), ValueError, "from 0 to 1, got 1.5 to 1.5; corrupt before you normalise"),
        (torch.full((3, 40, 40), float("nan")), ValueError, "from 0 to 1, got nan"),
        (Image.new("P", (40, 40)), TypeError, "got P; use convert"),
        (IMAGE.astype(np.float32), TypeError, "uint8"),
        ({"image": IMAGE, "mask": np.zeros((3, *SHAPE, 1))}, ValueError, r"must be \(H, W\).*got \(3, 40, 48, 1\)"),
        ({"image": IMAGE, "depth": np.ones(SHAPE, np.int32)}, TypeError, "floating-point metres, got int32"),
    ],
)
def test_what_is_no_sample_is_told(sample, error, message):
    with pytest.raises(error, match=message):
        RandomCorruption(["iso_noise"])(sample, key=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"names": "iso_noise"}, r"got the string 'iso_noise'; write \['iso_noise'\]"),
        ({"names": []}, "at least one name"),
        ({"names": ["smog"]}, "no corruption 'smog'"),
        ({"severities": []}, "from 1 to 5, got"),
        ({"severities": [0]}, "from 1 to 5, got"),
        ({"severities": [True]}, "from 1 to 5, got"),
        ({"p": 1.5}, "probability from 0 to 1, got 1.5"),
        ({"p": float("nan")}, "probability"),
    ],
)
def test_what_cannot_be_asked_for_is_told(options, message):
    with pytest.raises(ValueError, match=message):
        RandomCorruption(**options)


def test_arrays_need_no_torch():
    code = (
        "import sys, json, numpy as np\n"
        "from corruptions.torch_transform import RandomCorruption\n"
        "image = np.full((32, 32, 3), 90, np.uint8)\n"
        "out = RandomCorruption(['iso_noise'], seed=2)({'image': image}, key='k')['image']\n"
        "print(json.dumps([int(out.sum()), 'torch' in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    total, loaded = json.loads(done.stdout)
    assert not loaded
    flat = np.full((32, 32, 3), 90, np.uint8)
    assert total == RandomCorruption(["iso_noise"], seed=2)(flat, key="k").sum()
