"""The code digest follows the meaning of the code, wherever it is reached from, and nothing else."""

from __future__ import annotations

import subprocess
import textwrap
from pathlib import Path

import pytest
from interpreters import interpreter_of

from maxact.stages import STAGES
from maxact.store.code import closure, code_digest, meaningful_tokens

SAME = {
    "comment": ("x = 1  # one\n", "# more\nx = 1\n"),
    "docstring": ('def f():\n    """Text."""\n    return 1\n', "def f():\n    return 1\n"),
    "attribute docstring": ('x = 1\n"""About x."""\ny = 2\n', "x = 1\ny = 2\n"),
    "docstring after a comment of two bytes": ('class A:\n    """é"""\n    x = "é"\n', 'class A:\n    x = "é"\n'),
    "quotes": ("x = 'a'\n", 'x = "a"\n'),
    "layout": ("f(1, 2)\n", "f(\n    1,\n    2,\n)\n"),
    "blank lines": ("x = 1\ny = 2\n", "x = 1\n\n\ny = 2\n"),
}
DIFFERENT = {
    "number": ("x = 1\n", "x = 2\n"),
    "string": ("x = 'a'\n", "x = 'b'\n"),
    "tuple of one": ("x = (1,)\n", "x = (1)\n"),
    "block": ("if a:\n    b\nc\n", "if a:\n    b\n    c\n"),
    "f-string": ("x = f'{a}'\n", "x = f'{b}'\n"),
    "format of an f-string": ("x = f'{a:.2f}'\n", "x = f'{a:.3f}'\n"),
    "f-string that loses its f": ("x = f'{a}'\n", "x = '{a}'\n"),
    "bytes": ("x = b'a'\n", "x = 'a'\n"),
    "order": ("a\nb\n", "b\na\n"),
    "string that is used": ("f('''a''')\n", "f('''b''')\n"),
}


@pytest.mark.parametrize("case", SAME)
def test_what_does_not_change_meaning_does_not_change_tokens(case: str) -> None:
    left, right = SAME[case]
    assert meaningful_tokens(left) == meaningful_tokens(right)


@pytest.mark.parametrize("case", DIFFERENT)
def test_what_changes_meaning_changes_tokens(case: str) -> None:
    left, right = DIFFERENT[case]
    assert meaningful_tokens(left) != meaningful_tokens(right)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    root = tmp_path / "maxact"
    files = {
        "__init__.py": "",
        "a.py": "import maxact.b\n",
        "b.py": "def f():\n    from maxact.deep import c\n    return c.x\n",
        "deep/__init__.py": "",
        "deep/c.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import maxact.typed\nx = 1\n",
        "typed.py": "",
        "aside.py": "y = 1\n",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(textwrap.dedent(text), encoding="utf-8")
    return root


def test_the_closure_follows_imports_in_functions_and_packages_but_not_types(package: Path) -> None:
    assert closure(["maxact.a"], package) == {"maxact.a", "maxact.b", "maxact.deep", "maxact.deep.c"}


def test_the_digest_changes_with_a_module_reached_and_with_no_other(package: Path) -> None:
    before = code_digest(["maxact.a"], package)
    (package / "aside.py").write_text("y = 22\n")
    (package / "typed.py").write_text("z = 22\n")
    assert code_digest(["maxact.a"], package) == before
    (package / "deep" / "c.py").write_text("x = 22\n")
    assert code_digest(["maxact.a"], package) != before


def test_no_stage_reaches_the_store_or_the_configuration() -> None:
    for stage in STAGES.values():
        reached = closure([stage.module])
        assert stage.module in reached
        assert not {"maxact.store.run", "maxact.study", "maxact.cli", "maxact.recipes"} & reached


@pytest.mark.parametrize("version", ["3.12", "3.13"])
def test_the_digest_is_the_same_on_other_versions_of_python(version: str) -> None:
    interpreter = interpreter_of(version)
    if interpreter is None:
        pytest.skip(f"python{version} is not installed")
    modules = [stage.module for stage in STAGES.values()]
    code = f"import sys; sys.path[:0] = {[str(Path(__file__).parents[2] / 'workflow_scripts')]}\n"
    code += f"from maxact.store.code import code_digest; print(code_digest({modules}))"
    other = subprocess.run([interpreter, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert other == code_digest(modules)


def test_the_number_of_a_release_decides_nothing() -> None:
    assert "maxact" not in closure(["maxact.quantize.stage"])
