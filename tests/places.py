"""Where things lie: the repository, and the data and weights beside it that some tests use and skip without."""

import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
