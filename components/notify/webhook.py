"""Posts JSON to a webhook whose address is a secret."""

import http.client
import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from components.shared import events

ATTEMPTS = 4
_TIMEOUT = 60.0
"""Seconds that an answer may take."""
_FIRST_WAIT = 2.0
"""Seconds before the second attempt; each further wait is twice as long."""
_TEMPORARY = (408, 425, 429)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Leaves a redirection an error: it would turn the post into a request without content."""

    def redirect_request(self, *arguments: Any) -> None:
        return None


def post(
    url: str, message: Mapping[str, Any], *, wait: Callable[[float], None] = time.sleep
) -> str:
    """Posts a message, a few times if need be; never raises, and never shows the URL.

    Args:
        url: http or https.
        message: JSON values.
        wait: is given the seconds to wait before another attempt.

    Returns:
        How it went, for a reader.
    """
    body = json.dumps(message, ensure_ascii=False).encode()
    trouble = _unusable(url)
    if trouble:
        return f"{message['state']}, but the webhook wasn't told: {trouble}"
    for attempt in range(ATTEMPTS):
        trouble, lasting = _try(url, body)
        if trouble is None:
            return f"{message['state']}, told to the webhook"
        if lasting:
            break
        if attempt < ATTEMPTS - 1:
            events.progress(f"the webhook: {trouble}; trying again")
            wait(_FIRST_WAIT * 2**attempt)
    return f"{message['state']}, but the webhook wasn't told: {trouble}"


def _unusable(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    return None if usable else "NOTIFY_WEBHOOK_URL must be a http or https URL"


def _try(url: str, body: bytes) -> tuple[str | None, bool]:
    """Why the message wasn't taken, None if it was; and whether trying again is useless."""
    try:
        request = urllib.request.Request(
            url, body, {"Content-Type": "application/json", "User-Agent": "imdb-pipeline"}
        )
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=_TIMEOUT):
            return None, False
    except urllib.error.HTTPError as error:
        error.close()
        return f"it answered {error.code}", error.code < 500 and error.code not in _TEMPORARY
    except (OSError, http.client.HTTPException, ValueError) as error:
        # What these say may hold the URL.
        return f"it doesn't answer ({_reason(error)})", isinstance(error, ValueError)


def _reason(error: BaseException) -> str:
    """The system's words for the trouble, or the kind of error; never its own text."""
    nested = getattr(error, "reason", None)
    if isinstance(nested, BaseException):
        return _reason(nested)
    words = nested if isinstance(error, ssl.SSLError) else getattr(error, "strerror", None)
    return words or type(error).__name__
