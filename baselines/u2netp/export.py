"""Write the trained network as the ONNX file that rembg's session for custom networks runs."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from baselines.u2netp.network import U2NetP
from baselines.u2netp.normalise import SIDE
from robench.errors import Mismatch
from robench.io.files import atomic_path, sha256_file

OPSET = 17
TOLERANCE = 1e-4


class FusedMap(nn.Module):
    """The network as it is used: the fused map only, as probability of person."""

    def __init__(self, network: U2NetP) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """Map (1, 3, side, side) normalised to (1, 1, side, side) in [0, 1]."""
        return torch.sigmoid(self.network(x)[0])


def export_onnx(network: U2NetP, path: Path, *, side: int = SIDE) -> str:
    """Write the network with batch normalisation folded into the convolutions, fixed input size, and compare it.

    Args:
        network: Trained; is left in evaluation mode.
        path: The ONNX file.
        side: Edge of the input in pixels; rembg feeds 320.

    Returns:
        The SHA-256 of the file.

    Raises:
        Mismatch: If onnxruntime's answer differs from torch's by more than `TOLERANCE` on a random input.
    """
    plain: nn.Module = FusedMap(network)
    plain = plain.to("cpu").eval()
    with atomic_path(path) as temporary:
        with warnings.catch_warnings():
            # The exporter of old needs no extra package; torch reminds us that it has a new one.
            warnings.simplefilter("ignore", DeprecationWarning)
            torch.onnx.export(
                plain,
                (torch.zeros(1, 3, side, side),),
                temporary,
                opset_version=OPSET,
                input_names=["image"],
                output_names=["person"],
                do_constant_folding=True,
                dynamo=False,
            )
        difference = parity(plain, temporary, side=side)
        if not difference <= TOLERANCE:
            raise Mismatch(
                "The exported network disagrees with torch", got=f"{difference:.2e}", expected=f"at most {TOLERANCE:g}"
            )
        return sha256_file(temporary)


def parity(model: nn.Module, onnx: Path, *, side: int = SIDE, seed: int = 0) -> float:
    """Return the largest absolute difference between torch and onnxruntime on one random picture."""
    import onnxruntime

    x = torch.from_numpy(np.random.default_rng(seed).normal(0, 1, (1, 3, side, side)).astype(np.float32))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(onnx), options, providers=["CPUExecutionProvider"])
    with torch.no_grad():
        ours = model(x).numpy()
    theirs = session.run(None, {session.get_inputs()[0].name: x.numpy()})[0]
    return float(np.abs(ours - theirs).max())
