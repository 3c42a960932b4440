"""Database URLs: shown without their password, refused when they are none."""

import pytest

from telemetry.store.errors import StoreError
from telemetry.store.session import check_url, parameters, safe_url


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:secret@h:5432/d", "postgresql://u:***@h:5432/d"),
        ("postgresql://u@h/d", "postgresql://u@h/d"),
        ("postgresql://h/d", "postgresql://h/d"),
        ("postgresql:///d", "postgresql:///d"),
        ("postgresql://:secret@h/d", "postgresql://:***@h/d"),
        ("postgresql://u:sec%40ret@h/d?sslmode=require", "postgresql://u:***@h/d?sslmode=require"),
        ("postgresql://u:sec@ret@h/d", "postgresql://u:***@h/d"),
        ("postgresql://u:sec/re:t#?@h/d", "postgresql://u:***@h/d"),
        ("postgresql://u:sec[ret@h/d", "postgresql://u:***@h/d"),
        ("postgresql://u:secret@h1:1,h2:2/d", "postgresql://u:***@h1:1,h2:2/d"),
        ("postgresql://u:secret@[::1]:5432/d", "postgresql://u:***@[::1]:5432/d"),
        ("postgresql://u@h/d?password=secret&x=1", "postgresql://u@h/d?password=***&x=1"),
        ("postgresql://u@h/d?sslpassword=secret", "postgresql://u@h/d?sslpassword=***"),
        ("postgresql://u@h:1/d?passfile=/run/x", "postgresql://u@h:1/d?passfile=/run/x"),
        ("host=h password=secret dbname=d", "host=h password=*** dbname=d"),
        ("host=h password = 'sec \\' ret' dbname=d", "host=h password = *** dbname=d"),
        ("host=h password='secret", "host=h password=***"),
        ("nonsense", "nonsense"),
        ("", ""),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert safe_url(url) == shown
    assert "ret" not in safe_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u@h/d",
        "postgres://h:5/d?sslmode=require",
        "postgresql://u:s%40e%2Fc%3A@h1:1,[::1]:2/d",
        "postgresql://u@h/d?application_name=a@b",
        "postgresql:///d?host=/run/x&user=a@b",
        "host=h password=s@e/c",
        "host=h dbname=d",
        "",
    ],
)
def test_what_the_driver_takes_is_a_url(url: str) -> None:
    check_url(url)


@pytest.mark.parametrize("url", ["redis://h/0", "postgresql://u@h/d?nonsense=1", "h:5432", "http://[bad"])
def test_what_the_driver_does_not_take_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(StoreError) as caught:
        check_url(url)
    assert "postgresql://user@host" in str(caught.value)
    assert url not in str(caught.value)


@pytest.mark.parametrize("password", ["p@ss/wo:rd", "p@ss", "p/ss", "1/ss", "p:/ss", "@ss", "ss@", "p?ss@ss", "p@\nss"])
def test_a_password_with_a_bare_delimiter_is_refused_with_the_remedy(password: str) -> None:
    for scheme in ("postgresql", "postgres"):
        with pytest.raises(StoreError, match="write @ as %40, / as %2F and : as %3A") as caught:
            check_url(f"{scheme}://u:{password}@127.0.0.1:1/db")
        assert "ss" not in str(caught.value).replace("password", "")


def test_every_connection_is_named_and_bounded() -> None:
    found = parameters("x" * 80, connect_timeout=0.2, lock_timeout=1.5, statement_timeout=0)
    assert len(found["application_name"]) == 63
    assert found["connect_timeout"] == 2
    assert "-c lock_timeout=1500ms" in found["options"]
    assert "-c statement_timeout=0ms" in found["options"]
