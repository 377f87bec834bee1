"""The WANDB_* variables that hold here: which server, whose account and project, how it is reached.

wandb takes any of its settings from a variable of that name. Those that are about one run, its mode or its files
(WANDB_RUN_ID, WANDB_RESUME, WANDB_FORK_FROM, WANDB_SWEEP_ID, ...) would make every run of a study the same one, or cut
its curve: what a run is, is said explicitly, so all but the named ones are left out.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

_HOLDS = re.compile(
    r"WANDB_(BASE_URL|APP_URL|API_KEY|IDENTITY_TOKEN_FILE|CREDENTIALS_FILE|ENTITY|PROJECT|ORGANIZATION|CONFIG_DIR"
    r"|HTTP_TIMEOUT|HTTPS?_PROXY|INIT_TIMEOUT|LOGIN_TIMEOUT|FILE_PUSHER_TIMEOUT|INSECURE_DISABLE_SSL|ERROR_REPORTING"
    r"|DEBUG|CORE_DEBUG|X_(GRAPHQL|FILE_STREAM|FILE_TRANSFER)_(RETRY|TIMEOUT)\w*|X_EXTRA_HTTP_HEADERS|X_PROXIES)"
)


def held(places: Mapping[str, str]) -> dict[str, str]:
    """The whole environment with those of its WANDB_* variables that hold, and WANDB_<name> of `places`."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("WANDB_") or _HOLDS.fullmatch(name)}
    return kept | {f"WANDB_{name}": text for name, text in places.items()}


@contextmanager
def holding(places: Mapping[str, str]) -> Iterator[None]:
    """Make that this process's environment; afterwards its WANDB_* variables are as before, or as wandb was told."""
    before = {name: text for name, text in os.environ.items() if name.startswith("WANDB_")}
    wanted = held(places)
    for name in before:
        del os.environ[name]
    os.environ |= {name: text for name, text in wanted.items() if name.startswith("WANDB_")}
    try:
        yield
    finally:
        for name in [name for name in os.environ if name.startswith("WANDB_") and name != "WANDB_SERVICE"]:
            del os.environ[name]  # the service is that of a run which its user has open
        os.environ |= before
