"""Write cpu.yaml, the conda environment of the rules, from the same pins as pip's: cpu.txt and torch.txt.

python envs/make_conda.py
"""

from __future__ import annotations

import re
from pathlib import Path

FOLDER = Path(__file__).parent
HEAD = """# Written by make_conda.py from cpu.txt and torch.txt; change those.
channels:
  - conda-forge
dependencies:
  - python=3.12
  - pip
  - pip:
"""


def pins(file: Path) -> list[str]:
    """Every `name==version`, with its marker, of a requirements file."""
    found = re.findall(r"^([A-Za-z0-9._-]+==[^\s\\;]+(?: ; [^\\\n]+)?)", file.read_text(encoding="utf-8"), re.MULTILINE)
    return [pin.strip() for pin in found]


def conda() -> str:
    """The text of the conda file."""
    listed = [*pins(FOLDER / "cpu.txt"), *pins(FOLDER / "torch.txt")]
    return HEAD + "".join(f'      - "{pin}"\n' for pin in listed)


if __name__ == "__main__":
    (FOLDER / "cpu.yaml").write_text(conda(), encoding="utf-8")
