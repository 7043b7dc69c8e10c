"""Training of PIFuHD by PIFu's trainer, level by level: normal networks, coarse level, fine level.

Each level is frozen, as its averaged weights, when the next one begins; so a level costs its own memory alone.
Source: Saito et al., PIFuHD, CVPR 2020, sections 3.2 to 3.4 and 4.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save
from torch import Tensor, nn

from baselines.pifu.items import opened
from baselines.pifu.network import index, init_weights
from baselines.pifu.train_config import read_train_config
from baselines.pifu.train_state import STATE_FILE, Phase, load_state_file
from baselines.pifu.training import MODEL_FILE, Run, fit
from baselines.pifuhd.checkpoint import save_own
from baselines.pifuhd.items import LEVELS, HDBatch, HDItem, Level, hd_item, level_batch, validation_batch
from baselines.pifuhd.network import PifuHDNet
from baselines.pifuhd.train_config import PifuHDTrainConfig
from robench import rng as seeds
from robench.io.files import sha256_file, write_bytes_atomic

# Of a time limit, so much is gone when a level must end.
_UNTIL: Mapping[Level, float] = {"normals": 0.25, "coarse": 0.6, "fine": 1.0}


def train(
    config_path: Path,
    data: Path,
    out: Path,
    *,
    device: str = "auto",
    resume: bool = False,
    max_minutes: float | None = None,
) -> Path:
    """Train a PIFuHD on a data set; arguments, results and errors as of `baselines.pifu.training.train`.

    Args:
        config_path: YAML options, see `PifuHDTrainConfig`.
        data: Root of a data set.
        out: Run folder; also keeps rendered normals.
        device: ``cpu``, ``cuda``, ``cuda:N`` or ``auto``.
        resume: Go on with the run in `out`: from the first level that a time limit cut short, so that the end is the
            one of a run that was not stopped.
        max_minutes: Stop after so long, each level in time for the next ones; weights are written.
    """
    config = read_train_config(config_path, PifuHDTrainConfig)
    training, validation, facts = opened(data)
    limits: dict[str, Any] = {"device": device, "resume": resume, "max_minutes": max_minutes}
    return fit(config, training, validation, out, facts, kind=PifuHDRun, make=hd_item, **limits)


def part_of(net: PifuHDNet, level: Level) -> nn.ModuleDict:
    """Return the modules of a network that a level trains."""
    if level == "normals":
        return nn.ModuleDict({"netF": net.netG.netF, "netB": net.netG.netB})
    home = net.netG if level == "coarse" else net
    return nn.ModuleDict({"image_filter": home.image_filter, "mlp": home.mlp})


def occupancy_loss(found: Tensor, labels: Tensor, counted: Tensor) -> Tensor:
    """Return the mean binary cross-entropy of occupancies over the points that count; all are (B, 1, N).

    Points are drawn half inside and half outside, for which the published weight of each kind is one half: a factor.
    """
    each = F.binary_cross_entropy(found, labels, reduction="none")
    return (each * counted).sum() / counted.sum().clamp(min=1)


def windows(pictures: Tensor, corners: Tensor, side: int) -> Tensor:
    """Cut (B, C, side, side) windows from (B, C, S, S) pictures, by left and upper pixels (B, 2)."""
    places = [(int(left), int(top)) for left, top in corners]
    cut = [p[:, y : y + side, x : x + side] for p, (x, y) in zip(pictures, places, strict=True)]
    return torch.stack(cut)


def in_window(uv: Tensor, corners: Tensor, side: int, size: int, maps: int) -> Tensor:
    """Return where points of a picture lie in a window's feature maps, in their normalised coordinates.

    The whole picture's maps are asked with the centres of their border cells at -1 and 1; a window's are asked at the
    very same cells.

    Args:
        uv: (B, 2, N) in the picture's normalised coordinates.
        corners: (B, 2) left and upper pixel of each window.
        side: Of the windows in pixels.
        size: Of the picture in pixels.
        maps: Of the windows' maps in cells.
    """
    pixels = side // maps  # a cell
    cells = (uv + 1) / 2 * (size // pixels - 1) - (corners / pixels).to(uv.dtype)[..., None]
    return cells * (2 / (maps - 1)) - 1


class PifuHDRun(Run):
    """One training run of a PIFuHD; see `Run`.

    Attributes:
        net: All levels; of those before the one in training, the averaged weights.
    """

    config: PifuHDTrainConfig
    net: PifuHDNet

    def go(self) -> Path:
        """Train level after level from where the run stands; return the exported file."""
        self.net = self._fresh_net()
        first, state = self._stand()
        begun = LEVELS.index(first)
        for level in LEVELS[begun + 1 :]:  # what is left of levels that stood on one that was cut short
            self.log.rewind(level, -1)
            self._cut_short(level).unlink(missing_ok=True)
        for place, level in enumerate(LEVELS):
            if place >= begun:
                self._train(level, state if place == begun else None)
            self._freeze(level)
        path = self.out / MODEL_FILE
        dtype = torch.float16 if self.config.export_dtype == "float16" else torch.float32
        save_own(path, self.net, self.provenance(), dtype)
        self.log.say(f"wrote {path} (sha256 {sha256_file(path)[:12]})")
        return path

    def _stand(self) -> tuple[Level, dict[str, Any] | None]:
        """Return the level to go on with, and its state: the last one, or one before it that was cut short."""
        state = load_state_file(self.out / STATE_FILE)
        if state is None:
            return LEVELS[0], None
        last = cast(Level, state["phase"])
        for level in LEVELS[: LEVELS.index(last)]:
            if (earlier := load_state_file(self._cut_short(level))) is not None:
                return level, earlier
        return last, state

    def _cut_short(self, level: Level) -> Path:
        return self.out / f"{level}.pt"

    def _train(self, level: Level, state: dict[str, Any] | None) -> None:
        part = part_of(self.net, level)
        done = self._fit(self._phase(level, part), state, self.limit * _UNTIL[level])
        if done:
            self._cut_short(level).unlink(missing_ok=True)
        else:
            shutil.copyfile(self.out / STATE_FILE, self._cut_short(level))
            self.log.say(f"the time limit stopped the level '{level}' early; --resume goes on with it")

    def _freeze(self, level: Level) -> None:
        """Put the kept weights of a level into the network, for good."""
        part = part_of(self.net, level)
        part.load_state_dict(load_file(str(self.out / f"{level}.safetensors"), device=str(self.device)))
        part.eval()
        for parameter in part.parameters():
            parameter.requires_grad_(False)

    def _fresh_net(self) -> PifuHDNet:
        seed = int(seeds.generator(self.config.seed, "PifuHDNet", "init").integers(2**62))
        # torch's own initialisation draws from the global generator; the fork leaves that as it was.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = PifuHDNet(self.config.hd)
        if self.config.init == "published":
            init_weights(net, torch.Generator().manual_seed(seed))
        return net.to(self.device)

    def _phase(self, level: Level, part: nn.ModuleDict) -> Phase[nn.ModuleDict]:
        config = self.config
        steps, rate = {
            "normals": (config.normal_steps, config.normal_lr),
            "coarse": (config.steps, config.lr),
            "fine": (config.fine_steps, config.fine_lr),
        }[level]
        file = f"{level}.safetensors"
        loss = {"normals": self._normal_loss, "coarse": self._coarse_loss, "fine": self._fine_loss}[level]

        def batch(step: int) -> HDBatch:
            return level_batch(cast("list[HDItem]", self.items), config, step, level)

        def keep(module: nn.ModuleDict) -> None:
            state = {key: value.detach().cpu().clone() for key, value in module.state_dict().items()}
            write_bytes_atomic(self.out / file, save(state))

        def validate(module: nn.ModuleDict) -> dict[str, float]:
            return self._judged(level, module)

        return Phase(
            level, part, steps, rate, cast(Any, batch), cast(Any, loss), validate if self.checks else None, keep, file
        )

    def _images(self, batch: HDBatch) -> Tensor:
        return self.put(batch.images)

    def _guessed(self, part: nn.ModuleDict, batch: HDBatch) -> Tensor:
        """Return front and back normals (B, 6, s, s) of the normal networks."""
        images = self._images(batch)
        with self.autocast():
            return torch.cat([part["netF"](images), part["netB"](images)], dim=1).float()

    def _shown_normals(self, batch: HDBatch) -> Tensor:
        """Return the normals that a level sees in training."""
        if self.config.normals == "true":
            return self.put(batch.normals)
        with torch.no_grad():
            return self._guessed(part_of(self.net, "normals"), batch)

    def _normal_loss(self, part: nn.ModuleDict, batch: HDBatch) -> Tensor:
        return F.l1_loss(self._guessed(part, batch), self.put(batch.normals))

    def _coarse_maps(self, part: nn.ModuleDict, batch: HDBatch, normals: Tensor) -> list[Tensor]:
        with self.autocast():
            maps = part["image_filter"](torch.cat([self._images(batch), normals], dim=1))[0]
        # The classifiers stay in float32: bfloat16 saves them no time and cannot tell 0.998 from 1.
        return [m.float() for m in maps]

    def _coarse_loss(self, part: nn.ModuleDict, batch: HDBatch) -> Tensor:
        points, labels = self.put(batch.points), self.put(batch.targets)
        losses = []
        for maps in self._coarse_maps(part, batch, self._shown_normals(batch)):
            features, inside = self.net.netG.features(maps, points, self._identity(len(points)))
            losses.append(occupancy_loss(part["mlp"](features)[0], labels, inside.to(labels.dtype)))
        return torch.stack(losses).mean()

    def _fine_found(self, part: nn.ModuleDict, batch: HDBatch, normals: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return each stack's occupancies (B, 1, N), and which points lie in their window."""
        points, corners = self.put(batch.points), torch.from_numpy(batch.corners).to(self.device)
        size, side = self.config.hd.fine_size, batch.fine.shape[-1]
        with torch.no_grad():
            maps = self._coarse_maps(part_of(self.net, "coarse"), batch, normals)[-1]
            merged = self.net.netG.mlp.hidden(self.net.netG.features(maps, points, self._identity(len(points)))[0])
            wide = F.interpolate(normals, size=(size, size), mode="bilinear", align_corners=True)
        seen = torch.cat([self.put(batch.fine), windows(wide, corners, side)], dim=1)
        with self.autocast():
            fine = [m.float() for m in part["image_filter"](seen)[0]]
        places = in_window(points[:, :2], corners, side, size, fine[0].shape[-1])
        # By pixel edges, as points and pictures are laid: half a cell further out than the centres of border cells.
        low = (corners * (2 / size) - 1)[..., None].to(points.dtype)
        uv = points[:, :2]
        counted = ((uv >= low) & (uv <= low + 2 * side / size)).all(dim=1, keepdim=True)
        return [part["mlp"](torch.cat([index(m, places), merged], dim=1))[0] for m in fine], counted

    def _fine_loss(self, part: nn.ModuleDict, batch: HDBatch) -> Tensor:
        found, counted = self._fine_found(part, batch, self._shown_normals(batch))
        labels = self.put(batch.targets)
        return torch.stack([occupancy_loss(f, labels, counted.to(labels.dtype)) for f in found]).mean()

    def _judged(self, level: Level, part: nn.ModuleDict) -> dict[str, float]:
        """Return the error of a level over the items to check, on the normals that it will see: predicted ones."""
        rows: list[tuple[float, float]] = []
        for item in self.checks:
            batch = validation_batch(cast(HDItem, item), self.config)
            guess = self._guessed(part if level == "normals" else part_of(self.net, "normals"), batch)
            if level == "normals":
                rows.append(_normal_errors(guess, self.put(batch.normals)))
                continue
            if level == "coarse":
                maps, points = self._coarse_maps(part, batch, guess)[-1], self.put(batch.points)
                features, counted = self.net.netG.features(maps, points, self._identity(1))
                found = part["mlp"](features)[0]
            else:
                stacks, counted = self._fine_found(part, batch, guess)
                found = stacks[-1]
            rows.append(_occupancy_errors(found * counted, self.put(batch.targets)))
        mse, second = (float(torch.tensor(column, dtype=torch.float64).mean()) for column in zip(*rows, strict=True))
        return {"val_mse": mse, "val_degrees" if level == "normals" else "val_iou": second}


def _normal_errors(found: Tensor, truth: Tensor) -> tuple[float, float]:
    """Return the mean squared error of (1, 6, s, s) normals, and the mean angle in degrees where there is a person."""
    mse = float(F.mse_loss(found, truth))
    guess, true = (t.reshape(2, 3, -1) for t in (found, truth))
    person = true.square().sum(dim=1) > 0.25
    cosine = F.cosine_similarity(guess, true, dim=1)[person].clamp(-1, 1)
    return mse, float(torch.rad2deg(torch.arccos(cosine)).mean()) if len(cosine) else 0.0


def _occupancy_errors(found: Tensor, labels: Tensor) -> tuple[float, float]:
    guess, truth = found > 0.5, labels > 0.5
    union = (guess | truth).sum().clamp(min=1)
    return float(F.mse_loss(found, labels)), float((guess & truth).sum() / union)
