"""Are two images of one identity: `python tools/compare.py --help`."""

import importlib.util
import sys
from pathlib import Path

if importlib.util.find_spec("fastreid_ext") is None:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fastreid_ext.engine.cli.compare import main

if __name__ == "__main__":
    main()
