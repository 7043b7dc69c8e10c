"""CLIP's image encoder, from weights that the user brings: a folder of transformers, or OpenAI's own file.

Source: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from robench.contracts import Card
from robench.encoders.torch_encoder import TorchEncoder, require_transformers
from robench.errors import EnvironmentNotReady, UsageError

if TYPE_CHECKING:
    from torch import Tensor, nn

MEAN = [0.48145466, 0.4578275, 0.40821073]
STD = [0.26862954, 0.26130258, 0.27577711]
_FILES = (".safetensors", ".pt", ".bin")
# Of a folder, the best file first; the hub's old ones are pickles, of which tensors only are read.
_IN_FOLDER = ("model.safetensors", "pytorch_model.bin")
# What a folder of the whole CLIP holds besides the image encoder, and buffers of older versions.
_OTHER = ("text_model.", "text_projection.", "logit_scale")
_BUFFER = "position_ids"


@dataclass(frozen=True)
class ClipSize:
    """Sizes of an image encoder of CLIP that is a vision transformer.

    Attributes:
        hidden: Width of a token.
        mlp: Inner width of the MLPs.
        layers: Transformer blocks.
        heads: Of the attention; OpenAI has one for each 64 of the width.
        patch: Side of a patch in pixels.
        image: Side of the input in pixels.
        dim: Length of the embedding.
    """

    hidden: int
    mlp: int
    layers: int
    heads: int
    patch: int
    image: int
    dim: int

    @property
    def tokens(self) -> int:
        """Tokens of a picture: its patches and the class token."""
        return (self.image // self.patch) ** 2 + 1

    def network(self) -> nn.Module:
        """Return the network of transformers on torch's meta device: no memory, no weights."""
        import torch

        transformers = require_transformers("CLIP")
        config = transformers.CLIPVisionConfig(**self.options())
        with torch.device("meta"):
            return cast("nn.Module", transformers.CLIPVisionModelWithProjection(config))

    def options(self) -> dict[str, Any]:
        """Return the sizes by the names that the configuration of transformers has for them."""
        return {
            "hidden_size": self.hidden,
            "intermediate_size": self.mlp,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "patch_size": self.patch,
            "image_size": self.image,
            "projection_dim": self.dim,
            "hidden_act": "quick_gelu",
        }

    def check(self, said: dict[str, Any], source: str, hint: str = "") -> None:
        """Compare with a folder's ``config.json``.

        Args:
            said: What it says.
            source: What to call the folder in a message.
            hint: The next step where it is of another network.

        Raises:
            UsageError: If it says another size or activation.
        """
        values = said.get("vision_config", said)
        values = {**values, "projection_dim": said.get("projection_dim", values.get("projection_dim"))}
        # What a configuration leaves out, the shapes of the weights tell.
        wrong = {k: values.get(k, "its default") for k, v in self.options().items() if values.get(k, v) != v}
        if wrong:
            raise UsageError(
                f"{source} is another CLIP",
                got=", ".join(f"{k} {v}" for k, v in wrong.items()),
                expected=", ".join(f"{k} {self.options()[k]}" for k in wrong),
                hint=hint,
            )


VIT_L14 = ClipSize(hidden=1024, mlp=4096, layers=24, heads=16, patch=14, image=224, dim=768)


class ClipEncoder(TorchEncoder):
    """An image encoder of CLIP.

    Args:
        card: Its card.
        size: Of its network.
        hub: Repository of the Hugging Face hub that publishes the weights.
    """

    def __init__(self, card: Card, size: ClipSize, hub: str = "") -> None:
        super().__init__()
        facts = {"dim": size.dim, "input_size": size.image, "mean": MEAN, "std": STD}
        self.card = dataclasses.replace(card, extra={**card.extra, **facts})
        self.size, self.hub = size, hub

    def load(self, weights: Path | None) -> tuple[nn.Module, int]:
        """Read and, where they are OpenAI's, convert the weights; see `TorchEncoder.load`."""
        import torch

        from robench.encoders.openai_clip import converted, read_openai
        from robench.io.files import read_json
        from robench.io.weights import find_weights, load_strictly, read_tensors

        place = find_weights(self.card.name, weights, _FILES, self.hub)
        file = place
        if place.is_dir():
            if (place / "config.json").is_file():
                said = read_json(place / "config.json")
                hint = f"hf download {self.hub} --local-dir DIR, then {self.card.name}:DIR" if self.hub else ""
                self.size.check(said if isinstance(said, dict) else {}, f"The encoder in {place}", hint)
            there = [place / name for name in _IN_FOLDER if (place / name).is_file()]
            if not there:
                raise EnvironmentNotReady(
                    f"There are no weights of '{self.card.name}' in {place}",
                    expected=" or ".join(_IN_FOLDER),
                    hint=f"hf download {self.hub} --local-dir {place}" if self.hub else "name another folder",
                )
            file = there[0]
        # The network first: without its library nothing below is of use.
        network = self.size.network()
        raw = read_openai(file) if file.suffix == ".pt" else read_tensors(file)
        tensors = converted(raw, self.size, str(file)) if _is_openai(raw) else _of_image(raw)
        load_strictly(network, tensors, str(file), "" if _is_openai(raw) else _guess(raw))
        _fill_buffers(network, torch.arange(self.size.tokens)[None])
        return network, len(tensors)

    def vectors(self, network: nn.Module, pixels: Tensor) -> Tensor:
        """See `TorchEncoder.vectors`."""
        return cast("Tensor", network(pixel_values=pixels).image_embeds)


def _is_openai(tensors: dict[str, Any]) -> bool:
    return any(key.startswith("visual.") for key in tensors)


def _of_image(tensors: dict[str, Any]) -> dict[str, Any]:
    """Leave out what does not belong to the image encoder."""
    return {k: v for k, v in tensors.items() if not k.startswith(_OTHER) and not k.endswith(_BUFFER)}


def _guess(tensors: dict[str, Any]) -> str:
    known = any(key.startswith("vision_model.") for key in tensors)
    return "" if known else "is it a CLIP? Its names begin with 'vision_model.', OpenAI's with 'visual.'"


def _fill_buffers(network: nn.Module, positions: Tensor) -> None:
    """Number the positions, which are no weights and came uninitialised from the meta device."""
    for name, buffer in network.named_buffers():
        assert name.endswith(_BUFFER), name
        buffer.copy_(positions)


class ClipVitL14(ClipEncoder):
    """CLIP ViT-L/14 at 224 pixels: the encoder of the paper on 2D priors."""

    def __init__(self) -> None:
        super().__init__(
            Card(
                name="clip-vit-l14",
                version="1",
                summary="CLIP ViT-L/14, image encoder (bring the weights, or have them in the hub's cache)",
                licence="Apache-2.0 (code); OpenAI's weights: MIT",
                reference="Radford et al., CLIP, ICML 2021, arXiv:2103.00020",
                extra={"weights": "openai/clip-vit-large-patch14, or OpenAI's ViT-L-14.pt", "parameters": 303_966_208},
            ),
            VIT_L14,
            "openai/clip-vit-large-patch14",
        )
