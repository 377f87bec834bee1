"""The W&B server that the user's settings name: whether it can be used, and whether it answers."""

from __future__ import annotations

import importlib.util
import os
import urllib.error
import urllib.request

from study.tracking.environment import holding
from study.tracking.wandb_run import TrackingError

MODES = ("offline", "online", "off")
PROJECT = "relative-flatness-study"


def project() -> str:
    """The project that runs are shown in: $WANDB_PROJECT, else the study's own."""
    return os.environ.get("WANDB_PROJECT") or PROJECT


def entity() -> str | None:
    """The user or team that it belongs to: $WANDB_ENTITY, else the account's own (None)."""
    return os.environ.get("WANDB_ENTITY") or None


def check(mode: str) -> None:
    """Refuse a mode that cannot work, before anything is trained. Raises TrackingError; contacts no server."""
    if mode not in MODES:
        raise TrackingError(f"wandb: {mode}: allowed: {', '.join(MODES)}")
    if mode != "online":
        return
    if importlib.util.find_spec("wandb") is None:
        raise TrackingError("wandb: online: wandb is not installed; allowed without it: offline, off")
    import wandb
    from wandb.sdk.lib import wbauth  # what wandb.login() does first; login itself goes on to contact the server

    try:
        with holding({}):
            known = wbauth.authenticate_session(host=_url(), source="study", prompt=False, update_session=False)
    except wandb.Error as error:
        raise TrackingError(f"wandb: online: {error}") from error
    if known is None:
        raise TrackingError("wandb: online: no API key; run `wandb login` or set WANDB_API_KEY, or use offline")


def require_server() -> None:
    """Ask the server for any answer at all, since wandb would try for hours. Raises TrackingError without one."""
    url = _url()
    try:
        urllib.request.urlopen(url, timeout=10).close()
    except urllib.error.HTTPError:
        return  # it is there, whatever it thinks of the question
    except OSError as error:
        raise TrackingError(f"wandb: {url} cannot be reached ({error}); runs are kept offline for later") from error


def _url() -> str:
    """The server of the user's environment and settings file."""
    from wandb.sdk import wandb_setup  # wandb.setup() gives the same, and starts a service for it

    with holding({}):
        return str(wandb_setup.singleton().settings.base_url)
