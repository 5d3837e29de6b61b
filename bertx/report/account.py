"""A check, within seconds and without prompts, whether Weights & Biases accepts a run."""

import os
from base64 import b64encode
from queue import Empty, Queue
from ssl import SSLError
from threading import Thread
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.request import OpenerDirector, ProxyHandler, Request, build_opener, getproxies

from bertx.errors import first_line

if TYPE_CHECKING:
    from wandb import Settings

PATIENCE = 8.0
"""Seconds that the server has to respond."""

LOGIN = "wandb login && "
RELOGIN = "wandb login --relogin && "

_QUERY = b'{"query": "query Viewer { viewer { id } }", "operationName": "Viewer"}'


class Obstacle(NamedTuple):
    """A reason why a run cannot be sent.

    Attributes:
        reason: The reason.
        remedy: Commands to run before ``wandb sync``, up to an ``&&``; may be empty.
    """

    reason: str
    remedy: str = ""


def obstacle(settings: "Settings", key: str | None = None) -> Obstacle | None:
    """Return why wandb could not send a run with these settings; None without a reason.

    Keys are looked up where wandb looks them up. One query to the server checks the key.

    Args:
        settings: The settings of ``wandb.init``, with those of files and environment.
        key: A key passed to the logger, which takes precedence over all others.
    """
    from wandb.errors import AuthenticationError

    host = str(settings.base_url).rstrip("/")
    try:
        key = key or _key(settings, host)
    except (AuthenticationError, ValueError) as error:
        return Obstacle(f"No valid Weights & Biases key ({first_line(error)})", RELOGIN)
    if not key and not settings.identity_token_file:
        return Obstacle("No Weights & Biases key found", LOGIN)
    results: Queue[Obstacle | None] = Queue()
    query = _query(settings, host, key)
    # The timeout of a socket covers neither the name lookup nor a server that sends byte by byte.
    Thread(target=lambda: results.put(_send(*query, host)), daemon=True).start()
    try:
        return results.get(timeout=PATIENCE)
    except Empty:
        return Obstacle(f"{host} did not answer within {PATIENCE:g} s")


def _key(settings: "Settings", host: str) -> str | None:
    from wandb.sdk.lib.wbauth import read_netrc_auth

    return os.environ.get("WANDB_API_KEY") or read_netrc_auth(host=host) or settings.api_key


def _query(settings: "Settings", host: str, key: str | None) -> tuple[OpenerDirector, Request]:
    """The request, and an opener with the proxies that wandb would use."""
    chosen: dict[str, Any] = {"http": settings.http_proxy, "https": settings.https_proxy}
    proxies = getproxies() | {scheme: proxy for scheme, proxy in chosen.items() if proxy}
    headers = {"Content-Type": "application/json", "User-Agent": "bertx"}
    if key:
        headers["Authorization"] = f"Basic {b64encode(f'api:{key}'.encode()).decode()}"
    headers |= dict(settings.x_extra_http_headers or {})
    return build_opener(ProxyHandler(proxies)), Request(f"{host}/graphql", _QUERY, headers)


def _send(opener: OpenerDirector, request: Request, host: str) -> Obstacle | None:
    try:
        opener.open(request, timeout=PATIENCE).close()
    except HTTPError as error:
        if error.code not in (401, 403):
            return None
        reason = f"{host} does not accept the Weights & Biases key ({error.code})"
        return Obstacle(reason, RELOGIN)
    except URLError as error:
        if isinstance(error.reason, SSLError):  # wandb may trust other certificates
            return None
        cause = getattr(error.reason, "strerror", None) or error.reason
        return Obstacle(f"{host} cannot be reached ({cause})")
    except Exception as error:
        return Obstacle(f"{host} does not answer as expected ({first_line(error)})")
    return None
