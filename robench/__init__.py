"""robench: how robust is a single-image 3D human reconstructor?"""

__version__ = "0.1.0"
