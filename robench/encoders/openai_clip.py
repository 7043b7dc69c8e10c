"""OpenAI's own files of CLIP: their names of tensors, and a reader of their archives that runs no code in them.

OpenAI publishes CLIP as TorchScript archives. Such an archive is a zip of code, a pickle of the object tree and one
file for each tensor. The tree is walked here by an unpickler that knows how to place tensors and nothing else.
"""

from __future__ import annotations

import collections
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robench.errors import UsageError
from robench.io.weights import listed, read_tensors

if TYPE_CHECKING:
    from robench.encoders.clip import ClipSize

_DTYPES = {
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "DoubleStorage": "float64",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "BoolStorage": "bool",
}
_LARGEST_TREE = 16 * 2**20  # bytes of the object tree; OpenAI's take a tenth of a megabyte
# The text encoder and what describes the model, none of which the image encoder needs.
_TEXT = re.compile(
    r"positional_embedding|text_projection|logit_scale|token_embedding\.weight|ln_final\.(weight|bias)"
    r"|transformer\.resblocks\.\d+\.(attn\.(in_proj|out_proj\.)_?(weight|bias)|ln_[12]\.(weight|bias)"
    r"|mlp\.(c_fc|c_proj)\.(weight|bias)|attn_mask)|input_resolution|context_length|vocab_size"
)
_VISUAL = {
    "class_embedding": "embeddings.class_embedding",
    "positional_embedding": "embeddings.position_embedding.weight",
    "conv1.weight": "embeddings.patch_embedding.weight",
    "ln_pre": "pre_layrnorm",
    "ln_post": "post_layernorm",
}
_BLOCK = {
    "attn.out_proj": "self_attn.out_proj",
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
_KINDS = ("weight", "bias")


def names(layers: int) -> dict[str, list[str]]:
    """Return, for each of OpenAI's names of an image encoder, ours: three where one tensor holds q, k and v.

    Args:
        layers: Transformer blocks.
    """
    found: dict[str, list[str]] = {"visual.proj": ["visual_projection.weight"]}
    for theirs, ours in _VISUAL.items():
        ends = [""] if "." in ours else [f".{kind}" for kind in _KINDS]
        found |= {f"visual.{theirs}{end}": [f"vision_model.{ours}{end}"] for end in ends}
    for i in range(layers):
        old, new = f"visual.transformer.resblocks.{i}", f"vision_model.encoder.layers.{i}"
        for kind in _KINDS:
            found[f"{old}.attn.in_proj_{kind}"] = [f"{new}.self_attn.{part}_proj.{kind}" for part in "qkv"]
            found |= {f"{old}.{theirs}.{kind}": [f"{new}.{ours}.{kind}"] for theirs, ours in _BLOCK.items()}
    return found


def converted(tensors: Mapping[str, Any], size: ClipSize, source: str) -> dict[str, Any]:
    """Return OpenAI's tensors under our names.

    Args:
        tensors: By OpenAI's names; those of the text encoder are left out.
        size: What the image encoder must be like.
        source: What to call the file in a message.

    Raises:
        UsageError: Naming every key that is missing or that no CLIP has, or what differs in size.
    """
    wanted = names(size.layers)
    missing = [k for k in wanted if k not in tensors]
    unexpected = [k for k in tensors if k not in wanted and not _TEXT.fullmatch(k)]
    if missing or unexpected:
        kinds = (("missing", missing), ("unexpected", unexpected))
        got = "; ".join(f"{len(keys)} {kind}: {listed(keys)}" for kind, keys in kinds if keys)
        raise UsageError(f"{source} is not this CLIP of OpenAI's", got=got)
    position = tensors["visual.positional_embedding"]
    if len(position) != size.tokens:
        side = round((len(position) - 1) ** 0.5) * size.patch
        got, expected = f"an input of {side} pixels ({len(position)} positions)", f"{size.image} pixels ({size.tokens})"
        raise UsageError(f"{source} is an encoder of another input size", got=got, expected=expected)
    found: dict[str, Any] = {}
    for theirs, ours in wanted.items():
        value = tensors[theirs]
        if theirs == "visual.proj":
            value = value.T
        found |= dict(zip(ours, value.chunk(3) if len(ours) == 3 else [value], strict=True))
    return found


def read_openai(path: Path) -> dict[str, Any]:
    """Read a ``.pt``: a TorchScript archive, as OpenAI publishes CLIP, or a plain state dict.

    Raises:
        UsageError: If it is damaged or neither.
    """
    if not zipfile.is_zipfile(path):
        return read_tensors(path)
    try:
        with zipfile.ZipFile(path) as archive:
            trees = [name for name in archive.namelist() if name.endswith("/data.pkl")]
            script = any("/code/" in name for name in archive.namelist())
            if not script or len(trees) != 1:
                return read_tensors(path)
            return _read_script(archive, trees[0])
    except UsageError:
        raise
    except Exception as error:  # a damaged or hostile archive fails in as many ways as it has bytes
        got = f"{type(error).__name__}: {str(error)[:160]}"
        raise UsageError(f"{path} is not a readable TorchScript archive", got=got) from error


class _Node:
    """An object of the tree: whatever class it claims, it only keeps its attributes."""

    def __init__(self, *arguments: Any) -> None:
        del arguments
        self.attributes: dict[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.attributes = state


class _Reader(pickle.Unpickler):
    """Places tensors and nothing else: every other class that a pickle names is refused or an inert node."""

    def __init__(self, archive: zipfile.ZipFile, tree: str) -> None:
        self._archive, self._folder = archive, tree.removesuffix("data.pkl")
        self._storages: dict[str, Any] = {}
        super().__init__(archive.open(tree))

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch._utils" and name == "_rebuild_tensor_v2":
            return _tensor
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        if module == "collections" and name == "OrderedDict":
            return collections.OrderedDict
        if module.startswith("__torch__"):
            return _Node
        if module == "torch.jit._pickle":  # lists of numbers
            return lambda values, *rest: values
        raise pickle.UnpicklingError(f"the archive names {module}.{name}, which no weights need")

    def persistent_load(self, pid: Any) -> Any:
        import torch

        _, dtype, key, _, count = pid
        if not isinstance(dtype, str) or dtype not in _DTYPES.values() or not re.fullmatch(r"\w+", str(key)):
            raise pickle.UnpicklingError(f"a storage of {dtype!r}")
        if key not in self._storages:
            info = self._archive.getinfo(f"{self._folder}data/{key}")
            if info.compress_type != zipfile.ZIP_STORED:
                raise ValueError("an archive with compressed members, which torch does not write")
            kind = getattr(torch, dtype)
            self._storages[key] = torch.frombuffer(bytearray(self._archive.read(info)), dtype=kind)[:count]
        return self._storages[key]


def _tensor(storage: Any, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *rest: Any) -> Any:
    del rest  # gradients and hooks: of no use here
    return storage.as_strided(size, stride, offset)


def _read_script(archive: zipfile.ZipFile, tree: str) -> dict[str, Any]:
    info = archive.getinfo(tree)
    if info.compress_type != zipfile.ZIP_STORED or info.file_size > _LARGEST_TREE:
        raise ValueError(f"an object tree of {info.file_size} bytes")
    import torch

    found: dict[str, Any] = {}
    todo: list[tuple[str, Any]] = [("", _Reader(archive, tree).load())]
    while todo:
        prefix, node = todo.pop()
        for name, value in getattr(node, "attributes", {}).items():
            if isinstance(value, torch.Tensor):
                found[prefix + name] = value
            elif isinstance(value, _Node):
                todo.append((f"{prefix}{name}.", value))
    return found
