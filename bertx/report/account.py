"""Whether a run can be sent to Weights & Biases: known within seconds, and nobody is asked."""

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
"""How many seconds the server has to answer."""

LOGIN = "wandb login && "
RELOGIN = "wandb login --relogin && "

_QUESTION = b'{"query": "query Viewer { viewer { id } }", "operationName": "Viewer"}'


class Obstacle(NamedTuple):
    """What is in the way.

    Attributes:
        reason: What it is.
        remedy: The command, up to an ``&&``, that comes before ``wandb sync``; may be empty.
    """

    reason: str
    remedy: str = ""


def obstacle(settings: "Settings", key: str | None = None) -> Obstacle | None:
    """What would keep wandb from sending a run with these settings; None if nothing is known.

    Keys are looked up where wandb has them. The server is asked once who the key belongs to.

    Args:
        settings: What ``wandb.init`` would go by, the user's files and environment included.
        key: The key that the program itself gives, which comes before all others.
    """
    from wandb.errors import AuthenticationError

    host = str(settings.base_url).rstrip("/")
    try:
        key = key or _key(settings, host)
    except (AuthenticationError, ValueError) as error:
        return Obstacle(f"No valid Weights & Biases key ({first_line(error)})", RELOGIN)
    if not key and not settings.identity_token_file:
        return Obstacle("No Weights & Biases key found", LOGIN)
    answers: Queue[Obstacle | None] = Queue()
    question = _question(settings, host, key)
    # A socket's own timeout covers neither the look-up of the name nor a server that trickles.
    Thread(target=lambda: answers.put(_ask(*question, host)), daemon=True).start()
    try:
        return answers.get(timeout=PATIENCE)
    except Empty:
        return Obstacle(f"{host} did not answer within {PATIENCE:g} s")


def _key(settings: "Settings", host: str) -> str | None:
    from wandb.sdk.lib.wbauth import read_netrc_auth

    return os.environ.get("WANDB_API_KEY") or read_netrc_auth(host=host) or settings.api_key


def _question(settings: "Settings", host: str, key: str | None) -> tuple[OpenerDirector, Request]:
    """The request, and what sends it on the way that wandb itself would take."""
    given: dict[str, Any] = {"http": settings.http_proxy, "https": settings.https_proxy}
    proxies = getproxies() | {scheme: proxy for scheme, proxy in given.items() if proxy}
    headers = {"Content-Type": "application/json", "User-Agent": "bertx"}
    if key:
        headers["Authorization"] = f"Basic {b64encode(f'api:{key}'.encode()).decode()}"
    headers |= dict(settings.x_extra_http_headers or {})
    return build_opener(ProxyHandler(proxies)), Request(f"{host}/graphql", _QUESTION, headers)


def _ask(opener: OpenerDirector, request: Request, host: str) -> Obstacle | None:
    try:
        opener.open(request, timeout=PATIENCE).close()
    except HTTPError as error:
        refused = error.code in (401, 403)
        what = f"{host} does not accept the Weights & Biases key ({error.code})"
        return Obstacle(what, RELOGIN) if refused else None
    except URLError as error:
        if isinstance(error.reason, SSLError):  # wandb may trust other certificates
            return None
        why = getattr(error.reason, "strerror", None) or error.reason
        return Obstacle(f"{host} cannot be reached ({why})")
    except Exception as error:
        return Obstacle(f"{host} does not answer as expected ({first_line(error)})")
    return None
