"""Weights & Biases without an account: runs stay offline, and nobody is asked for a key.

This looks where wandb looks, without importing it: wandb itself would wait at a prompt.
"""

import configparser
import netrc
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from jsonargparse import Namespace
from lightning.pytorch.utilities import rank_zero_only

HOST = "https://api.wandb.ai"


def stay_offline_without_key(loggers: Sequence[Namespace]) -> None:
    """Set WANDB_MODE=offline if a run would otherwise stop to ask for a key.

    Nothing is done where WANDB_MODE, the logger or wandb's own settings choose a mode, or where a
    key is found.

    Args:
        loggers: The configured loggers (``class_path`` and ``init_args``).
    """
    folders = [
        arguments.get("save_dir") or arguments.get("dir") or "."
        for arguments in (logger.get("init_args") or {} for logger in loggers if is_wandb(logger))
        if not arguments.get("offline") and not arguments.get("mode")
    ]
    if folders and not os.environ.get("WANDB_MODE") and not _configured():
        os.environ["WANDB_MODE"] = "offline"
        _say(f"{folders[0]}/wandb/offline-run-*")


def is_wandb(logger: Namespace) -> bool:
    """Whether a configured logger is Lightning's for Weights & Biases."""
    return str(logger.get("class_path", "")).rpartition(".")[2] == "WandbLogger"


@rank_zero_only
def _say(runs: str) -> None:
    print(
        "No Weights & Biases key found: this run is logged offline. "
        f"To send it later: wandb login && wandb sync {runs}"
    )


def _configured() -> bool:
    stored = _settings()
    if "mode" in stored or "api_key" in stored:
        return True
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    return _in_netrc(os.environ.get("WANDB_BASE_URL") or stored.get("base_url") or HOST)


def _settings() -> dict[str, str]:
    """What ``wandb login`` and ``wandb offline`` stored, for the user and for this folder."""
    folder = os.environ.get("WANDB_CONFIG_DIR", "~/.config/wandb")
    own = Path(os.environ.get("WANDB_DIR", "."), "wandb", "settings")
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read([Path(folder, "settings").expanduser(), own])
    except (configparser.Error, UnicodeDecodeError):
        return {}
    return dict(parser["default"]) if parser.has_section("default") else {}


def _in_netrc(host: str) -> bool:
    """Whether the first netrc file that exists has a password for the host."""
    path = next((path for path in _netrc_files() if path.is_file()), None)
    if path is None:
        return False
    try:
        entry = netrc.netrc(path).authenticators(urlsplit(host).netloc)
    except (netrc.NetrcParseError, OSError):
        return False
    return entry is not None and bool(entry[2])


def _netrc_files() -> Iterator[Path]:
    if named := os.environ.get("NETRC"):
        yield Path(named).expanduser()
    else:
        yield from (Path(name).expanduser() for name in ("~/.netrc", "~/_netrc"))
