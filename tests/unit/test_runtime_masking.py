"""Masking over messages that are safe already: what to do about it must survive."""

import pytest

from telemetry.broker import BrokerError
from telemetry.broker.url import parse
from telemetry.runtime import mask_secrets, mask_tokens


@pytest.mark.parametrize(
    ("url", "remedy"),
    [
        ("redis://:p@hush/w@h", "write @ as %40, / as %2F and : as %3A in the password"),
        ("http://u:hush@h", "expected one of redis://, rediss://, unix://, redis+sentinel://"),
        ("redis://:hush@a,b", "name one host, several are for redis+sentinel:// and redis+cluster://"),
        ("redis://h?password=hush", "option 'password' is unknown; redis:// takes db"),
        ("redis://:hush@h?a@b=1", "option 'a@b' is unknown; redis:// takes db"),
        ("redis://:hush@h?db=x", "db=x cannot be used"),
        ("redis://:hush@h:p", "'h:p' is no host[:port]"),
        ("redis://:hush@h:99999", "99999 is no port"),
        ("redis+sentinel://:hush@h", "name the master, as in redis+sentinel://host/mymaster/0"),
        ("redis://:hush@h/x", "'/x' is no database number"),
        ("redis+cluster://:hush@h/1", "a cluster has database 0 only"),
    ],
)
def test_the_remedy_for_a_broker_url_survives_a_second_masking(url: str, remedy: str) -> None:
    with pytest.raises(BrokerError) as refused:
        parse(url)
    shown = mask_secrets(str(refused.value))
    assert remedy in shown
    assert "hush" not in shown


def test_a_token_is_hidden_wherever_it_stands_but_for_its_first_characters() -> None:
    token = "tlm_AbCd" + "-_xY9" * 7
    for text in ("Bearer {}", "path=/api/v1/gpus/{}", '{{"a": "{}"}}', "{}", "postgresql://u:{}@h/d"):
        assert token[8:] not in mask_secrets(text.format(token))
    assert mask_tokens(f"is {token}, is none") == "is tlm_AbCd***, is none"
    assert mask_tokens("tlm_ and tlm_abcd are none") == "tlm_ and tlm_abcd are none"
