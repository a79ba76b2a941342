"""A made table of three classes in four features, with names that are none of a variable."""

from pathlib import Path

import numpy as np

FEATURES = ("stalk length (cm)", "Blütenbreite", "size, mm", "lobes")
CLASSES = ("daisy", "poppy", "여우장갑")
CENTRES = ((2, 5, 1, 0.2), (6, 3, 4, 1.3), (6.5, 3, 5.5, 2))


def write_table(path: Path, rows_of_each: int = 30) -> str:
    """Write the table to a file, and return its path."""
    rng = np.random.default_rng(0)
    lines = [",".join(f'"{name}"' for name in (*FEATURES, "species"))]
    for name, centre in zip(CLASSES, CENTRES, strict=True):
        for values in rng.normal(centre, 0.4, (rows_of_each, 4)).round(2).tolist():
            lines.append(",".join([*map(str, values), name]))
    path.write_text("\n".join(lines))
    return str(path)
