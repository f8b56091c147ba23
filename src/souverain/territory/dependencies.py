"""What the room cannot do without: imported to know whether it can be switched on."""

import numpy  # noqa: F401
import pyogrio  # noqa: F401
import pyproj  # noqa: F401
import shapely  # noqa: F401
