#!/bin/sh
# cel-python 0.5.0, common-expression-language 0.10.0 (from PyPI).
#
# Rules of a CustomResourceDefinition (x-kubernetes-validations) may select a field that may be absent: self.?a.?b.orValue(1)
# and .hasValue(). Kubernetes has taken them since 1.29, and they are what keeps a rule over nested optional fields short.
# Neither of the CEL implementations that Python's index has can read them: both fail to parse at ".?". cel-go's "optional"
# is an extension of the language that has to be switched on, and neither has it. So a tool in Python that wants to say
# offline what an API server would refuse can evaluate only the rules without optionals by these.
#
# Seen:
#   cel-python                 has(self.a) && self.a == 1            compiles
#   cel-python                 self.?a.orValue(1) == 1               CELParseError
#   common-expression-language has(self.a) && self.a == 1            compiles
#   common-expression-language self.?a.orValue(1) == 1               ValueError
#
# Fails where that is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet cel-python==0.5.0 common-expression-language==0.10.0
"$folder/venv/bin/python" - >"$folder/seen" <<'PYTHON'
import cel
import celpy

TEXTS = ("has(self.a) && self.a == 1", "self.?a.orValue(1) == 1")
READERS = {
    "cel-python": celpy.Environment().compile,
    "common-expression-language": cel.compile,
}
for name, read in READERS.items():
    for text in TEXTS:
        try:
            read(text)
            end = "compiles"
        except Exception as error:
            end = type(error).__name__
        print(f"{name:26} {text:37} {end}")
PYTHON
cat "$folder/seen"
cat >"$folder/expected" <<'TEXT'
cel-python                 has(self.a) && self.a == 1            compiles
cel-python                 self.?a.orValue(1) == 1               CELParseError
common-expression-language has(self.a) && self.a == 1            compiles
common-expression-language self.?a.orValue(1) == 1               ValueError
TEXT
diff "$folder/expected" "$folder/seen"
