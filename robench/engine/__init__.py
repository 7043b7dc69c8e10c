"""The engine: recipes, cells, corrupted sets, masks, and the run of a model over them.

The submodules are imported by name (``from robench.engine.evaluate import evaluate``), so that importing the package
costs nothing.
"""
