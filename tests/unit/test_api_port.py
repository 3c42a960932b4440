"""The port that `telemetry up` chooses for the API: nobody else's until the API, which comes seconds later, listens."""

import socket
import sys

import pytest

from telemetry.cli.local import free_port
from telemetry.config import ConfigError


def bind(port: int) -> None:
    """Take a port as somebody does who asked for any free one."""
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", port))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the API could not listen on a port that is kept")
def test_a_free_port_is_kept_from_strangers_and_the_api_may_listen_there() -> None:
    with free_port("127.0.0.1", 0) as port:
        with pytest.raises(OSError, match="in use"):
            bind(port)
        with socket.create_server(("127.0.0.1", port)), socket.create_connection(("127.0.0.1", port)) as client:
            assert client.getpeername() == ("127.0.0.1", port)


def test_a_port_that_is_taken_is_an_error_that_names_the_flag() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(ConfigError, match=f"--api-port {port}: .* or 0 for a free one"),
            free_port("127.0.0.1", port),
        ):
            pass
