"""Paths of the repository, and of the data and weights beside it. Tests that need those are skipped without them."""

import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
