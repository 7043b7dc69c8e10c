"""The nineteen common corruptions of ImageNet-C, written anew from their formulas, for pictures of any size."""
