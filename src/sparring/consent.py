"""The actions of a run that need a person's consent, each as the end of the sentence "this run …"."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from urllib.parse import urlsplit

_WITHOUT_ACCOUNT = (None, "none", "tensorboard")


def runs_code(what: str) -> str:
    """Code that the run names would run; `what` is that use of it, e.g. "judges with the Python function 'a:b'"."""
    return f"{what}, which would run with all your rights"


def sends_key(variable: str | None, address: str) -> Iterator[str]:
    """A key would be sent to another machine; nothing if there is no key, or the address is on this machine.

    Args:
        variable: The environment variable that holds the key, or None.
        address: The address that the key is sent to.
    """
    if variable is not None and not is_loopback(address):
        yield f"would send the key in the variable {variable} to {address}"


def reports_to(trackers: object) -> Iterator[str]:
    """The run would report to accounts that are set up on this machine; TensorBoard has no accounts.

    Args:
        trackers: The value of `training.report_to`, unchecked.
    """
    named = trackers if isinstance(trackers, list | tuple) else [trackers]
    for tracker in named:
        if tracker not in _WITHOUT_ACCOUNT:
            yield f"would report to the tracker '{tracker}', with the account that is set up on this machine"


def is_loopback(address: str) -> bool:
    """Whether a URL, or a host with its port, names this machine itself, without asking a name server."""
    host = urlsplit(address if "://" in address else f"//{address}").hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
