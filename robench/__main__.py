"""``python -m robench``, for which the working folder is no place of modules, unless robench itself lies there.

Python looks for modules there first, and the working folder may be a data set with a ``torch.py`` in it.
"""

import os
import sys

if __name__ == "__main__":
    first = os.path.join(os.path.abspath(sys.path[0]), "")
    if not sys.flags.safe_path and not os.path.abspath(__file__).startswith(first):
        del sys.path[0]
    from robench.cli import main

    main()
