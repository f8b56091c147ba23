"""What the room cannot do without: looked for to know whether it can be switched on. The heavy
ones are found, not imported: a process that does nothing of theirs does not hold them."""

from importlib.util import find_spec

import souverain.territory.dependencies  # noqa: F401

for _name in ("geoindex_rs", "jpeglib", "numba", "onnxruntime", "pyvips", "scipy", "simplejpeg"):
    if find_spec(_name) is None:
        raise ModuleNotFoundError(f"No module named {_name!r}", name=_name)
