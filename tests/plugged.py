"""Packages with plug-ins: the example of docs/plugins.md, and faulty ones made by hand."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

__all__ = ["EXAMPLE", "install_example", "write_package"]

EXAMPLE = Path(__file__).parent / "plugin_example"


def install_example(target: Path) -> Path:
    """Install the example as any package, but into a folder of its own, without a network."""
    words = ("install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", *words]
    subprocess.run([*pip, str(target), str(EXAMPLE)], check=True, timeout=120)
    return target


def write_package(
    folder: Path, name: str, points: Mapping[str, str], code: str = "", version: str = "0.1"
) -> Path:
    """Lay down an installed package: ``points`` maps ``group/name`` to ``module:factory``.

    ``code`` is that of the module that is named as the package, underscores for hyphens.
    """
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = []
    for point, place in points.items():
        group, _, short = point.partition("/")
        lines += [f"[streamser.{group}]", f"{short} = {place}"]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    (folder / f"{name.replace('-', '_')}.py").write_text(code)
    return folder
