"""Patterns for the values of `format`: each matches only texts that the format's specification allows.

Narrower than the specifications on purpose: common and short texts. A format not listed here constrains nothing,
as JSON schema says of formats nobody knows."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_YEAR_MONTH_DAY = (
    "[12][0-9]{3}-(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)"
)
_HOUR_MINUTE_SECOND = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?"
_OFFSET = "(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
_COUNT = "[1-9][0-9]{0,3}"
_BYTE = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_LABEL = "[a-z](?:[a-z0-9-]{0,20}[a-z0-9])?"
_HOST = rf"{_LABEL}(?:\.{_LABEL}){{1,3}}"
_PATH = "(?:/[A-Za-z0-9._~-]{1,24}){0,6}/?"
_QUERY = r"(?:\?[A-Za-z0-9._~-]{1,24}=[A-Za-z0-9._~-]{1,24}(?:&[A-Za-z0-9._~-]{1,24}=[A-Za-z0-9._~-]{1,24}){0,3})?"
_URI = f"https?://{_HOST}{_PATH}{_QUERY}"
_EMAIL = rf"[a-z0-9]{{1,24}}(?:[._+-][a-z0-9]{{1,16}}){{0,3}}@{_HOST}"
_POINTER = "(?:/[A-Za-z0-9_-]{0,24}){0,6}"
_UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"

FORMATS: Mapping[str, str] = MappingProxyType(
    {
        "date": f"^{_YEAR_MONTH_DAY}$",
        "time": f"^{_HOUR_MINUTE_SECOND}{_OFFSET}$",
        "date-time": f"^{_YEAR_MONTH_DAY}T{_HOUR_MINUTE_SECOND}{_OFFSET}$",
        "duration": f"^P(?:{_COUNT}[DW]|T{_COUNT}H(?:[1-5]?[0-9]M)?|T{_COUNT}[MS])$",
        "email": f"^{_EMAIL}$",
        "idn-email": f"^{_EMAIL}$",
        "hostname": f"^{_HOST}$",
        "idn-hostname": f"^{_HOST}$",
        "ipv4": rf"^{_BYTE}(?:\.{_BYTE}){{3}}$",
        "ipv6": "^(?:[0-9a-f]{1,4}:){7}[0-9a-f]{1,4}$",
        "uri": f"^{_URI}$",
        "uri-reference": f"^{_URI}$",
        "iri": f"^{_URI}$",
        "iri-reference": f"^{_URI}$",
        "uri-template": f"^{_URI}$",
        "uuid": f"^{_UUID}$",
        "json-pointer": f"^{_POINTER}$",
        "relative-json-pointer": f"^(?:0|[1-9][0-9]?){_POINTER}$",
        "regex": "^[A-Za-z0-9 ]{1,64}$",
    }
)
"""Format → pattern."""
