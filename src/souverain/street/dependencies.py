"""What the room cannot do without: imported to know whether it can be switched on."""

import geoindex_rs  # noqa: F401
import numba  # noqa: F401
import onnxruntime  # noqa: F401
import pyvips  # noqa: F401
import scipy  # noqa: F401
import simplejpeg  # noqa: F401

import souverain.territory.dependencies  # noqa: F401
