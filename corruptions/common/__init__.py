"""The nineteen common corruptions of ImageNet-C, each written anew from its published formula, for pictures of any size."""
