"""The reader of YAML agrees with kubectl's on a table that the real kubectl is asked, too."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from dino_api.kubectl_yaml.lines import lines_of
from dino_api.kubectl_yaml.reader import NotYaml, read, read_all
from dino_api.kubectl_yaml.writer import Dumper
from tests.yaml_scalars import EMPTY, READ, REFUSED, TWICE


def value(text: str) -> Any:
    return read(f"value: {text}\n")["value"]


@pytest.mark.parametrize("text", READ)
def test_a_text_is_worth_what_it_is_to_kubectl(text: str) -> None:
    found = value(text)
    assert found == READ[text]
    assert type(found) is type(READ[text])


@pytest.mark.parametrize("text", EMPTY)
def test_nothing(text: str) -> None:
    assert value(text) is None


@pytest.mark.parametrize("text", REFUSED)
def test_what_kubectl_refuses(text: str) -> None:
    with pytest.raises(NotYaml, match=r" at line \d+, column \d+$") as error:
        value(text)
    assert REFUSED[text] in str(error.value)


@pytest.mark.parametrize("text", TWICE)
def test_a_key_that_stands_twice_is_refused(text: str) -> None:
    with pytest.raises(NotYaml, match=r"the key '[a1]' stands twice at line 1, column \d+"):
        value(text)


def test_aliases_that_make_too_much_of_it() -> None:
    rows = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    with pytest.raises(NotYaml, match="its aliases make too much of it"):
        read("\n".join(["a0: &a0 [x]", *rows]))


@pytest.mark.parametrize("levels", [101, 400, 5000, 100_000])
@pytest.mark.parametrize(("start", "end"), [("[", "]"), ('{"a": ', "}")])
def test_nesting_without_end(levels: int, start: str, end: str) -> None:
    """JSON, too, which a program in C reads, that goes deeper than whoever reads on."""
    with pytest.raises(NotYaml, match="nested too deeply"):
        read(start * levels + "1" + end * levels)
    assert read(start * 99 + "1" + end * 99)


@pytest.mark.parametrize("text", [r'"\UFFFFFFFF"', r'"\U00110000"', "%YAML 1." + "9" * 5000])
def test_a_number_beyond_all_that_it_may_be(text: str) -> None:
    with pytest.raises(NotYaml, match="a number in it is out of range"):
        read(text)
    assert lines_of(text) == {}


def test_documents_are_split_as_kubectl_does() -> None:
    assert read_all("# none\n--- # first\na: 1\n---\n---\nb: |\n  x\n  --- y\n") == [
        {"a": 1},
        {"b": "x\n--- y\n"},
    ]
    with pytest.raises(NotYaml, match="nothing but a comment may follow --- at line 2"):
        read_all("a: 1\n--- b: 2\n")
    with pytest.raises(NotYaml, match="at line 4, column 4"):
        read_all("a: 1\n---\nb: 1\nc: @\n")
    with pytest.raises(NotYaml, match="line 3"):  # kubectl reads nothing after it
        read_all("a: 1\n...\nb: 2\n")


def test_json_is_read_as_json() -> None:
    assert read('{\n\t"a": [1e1,\n\t10.0, 1e-7]\n}') == {"a": [10, 10, 1e-7]}
    assert read('{"a": "\\ud83d\\ude00"}') == {"a": "😀"}
    assert read('{"a": 1e400}') == {"a": "1e400"}, "no JSON, so kubectl tries YAML"
    with pytest.raises(NotYaml, match="stands twice"):
        read('{"a": 1, "a": 2}')


@pytest.mark.parametrize("text", [*READ, *EMPTY, *REFUSED, "a\nb", " x", "🦖"])
def test_texts_that_are_written_are_read_again(text: str) -> None:
    """PyYAML leaves 1e1, 0o17 and y bare, which are texts to it alone."""
    written = yaml.dump({"value": text, text: 1}, Dumper=Dumper, allow_unicode=True)
    assert read(written) == {"value": text, text: 1}


def test_a_number_that_no_float_holds_is_a_text() -> None:
    """As go-yaml has it; JSON's own reader would refuse it."""
    digits = "1" + "0" * 400
    assert read(f'{{"a": {digits}}}') == read(f"a: {digits}") == {"a": digits}
