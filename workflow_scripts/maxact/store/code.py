"""A digest of the code that a stage can reach: what it means, not how it is written.

The modules of this package that an entry module imports, directly or not, are read as tokens without comments,
docstrings and layout, so that a comment, a docstring or a formatter changes nothing, and an edit of meaning does. Tokens
rather than `ast.dump`, whose text differs between Python versions: the digest is the same on Python 3.11 to 3.13.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import io
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path

PACKAGE = "maxact"
ROOT = Path(__file__).parent.parent

NOT_DECIDING = (
    "maxact.store",
    "maxact.device_locks",
    "maxact.devices",
    "maxact.errors",
    "maxact.study",
    "maxact.stages",
    "maxact.sites.registry",
    "maxact.checkpoints.planted.registry",
    "maxact.checkpoints.sources.registry",
    "maxact.corpus.registry",
    "maxact.tokenizers.registry",
    "maxact.hub",
    "maxact.published.source",
    "maxact.published.where",
    "maxact.figures.registry",
)
"""Modules that cannot change what a stage computes. Some move and check, and what they pass on is in the recipe (a
hub's files by their digests); the
registries choose a module by name, and the module chosen is an entry of its own."""

_LAYOUT = {tokenize.COMMENT, tokenize.NL, tokenize.ENCODING, tokenize.ENDMARKER}
_FSTRING_START = {getattr(tokenize, name) for name in ("FSTRING_START", "TSTRING_START") if hasattr(tokenize, name)}
_FSTRING_END = {getattr(tokenize, name) for name in ("FSTRING_END", "TSTRING_END") if hasattr(tokenize, name)}


def code_digest(entries: Iterable[str], root: Path = ROOT) -> str:
    """SHA-256 over the meaning of all modules of the package that `entries` reach.

    Args:
        entries: dotted module names, such as `maxact.measure.stage`.
        root: the folder of the package.
    """
    digest = hashlib.sha256()
    for module in sorted(closure(entries, root)):
        digest.update(f"{module} {module_digest(module_file(module, root))}\n".encode())
    return digest.hexdigest()


def closure(entries: Iterable[str], root: Path = ROOT) -> set[str]:
    """The modules of the package that `entries` import, directly or not, with themselves."""
    reached: set[str] = set()
    waiting = list(entries)
    while waiting:
        module = waiting.pop()
        # The package itself has its version only, and a release recomputes nothing.
        if module in reached or module == PACKAGE or module.startswith(NOT_DECIDING):
            continue
        reached.add(module)
        waiting.extend(imports(module, root))
    return reached


def module_file(module: str, root: Path) -> Path:
    """The file of a module of the package.

    Raises:
        ModuleNotFoundError: there is none.
    """
    path = root.joinpath(*module.split(".")[1:])
    for file in (path / "__init__.py", path.with_suffix(".py")):
        if file.exists():
            return file
    raise ModuleNotFoundError(module)


def imports(module: str, root: Path) -> set[str]:
    """The modules of the package that `module` imports anywhere in its text, functions included, and its packages."""
    file = module_file(module, root)
    found = {module.rpartition(".")[0]} - {""}
    for name in _imported_names(file, file.stat().st_mtime_ns):
        if name == PACKAGE or name.startswith(PACKAGE + "."):
            found.add(_as_module(name, root))
    return found


def _as_module(name: str, root: Path) -> str:
    """`from maxact.a import b` names a module or something in one: the longest prefix that is a module."""
    while True:
        try:
            module_file(name, root)
            return name
        except ModuleNotFoundError:
            name = name.rpartition(".")[0]


@functools.cache
def _imported_names(file: Path, modified: int) -> tuple[str, ...]:
    names: list[str] = []
    for node in _nodes_that_run(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ImportError(f"{file}: relative import; this package imports absolutely")
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return tuple(names)


def _nodes_that_run(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but the bodies of `if TYPE_CHECKING:`."""
    if isinstance(tree, ast.If) and "TYPE_CHECKING" in ast.unparse(tree.test):
        return
    yield tree
    for child in ast.iter_child_nodes(tree):
        yield from _nodes_that_run(child)


def module_digest(file: Path) -> str:
    """SHA-256 over the tokens of one file."""
    return _module_digest(file, file.stat().st_mtime_ns)


@functools.cache
def _module_digest(file: Path, modified: int) -> str:
    return hashlib.sha256("\n".join(meaningful_tokens(file.read_text(encoding="utf-8"))).encode()).hexdigest()


def meaningful_tokens(source: str) -> list[str]:
    """The tokens of `source` without comments, docstrings and layout.

    Strings are reduced to their value, f-strings (one token up to Python 3.11, several from 3.12) to their text;
    a comma before a closing bracket is dropped where another comma makes it meaningless.
    """
    lines = source.splitlines(keepends=True)
    strings_alone = _strings_alone(source, lines)
    words: list[str] = []
    commas: list[int] = [0]
    depth_of_fstring = 0
    fstring_start = (0, 0)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in _FSTRING_START:
            if depth_of_fstring == 0:
                fstring_start = token.start
            depth_of_fstring += 1
        elif token.type in _FSTRING_END:
            depth_of_fstring -= 1
            if depth_of_fstring == 0:
                words.append(_text_between(lines, fstring_start, token.end))
        elif depth_of_fstring or token.type in _LAYOUT or token.start in strings_alone:
            continue
        elif token.type == tokenize.STRING:
            words.append(_string_word(token.string))
        elif token.type == tokenize.NEWLINE:
            if words and words[-1] not in ("\\n", "INDENT", "DEDENT"):  # a dropped docstring leaves no empty line
                words.append("\\n")
        elif token.type in (tokenize.INDENT, tokenize.DEDENT):
            words.append(tokenize.tok_name[token.type])
        else:
            _count_commas(words, commas, token.string)
            words.append(token.string)
    return words


def _count_commas(words: list[str], commas: list[int], text: str) -> None:
    """Keep the number of commas at each depth of brackets; drop a trailing one that has company."""
    if text in ("(", "[", "{"):
        commas.append(0)
    elif text in (")", "]", "}"):
        if commas.pop() > 1 and words[-1] == ",":
            words.pop()
    elif text == ",":
        commas[-1] += 1


def _string_word(text: str) -> str:
    return text if "f" in text[: text.index(text[-1])].lower() else repr(ast.literal_eval(text))


def _text_between(lines: list[str], start: tuple[int, int], end: tuple[int, int]) -> str:
    if start[0] == end[0]:
        return lines[start[0] - 1][start[1] : end[1]]
    middle = lines[start[0] : end[0] - 1]
    return "".join([lines[start[0] - 1][start[1] :], *middle, lines[end[0] - 1][: end[1]]])


def _strings_alone(source: str, lines: list[str]) -> set[tuple[int, int]]:
    """Where the strings start that are statements of their own: docstrings of modules, functions, classes, attributes."""
    starts = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            column = len(lines[node.lineno - 1].encode()[: node.col_offset].decode())
            starts.add((node.lineno, column))
    return starts
