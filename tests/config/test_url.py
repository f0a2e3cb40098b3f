import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.config.url import BucketUrl, DirectoryUrl, parse_url


@pytest.mark.parametrize(
    ("written", "place", "spelling"),
    [
        ("file:///var/b", DirectoryUrl(Path("/var/b")), "file:///var/b"),
        ("file:///var/b/", DirectoryUrl(Path("/var/b")), "file:///var/b"),
        ("file:///var/my%20b%23", DirectoryUrl(Path("/var/my b#")), "file:///var/my%20b%23"),
        ("file:///var/my b", DirectoryUrl(Path("/var/my b")), "file:///var/my%20b"),
        ("file:///größe", DirectoryUrl(Path("/größe")), "file:///gr%C3%B6%C3%9Fe"),
        ("s3://bucket", BucketUrl("bucket"), "s3://bucket"),
        ("s3://bucket/", BucketUrl("bucket"), "s3://bucket"),
        ("s3://bucket/a/b=c/", BucketUrl("bucket", "a/b=c"), "s3://bucket/a/b=c"),
        ("s3://Old_Bucket.x/a", BucketUrl("Old_Bucket.x", "a"), "s3://Old_Bucket.x/a"),
    ],
)
def test_a_place_has_one_spelling(written: str, place: object, spelling: str) -> None:
    assert parse_url(written) == place
    assert str(place) == spelling
    assert parse_url(spelling) == place


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("", "must start with"),
        ("/var/b", "must start with"),
        ("https://bucket.example/x", "must start with"),
        ("file:/var/b", "must start with"),
        ("s3:bucket", "must start with"),
        ("s3://[bucket", "must be file:///path or s3://bucket/prefix"),
        ("file://var/b", "three slashes"),
        ("file://localhost/var/b", "three slashes"),
        ("file://", "must name a directory below /"),
        ("file:///", "must name a directory below /"),
        ("file:////var", "empty segment"),
        ("file:///var//b", "empty segment"),
        ("file:///var/../etc", "'..'"),
        ("file:///var/%2e%2e/etc", "'..'"),
        ("file:///var%00", "control characters"),
        ("file:///var/%ff", "not UTF-8"),
        ("file:///var\n", "control characters"),
        ("file:///var?x", "'?' or '#'"),
        ("file:///var#x", "'?' or '#'"),
        ("s3://", "must name a bucket"),
        ("s3:///prefix", "must name a bucket"),
        ("s3://ab", "must name a bucket"),
        ("s3://-bucket", "must name a bucket"),
        ("s3://bucket:80/x", "must name a bucket"),
        ("s3://bucket//x", "empty segment"),
        ("s3://bucket/x//y", "empty segment"),
        ("s3://bucket/x/../y", "'..'"),
        ("s3://bucket/./y", "'.'"),
        ("s3://bucket/a b", "a prefix has only"),
        ("s3://bucket/%41", "a prefix has only"),
        ("s3://bucket/größe", "a prefix has only"),
        ("s3://bucket/" + "x" * 513, "at most 512"),
        ("s3://key:secret@bucket/x", "credentials"),
    ],
)
def test_what_no_target_can_be_is_refused_with_the_rule(written: str, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)) as caught:
        parse_url(written)
    assert "secret" not in str(caught.value)


_SEGMENT = st.text(
    st.characters(exclude_characters="/", exclude_categories=("C", "Z")), min_size=1, max_size=12
).filter(lambda text: text not in {".", ".."} and "\ufffd" not in text)


@given(st.lists(_SEGMENT, min_size=1, max_size=5))
def test_every_directory_survives_its_url(segments: list[str]) -> None:
    place = DirectoryUrl(Path("/", *segments))
    assert parse_url(str(place)) == place
