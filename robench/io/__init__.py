"""Reading and writing: files that appear whole, images, masks, depth, normals and meshes.

The submodules are imported by name (``from robench.io.images import read_image``), so that importing the package
costs nothing.
"""
