"""Whether a run can be sent to Weights & Biases: its keys, and a server that has its moods."""

import socket
import threading
from base64 import b64encode

import pytest

from bertx.report import account
from bertx.report.account import LOGIN, RELOGIN, obstacle
from tests.wandb_server import KEY, closed_port, serving

ANOTHER = "9876543210" * 4


def settings(**given):
    """What ``wandb.init`` would go by now."""
    from wandb.sdk.wandb_setup import singleton

    found = singleton().settings.model_copy()
    found.update_from_dict(given)
    return found


@pytest.fixture
def server(wandb_home, monkeypatch):
    with serving() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        yield server


def login(home, monkeypatch):
    import wandb

    wandb.login(key=KEY, verify=False)
    assert KEY in (home / ".netrc").read_text()
    wandb.teardown()  # as another process would begin


def by_environment(home, monkeypatch):
    (home / ".netrc").write_text(f"default login user password {ANOTHER}")
    monkeypatch.setenv("WANDB_API_KEY", KEY)


def by_another_netrc(home, monkeypatch):
    import wandb

    monkeypatch.setenv("NETRC", str(home / "mine"))
    wandb.login(key=KEY, verify=False)
    assert KEY in (home / "mine").read_text() and not (home / ".netrc").exists()
    wandb.teardown()


def by_settings(home, monkeypatch):
    (home / ".config/wandb").mkdir(parents=True)
    (home / ".config/wandb/settings").write_text(f"[default]\napi_key = {KEY}\n")


@pytest.mark.parametrize("provide", [login, by_environment, by_another_netrc, by_settings])
def test_a_key_is_found_where_wandb_keeps_it(provide, server, wandb_home, monkeypatch):
    provide(wandb_home, monkeypatch)
    assert obstacle(settings()) is None
    assert server.asked == [("Viewer", f"Basic {b64encode(f'api:{KEY}'.encode()).decode()}")]


def test_a_login_to_the_default_host_is_found_there(wandb_home, monkeypatch):
    """The host is wandb's, whatever its version has for one."""
    import wandb

    asked = []
    monkeypatch.setattr(account, "_send", lambda opener, request, host: asked.append(request))
    wandb.login(key=KEY, verify=False)
    wandb.teardown()
    assert obstacle(settings()) is None
    assert [request.full_url for request in asked] == [f"{wandb.Settings().base_url}/graphql"]
    assert asked[0].get_header("Authorization").endswith(b64encode(f"api:{KEY}".encode()).decode())


def test_the_programs_own_key_comes_first(server, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", ANOTHER)
    assert obstacle(settings(), KEY) is None
    assert server.asked[0][1].endswith(b64encode(f"api:{KEY}".encode()).decode())


def test_an_identity_token_needs_no_key(server, monkeypatch):
    monkeypatch.setenv("WANDB_IDENTITY_TOKEN_FILE", "token")
    assert obstacle(settings()) is None
    assert server.asked == [("Viewer", None)]


@pytest.mark.parametrize("text", ["machine other.org login user password x", "machine", ""])
def test_without_a_key_nobody_is_asked(text, server, wandb_home):
    (wandb_home / ".netrc").write_text(text)
    assert obstacle(settings()) == ("No Weights & Biases key found", LOGIN)
    assert server.asked == []


def test_what_is_no_key(server, wandb_home):
    host = server.url.removeprefix("http://")
    (wandb_home / ".netrc").write_text(f"machine {host} login user password short")
    found = obstacle(settings())
    assert "40" in found.reason and found.remedy == RELOGIN and server.asked == []


@pytest.mark.parametrize("status", [401, 403])
def test_a_wrong_key(status, wandb_home):
    with serving(stranger=status) as server:
        found = obstacle(settings(base_url=server.url), KEY)
    what = f"{server.url} does not accept the Weights & Biases key ({status})"
    assert found == (what, RELOGIN)


def test_what_the_server_cannot_answer_is_left_to_wandb(wandb_home):
    with serving(stranger=500) as server:
        assert obstacle(settings(base_url=server.url), KEY) is None


def test_a_closed_port(wandb_home):
    url = closed_port()
    found = obstacle(settings(base_url=url), KEY)
    assert found == (f"{url} cannot be reached (Connection refused)", "")


def test_a_server_that_hangs(wandb_home, monkeypatch):
    monkeypatch.setattr(account, "PATIENCE", 0.3)
    with serving(hangs=True) as server:
        found = obstacle(settings(base_url=server.url), KEY)
    assert server.url in found.reason and not found.remedy


def test_a_name_that_takes_forever(wandb_home, monkeypatch):
    """No socket exists yet that could time out."""
    monkeypatch.setattr(account, "PATIENCE", 0.3)
    never = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: never.wait())
    try:
        found = obstacle(settings(base_url="http://wandb.example.org"), KEY)
    finally:
        never.set()
    assert found == ("http://wandb.example.org did not answer within 0.3 s", "")
