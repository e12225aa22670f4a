"""Says so where FastReID is not there to compare with."""

from importlib.util import find_spec

import pytest


def test_fastreid_is_installed() -> None:
    if find_spec("fastreid") is None:
        pytest.skip("without FastReID 1.4.0 nothing is compared with it: make test-fastreid")
