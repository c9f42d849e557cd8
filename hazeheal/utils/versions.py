"""Versions of the installed software, for the provenance of files."""

import importlib.metadata
import platform

import hazeheal


def installed_versions(*packages: str) -> dict[str, str]:
    """Returns {name: version} of HazeHeal, Python and the named packages; `unknown` for a package that is missing."""
    versions = {"hazeheal": hazeheal.__version__, "python": platform.python_version()}
    for package in packages:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "unknown"
    return versions
