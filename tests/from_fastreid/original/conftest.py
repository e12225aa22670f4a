"""These tests run beside FastReID 1.4.0 itself: `make test-fastreid`."""

from __future__ import annotations

import os
from importlib.util import find_spec

from fastreid_ext.compat.importing import make_importable

collect_ignore_glob: list[str] = []

if find_spec("fastreid") is None:
    assert not os.environ.get("FASTREID_REQUIRED"), "FastReID is not installed"
    # Reported by tests/from_fastreid/test_without_original.py as one skipped test.
    collect_ignore_glob = ["test_*.py"]
else:
    make_importable()
