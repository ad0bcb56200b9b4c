"""Why a file that annotations name is not there, as far as the name and what is there show it."""

from __future__ import annotations

import heapq
import html
import posixpath
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import unquote

from dino_api.rules.data import data_rule
from dino_trainer.data.decode import IMAGE_FORMATS
from dino_trainer.data.name_forms import composed, parts_of_address
from dino_trainer.data.packing import SUFFIXES as ARCHIVES

_SHOWN = 60
# From so many files of one key on, what is known of them is kept.
_MANY = 8
_SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://")
_DRIVE = re.compile(r"^([A-Za-z]:|\\\\|~[/\\])")
_QUERY = re.compile(r"[?&]d=([^&]+)")
_IMAGE = re.compile(f"({'|'.join(map(re.escape, IMAGE_FORMATS))})$", re.IGNORECASE)
_MOVED, _SEVERAL = "lies in another folder", "files of that name lie in several folders"
_ADDRESS = "an address in place of a file name"
_UNFOUND = "Put the images into the image folder, and write their names relative to it."


@dataclass(frozen=True)
class Hint:
    """Why a file is not found by its name.

    cause: the same of all names that are wrong in this way. remedy: with one of them.
    """

    cause: str
    remedy: str


class _Alike:
    """Files that one key leads to, however many: each question takes as long as the first."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: str) -> bool:
        return name in self._known

    @cached_property
    def first(self) -> list[str]:
        """The first two by name."""
        return heapq.nsmallest(2, self._names)

    def nearest(self, wanted: str) -> _Alike:
        """Those in the wanted folder, where there are any."""
        return self._by_folder.get(posixpath.dirname(wanted), self)

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self._names)

    @cached_property
    def _by_folder(self) -> dict[str, _Alike]:
        folders: dict[str, list[str]] = defaultdict(list)
        for name in self._names:
            folders[composed(posixpath.dirname(name))].append(name)
        return {folder: _Alike(names) for folder, names in folders.items()}


class Nearby:
    """What lies in a folder or archive, for looking up what was meant.

    It may be asked of a million names, and hold as many that are alike.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = {composed(name): name for name in names}
        self._many: dict[tuple[str, str], _Alike] = {}

    def hint(self, name: str) -> Hint | None:
        """What may be meant by the name; None where nothing but the absence of the file is seen."""
        if name.startswith("data:"):
            return Hint(
                "the image itself in place of a name",
                "Write the images into files, and their names into file_name.",
            )
        form, wanted = _form(name)
        difference, matches = self._find(wanted)
        if not matches:
            return Hint(form, _UNFOUND) if form else self._of_what_is_there
        if name in matches:
            return Hint(
                "a link to a file that is not there",
                data_rule("images-lost").remedy,
            )
        meant = _quoted(matches.first[0])
        if len(matches) > 1:
            other = _quoted(matches.first[1])
            several = _SEVERAL if difference == _MOVED else difference
            return Hint(form or several, f"Write which is meant, {meant} or {other}.")
        return Hint(
            form or difference,
            f"Write {meant} in place of {_quoted(name)}, and the others likewise.",
        )

    def _find(self, wanted: str) -> tuple[str, _Alike | None]:
        """How what is there differs from what is wanted, and what that is."""
        parts = wanted.split("/")
        for start in range(len(parts)):
            if (there := "/".join(parts[start:])) in self._names:
                return "names a folder that is not there", _Alike([self._names[there]])
        base = posixpath.basename(wanted)
        for difference, key, places in (
            (_MOVED, str, self._by_base),
            ("written with %20 and the like, as in an address", unquote, self._by_base),
            ("written with &amp; and the like, as in HTML", html.unescape, self._by_base),
            ("capital letters differ", _folded, self._by_folded),
            ("has another ending", _stem, self._by_stem),
            ("spaces, signs or leading zeros differ", _loose, self._by_loose),
            ("letters are of another encoding", _recoded, self._by_base),
        ):
            if names := places.get(key(base)):
                return difference, self._alike(difference, key(base), names).nearest(wanted)
        return "", None

    def _alike(self, difference: str, key: str, names: Sequence[str]) -> _Alike:
        """Kept of many, since each of as many missing ones asks for them."""
        if len(names) < _MANY:
            return _Alike(names)
        return self._many.setdefault((difference, key), _Alike(names))

    @cached_property
    def _of_what_is_there(self) -> Hint | None:
        if not self._names:
            return Hint("the image folder is empty", "Upload the images, or name their folder.")
        packed = [name for name in self._names if name.lower().endswith((*ARCHIVES, ".zip"))]
        if packed:
            return Hint(
                f"the image folder holds an archive, {_quoted(packed[0])}",
                "Name a .tar.gz, .tgz or .tar itself as image_dir, or unpack it.",
            )
        return None

    @cached_property
    def _by_base(self) -> dict[str, list[str]]:
        return self._grouped(str)

    @cached_property
    def _by_folded(self) -> dict[str, list[str]]:
        return self._grouped(_folded)

    @cached_property
    def _by_stem(self) -> dict[str, list[str]]:
        return self._grouped(_stem, _IMAGE)

    @cached_property
    def _by_loose(self) -> dict[str, list[str]]:
        return self._grouped(_loose, _IMAGE)

    def _grouped(
        self, key: Callable[[str], str], kind: re.Pattern[str] = re.compile("")
    ) -> dict[str, list[str]]:
        made: dict[str, list[str]] = defaultdict(list)
        for form, name in self._names.items():
            if kind.search(form):
                made[key(posixpath.basename(form))].append(name)
        return dict(made)


def _form(name: str) -> tuple[str, str]:
    """What is wrong with the form of a name, "" for nothing; and the path that is meant."""
    where = parts_of_address(name) if _SCHEME.match(name) else None
    if where is not None:
        asked = _QUERY.search(f"?{where.query}")
        path = unquote(asked[1] if asked else where.path)
        return _ADDRESS, composed(path.strip("/"))
    plain = composed(name.replace("\\", "/"))
    asked = _QUERY.search(plain)
    if asked:
        return _ADDRESS, unquote(asked[1])
    parts = [part for part in plain.split("/") if part not in ("", ".", "..")]
    meant = "/".join(parts)
    if _DRIVE.match(name) or plain.startswith("/"):
        return "an absolute path", meant
    if "\\" in name:
        return "written with backslashes", meant
    if ".." in plain.split("/"):
        return "leads out of the image folder", meant
    return "", meant


def _quoted(name: str) -> str:
    """The end of a long name says most."""
    shown = name if len(name) <= _SHOWN else f"…{name[1 - _SHOWN :]}"
    return f"'{shown}'"


def _folded(base: str) -> str:
    return unicodedata.normalize("NFKC", unquote(base)).casefold().strip()


def _stem(base: str) -> str:
    return posixpath.splitext(_folded(base))[0]


def _loose(base: str) -> str:
    """Without signs between words, and zeros before numbers."""
    words = re.split(r"[\W_]+", _stem(html.unescape(base)))
    return " ".join(word.lstrip("0") or word for word in words if word)


def _recoded(base: str) -> str:
    """As it was before UTF-8 was read as something else, such as Ã¤ for ä."""
    for other in ("cp1252", "latin-1", "cp437"):
        try:
            return composed(base.encode(other).decode())
        except UnicodeError:
            continue
    return base
