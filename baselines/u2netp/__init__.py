"""U²-Net_p trained on rendered people: the offline masker ``u2netp-anny`` (network, training, export to ONNX)."""
