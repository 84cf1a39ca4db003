"""What needs a person's consent, as ends of the sentence "this run …"."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from urllib.parse import urlsplit

_WITHOUT_ACCOUNT = (None, "none", "tensorboard")


def runs_code(what: str) -> str:
    """Says that code of somebody's own would run; `what` names it, e.g. "judges with the Python function 'a:b'"."""
    return f"{what}, which would run with all your rights"


def sends_key(variable: str | None, address: str) -> Iterator[str]:
    """Says that a key would leave this machine, where it would: nothing of no key, or of an address on this machine.

    Args:
        variable: The environment variable that holds the key, if there is one.
        address: Where it is sent.
    """
    if variable is not None and not is_loopback(address):
        yield f"would send the key in the variable {variable} to {address}"


def reports_to(trackers: object) -> Iterator[str]:
    """Says that a run would be shown to accounts that are set up on this machine; TensorBoard has none.

    Args:
        trackers: What `training.report_to` names, whatever that is.
    """
    named = trackers if isinstance(trackers, list | tuple) else [trackers]
    for tracker in named:
        if tracker not in _WITHOUT_ACCOUNT:
            yield f"would report to the tracker '{tracker}', with the account that is set up on this machine"


def is_loopback(address: str) -> bool:
    """Whether a URL, or a host with its port, is this machine itself, whatever a name server says."""
    host = urlsplit(address if "://" in address else f"//{address}").hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
