"""A wrong region is named with the right one; a refusal without words is asked for its words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dino_trainer.errors import TrainerError
from dino_trainer.storage import s3
from dino_trainer.storage.opening import open_store
from dino_trainer.storage.store import Store
from tests.unit.s3_answers import OK, S3Answer, S3Answers
from tests.unit.s3_server import BUCKET, S3Server

Open = Callable[..., tuple[Store, S3Answers, list[str]]]
ASKED, RIGHT = "us-west-2", "eu-central-1"
MALFORMED = S3Answer(
    400,
    "AuthorizationHeaderMalformed",
    f"The authorization header is malformed; the region '{ASKED}' is wrong; expecting '{RIGHT}'",
    f"<Region>{RIGHT}</Region>",
)
ENV = {
    "AWS_REGION": ASKED,
    "AWS_ACCESS_KEY_ID": "a",
    "AWS_SECRET_ACCESS_KEY": "b",
    "DINO_S3_PATH_STYLE": "true",
    "DINO_STORAGE_PATIENCE": "1",
}
WARNING = (
    f"Warning: bucket {BUCKET} is in region {{}}, and {ASKED} was asked. "
    "Set spec.storage.region (AWS_REGION) to {}."
)


@pytest.fixture(autouse=True)
def _clients() -> Iterator[None]:
    """None of another region, before and after."""
    s3._client.cache_clear()
    yield
    s3._client.cache_clear()


@pytest.fixture
def server(patient_s3: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """A server that answers so, a store on it, and what the store says."""
    running: list[S3Answers] = []

    def start(
        answers: dict[str, S3Answer], region: str = "nowhere"
    ) -> tuple[Store, S3Answers, list[str]]:
        made = S3Answers(answers, region).__enter__()
        running.append(made)
        for name, value in {**ENV, "AWS_ENDPOINT_URL_S3": made.endpoint}.items():
            monkeypatch.setenv(name, value)
        said: list[str] = []
        return open_store(f"s3://{BUCKET}/a", said.append), made, said

    yield start
    for made in running:
        made.__exit__(None, None, None)


@pytest.mark.parametrize("first", ["head", "read", "list", "download"])
def test_a_real_server_in_another_region_is_used_and_named_once(
    first: str, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its HEAD says 400 and no more; its GET names the region."""
    s3_server.client().put_object(Bucket=BUCKET, Key=f"{tmp_path.name}/x", Body=b"hello")
    monkeypatch.setenv("AWS_REGION", ASKED)
    said: list[str] = []
    store = open_store(f"s3://{BUCKET}/{tmp_path.name}", said.append)
    {
        "head": lambda: store.head("x"),
        "read": lambda: store.read_bytes("x"),
        "list": lambda: list(store.list()),
        "download": lambda: store.download("x", tmp_path / "x"),
    }[first]()
    assert said == [WARNING.format("us-east-1", "us-east-1")]
    assert store.read_bytes("x") == b"hello"
    assert store.exists("x")
    assert not store.exists("y")
    assert len(said) == 1


def test_a_missing_object_in_another_region_is_missing(
    s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_REGION", ASKED)
    assert not open_store(f"s3://{BUCKET}/nothing").exists("here")


def test_a_bucket_that_tells_nobody_where_it_is_ends_in_a_sentence(server: Open) -> None:
    """boto3 by itself asks a HEAD of the bucket, and for the 301 of that one the same again."""
    store, made, _ = server({"HEAD": S3Answer(301), "GET": S3Answer(301)})
    with pytest.raises(TrainerError, match=f"is not in region {ASKED}"):
        store.head("x")
    assert len(made.asked) < 10


def test_a_head_without_words_is_followed_by_a_get(server: Open) -> None:
    store, made, said = server({"HEAD": S3Answer(400), "GET": MALFORMED}, RIGHT)
    found = store.head("x")
    assert found is not None
    assert found.size == 5
    assert said == [WARNING.format(RIGHT, RIGHT)]
    assert ("GET", RIGHT) in made.asked
    assert made.asked[-1] == ("HEAD", RIGHT)


REFUSALS = {
    "moved, with the header": (
        S3Answer(301, "PermanentRedirect", headers={"x-amz-bucket-region": RIGHT}),
        "InvalidSpec", f"The bucket of s3://data/a/x is in region {RIGHT}, and {ASKED} was asked",
    ),
    "moved, by its endpoint": (
        S3Answer(301, "PermanentRedirect", "Use this endpoint.",
                 f"<Endpoint>data.s3.{RIGHT}.amazonaws.com</Endpoint>"),
        "InvalidSpec", f"is in region {RIGHT}, and {ASKED} was asked (PermanentRedirect).",
    ),
    "moved, by its older endpoint": (
        S3Answer(301, "PermanentRedirect", "",
                 f"<Endpoint>data.s3-{RIGHT}.amazonaws.com</Endpoint>"),
        "InvalidSpec", f"is in region {RIGHT}, and {ASKED} was asked (PermanentRedirect).",
    ),
    "moved, nobody knows where": (
        S3Answer(301, "PermanentRedirect", "", "<Endpoint>data.example.org</Endpoint>"),
        "InvalidSpec", f"is not in region {ASKED} (PermanentRedirect).",
    ),
    "signed for another region, by its message": (
        S3Answer(400, "AuthorizationHeaderMalformed", MALFORMED.message),
        "InvalidSpec", f"is in region {RIGHT}, and {ASKED} was asked",
    ),
    "an opt-in region": (
        S3Answer(400, "IllegalLocationConstraintException", "incompatible"),
        "InvalidSpec", f"is not in region {ASKED} (IllegalLocationConstraintException).",
    ),
    "denied": (
        S3Answer(403, "AccessDenied", "User: arn:aws:iam::1:user/u is not authorized to perform: "
               "s3:GetObject"),
        "AccessDenied",
        "(AccessDenied: User: arn:aws:iam::1:user/u is not authorized to perform: s3:GetObject).",
    ),
    "an old token": (
        S3Answer(400, "ExpiredToken", "The provided token has expired."),
        "AccessDenied", "(ExpiredToken: The provided token has expired).",
    ),
    "a wrong clock": (
        S3Answer(403, "RequestTimeTooSkewed", "The difference is too large."),
        "StorageUnavailable", "answered RequestTimeTooSkewed",
    ),
    "a request that is none": (
        S3Answer(400, "InvalidArgument", "Bad value for x."),
        "InvalidSpec", "Bad value for x",
    ),
}  # fmt: skip


@pytest.mark.parametrize("answer, reason, said", REFUSALS.values(), ids=REFUSALS)
@pytest.mark.parametrize("ask", ["head", "read_bytes"])
def test_a_refusal_is_told_in_the_words_of_a_get(
    ask: str, answer: S3Answer, reason: str, said: str, server: Open
) -> None:
    """The same whichever way was asked first."""
    store, made, _ = server({"HEAD": S3Answer(answer.status, headers={}), "GET": answer})
    with pytest.raises(TrainerError) as caught:
        getattr(store, ask)("x")
    assert caught.value.reason == reason
    assert said in caught.value.message
    if RIGHT in said:
        assert caught.value.remedy == f"Set spec.storage.region (AWS_REGION) to {RIGHT}."
    assert "GET" in {method for method, _ in made.asked}


def test_an_empty_object_has_no_first_byte(server: Open) -> None:
    """Its GET of a range is refused, and that is no refusal of the object."""
    store, made, _ = server({"HEAD": S3Answer(403), "GET": S3Answer(416, "InvalidRange")})
    with pytest.raises(TrainerError, match=r"refused access to s3://data/a/x \(403\)"):
        store.head("x")
    assert [method for method, _ in made.asked][-1] == "HEAD"


def test_where_only_a_head_is_refused_it_says_so(server: Open) -> None:
    store, _, _ = server({"HEAD": S3Answer(403), "GET": OK})
    with pytest.raises(TrainerError, match=r"refused access to s3://data/a/x \(403\)") as caught:
        store.head("x")
    assert caught.value.reason == "AccessDenied"


@pytest.mark.parametrize("region", ["eu west 1", "EU_WEST_1", "eu-west-1 "])
def test_a_region_that_is_none_is_refused_at_once(
    region: str, server: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was taken for a server that is away, and asked for again until patience ran out."""
    server({})
    monkeypatch.setenv("AWS_REGION", region)
    said: list[str] = []
    with pytest.raises(TrainerError, match="is no region") as caught:
        open_store(f"s3://{BUCKET}", said.append).exists("x")
    assert (caught.value.reason, said) == ("InvalidSpec", [])
