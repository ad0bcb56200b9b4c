"""What looks like a secret in a text, such as a log. Pure.

Line by line, with patterns whose work is bounded: none looks further than a fixed number of
characters before it takes the rest. It finds what is written in a usual form, and no more.
"""

from __future__ import annotations

import re
from collections.abc import Callable

REMOVED = "REMOVED"
_WORDS = (
    r"passw(?:or)?d|passphrase|pwd|secret|token"
    r"|(?:api|access|account|private|client|customer|encryption|signing|license|shared)[-_]?key"
    r"|dockerconfig|connection[-_]?string|(?<![a-z])dsn(?![a-z])"
)
_MORE = rf"{_WORDS}|credential|authorization|signature|cookie|webhook|(?<![a-z])auth(?![a-z])"
SECRET_KEY = re.compile(rf"(?i){_MORE}")
_IN_TEXT = re.compile(rf"(?i){_WORDS}")
REFERENCE = re.compile(
    r"(?i)(secrets?_?(name|ref|keyref|namespace)|tokens?_?(expirationseconds|path|file)|tokens)$"
    r"|^imagepullsecrets$|^automountserviceaccounttoken$|^serviceaccounttoken$"
)
"""Keys that name a secret, or count tokens, and hold none."""
_HEADER = re.compile(r"(?i)(authorization|cookie)$")
_PAIR = re.compile(
    r"(?P<open>\\{0,8}[\"'])?(?<![\w.-])(?P<key>[\w.-]{1,128})(?P<close>\\{0,8}[\"'])?"
    r"[ \t]{0,8}(?P<sign>=>|[=:])[ \t]{0,8}(?P<quote>[bBrRuU]{0,2}(?P<mark>\\{0,8}[\"']))?"
)
"""A key, its sign, and the quote that opens its value."""
_OPTION = re.compile(r"(?<![\w-])--?(?P<key>[\w-]{1,64})[ \t]{1,8}(?=[^\s-])")
_WORD = re.compile(r"\S+")
_BEGIN = re.compile(r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_END = re.compile(r"-----END [A-Z ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_OF_A_KEY = re.compile(r"[A-Za-z0-9+/=]{16,100}")
_LONGEST_KEY = 200
"""Lines of a private key."""
_QUOTE = r"\\{0,8}[\"']"
PATTERNS = tuple(
    map(
        re.compile,
        (
            r"(?<![\w+.-])[A-Za-z][A-Za-z0-9+.-]{0,30}://"
            r"(?P<x>[^\s/'\"?#]{1,256}(?=@)|[^\s/'\"?#:@]{0,128}:(?!\d{1,5}[/?#])[^\s'\"@]{1,256}(?=@))",
            r"(?i)[?&;](?:x-amz-(?:signature|credential|security-token)|awsaccesskeyid|sig"
            r"|x-goog-(?:signature|credential)|googleaccessid|signature|key|code)=(?P<x>[^&\s'\"]+)",
            r"(?i)\bhooks\.slack\.com/(?:services|workflows|triggers)/(?P<x>[^\s'\"]+)",
            r"(?i)\bbearer[ \t]{1,8}(?P<x>[A-Za-z0-9._~+/=-]{8,})",
            r"(?i)\blogin[ \t]{1,8}\S{1,128}[ \t]{1,8}password[ \t]{1,8}(?P<x>\S+)",
            r"(?<![\w-])(?:-u|--user)[\"']?[ =,]{1,8}[\"']?(?P<x>[^\s:\"']{1,128}:[^\s\"']+)",
            rf"(?i)name{_QUOTE} ?: ?{_QUOTE}[\w.-]{{0,64}}(?:{_WORDS})[\w.-]{{0,64}}{_QUOTE}, ?"
            rf"{_QUOTE}value{_QUOTE} ?: ?(?P<m>{_QUOTE})(?P<x>.{{1,4096}}?)(?=(?<!\\)(?P=m))",
            r"(?P<x>LS0tLS1CRUdJTi[A-Za-z0-9+/=]+)",
            r"(?<![A-Z0-9])(?P<x>(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16})(?![A-Z0-9])",
            r"(?<![\w-])(?P<x>eyJ[\w-]{8,4096}\.[\w-]{8,}(?:\.[\w-]*)?)",
            r"(?<![A-Za-z0-9])"
            r"(?P<x>(?:gh[opsur]_|github_pat_|glpat-|hf_|npm_|dckr_pat_|pypi-|hvs\.|sk-)[\w-]{16,})",
            r"(?<![A-Za-z0-9])(?P<x>xox[abeprs]-[\w-]{10,}|AIza[\w-]{35}|ya29\.[\w-]{20,})",
        ),
    )
)
Take = Callable[[str, str], str]
"""Called with a secret's key, where it has one, and the secret; returns what stands there then."""


def is_secret(key: str) -> bool:
    """Whether a key is called after a secret, and is none that names one."""
    return bool(SECRET_KEY.search(key)) and not REFERENCE.search(key)


def without_secrets(text: str, take: Take) -> str:
    """The text without what looks like a secret."""
    return "\n".join(_line(each, take) for each in _without_private_keys(text.split("\n"), take))


def _line(line: str, take: Take) -> str:
    for pattern in PATTERNS:
        line = pattern.sub(lambda match: _swapped(match, take), line)
    return _options(_pairs(line, take), take)


def _swapped(match: re.Match[str], take: Take) -> str:
    if match["x"] == REMOVED:
        return match[0]
    key = "userinfo" if match[0].endswith(match["x"]) and "://" in match[0] else ""
    start, end = match.start("x") - match.start(), match.end("x") - match.start()
    return f"{match[0][:start]}{take(key, match['x'])}{match[0][end:]}"


def _pairs(line: str, take: Take) -> str:
    """Without values of keys that are called after a secret: key=value, key: value, in quotes or
    without, also in JSON within JSON."""
    made: list[str] = []
    done = at = 0
    while pair := _PAIR.search(line, at):
        at = pair.end()
        end = _end_of_value(line, pair) if _tells(pair) else at
        if end > at and line[at:end] != REMOVED:
            made += (line[done:at], take(pair["key"], line[at:end]))
            done = end
        at = end if end > at or not pair["quote"] else pair.start("quote")
    return "".join((*made, line[done:]))


def _tells(pair: re.Match[str]) -> bool:
    """Whether its value is a secret: before a colon fewer words say so, as sentences have it."""
    key, quoted = pair["key"], bool(pair["close"])
    if REFERENCE.search(key):
        return False
    if pair["sign"] != ":" or quoted or _HEADER.search(key):
        return bool(SECRET_KEY.search(key))
    return bool(_IN_TEXT.search(key))


def _end_of_value(line: str, pair: re.Match[str]) -> int:
    start = pair.end()
    around = pair["open"] if pair["open"] and not pair["close"] else None
    if mark := pair["mark"] or around:
        closing = re.compile(rf"(?<!\\){re.escape(mark)}").search(line, start)
        return closing.start() if closing else len(line)
    if _HEADER.search(pair["key"]):
        return len(line)
    stop = r"[^\s&]*" if line[: pair.start("key")][-1:] in ("?", "&") else r"\S*"
    match = re.compile(stop).match(line, start)
    return match.end() if match else start


def _options(line: str, take: Take) -> str:
    """Without the word after an option that is called after a secret."""
    made: list[str] = []
    done = 0
    for option in _OPTION.finditer(line):
        secret = _IN_TEXT.search(option["key"]) and not REFERENCE.search(option["key"])
        word = _WORD.match(line, option.end()) if secret else None
        if word and word[0] != REMOVED and word.start() >= done:
            made += (line[done : word.start()], take(option["key"], word[0]))
            done = word.end()
    return "".join((*made, line[done:]))


def _without_private_keys(lines: list[str], take: Take) -> list[str]:
    """Whole keys, one without its end, and the rest of one whose beginning a log has lost."""
    made: list[str] = []
    rest = 0
    for at, line in enumerate(lines):
        if at < rest:
            continue
        begin, end = _BEGIN.search(line), _END.search(line)
        if begin:
            rest = _end_of_key(lines, at)
            made.append(
                line[: begin.start()] + take("", "\n".join(lines[at:rest])[begin.start() :])
            )
        elif end:
            while made and _is_of_a_key(made[-1]):
                take("", made.pop())
            made.append(f"{REMOVED}{line[end.end() :]}")
        else:
            made.append(line)
    return made


def _end_of_key(lines: list[str], at: int) -> int:
    """The line after a key that begins in a line."""
    for last in range(at, min(at + _LONGEST_KEY, len(lines))):
        if _END.search(lines[last]):
            return last + 1
    last = at + 1
    while last < len(lines) and _is_of_a_key(lines[last]):
        last += 1
    return last


def _is_of_a_key(line: str) -> bool:
    """Whether a line ends with such a word as private keys are written in."""
    words = line[-120:].split()
    return bool(words) and bool(_OF_A_KEY.fullmatch(words[-1]))
