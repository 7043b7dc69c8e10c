"""Data sets: readers of layouts on disk, split files, manifests and the embedded synthetic people.

The submodules are imported by name; importing the package costs nothing.
"""
