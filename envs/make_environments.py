"""Write what conda and Apptainer make the rules' environment from: cpu.yaml and cpu.def, with the pins of cpu.txt and torch.txt.

python envs/make_environments.py
"""

from __future__ import annotations

import re
from pathlib import Path

FOLDER = Path(__file__).parent
PYTHON = "3.12"
LOCKS = ("cpu.txt", "torch.txt")
CONDA = f"""# Written by make_environments.py from {" and ".join(LOCKS)}; change those.
channels:
  - conda-forge
dependencies:
  - python={PYTHON}
  - pip
  - pip:
"""
APPTAINER = f"""# Written by make_environments.py from {" and ".join(LOCKS)}; change those.
#   apptainer build envs/cpu.sif envs/cpu.def
#   snakemake --sdm apptainer ...
Bootstrap: docker
From: python:{PYTHON}-slim

%post
    cat > /requirements.txt <<'END'
@PINS@END
    pip install --no-cache-dir --requirement /requirements.txt

%test
    python -m pip check
    python -c 'import snakemake, torch, transformers'
"""


def pins(file: Path) -> list[str]:
    """Every `name==version`, with its marker, of a requirements file."""
    found = re.findall(r"^([A-Za-z0-9._-]+==[^\s\\;]+(?: ; [^\\\n]+)?)", file.read_text(encoding="utf-8"), re.MULTILINE)
    return [pin.strip() for pin in found]


def listed() -> list[str]:
    """The pins of all locks."""
    return [pin for lock in LOCKS for pin in pins(FOLDER / lock)]


def conda() -> str:
    """The text of the conda file."""
    return CONDA + "".join(f'      - "{pin}"\n' for pin in listed())


def apptainer() -> str:
    """The text of the Apptainer definition."""
    return APPTAINER.replace("@PINS@", "".join(f"{pin}\n" for pin in listed()))


if __name__ == "__main__":
    (FOLDER / "cpu.yaml").write_text(conda(), encoding="utf-8")
    (FOLDER / "cpu.def").write_text(apptainer(), encoding="utf-8")
