"""The shape of a dated price: rates, hours, long context; it must not know what a card or a call is."""

from __future__ import annotations

from datetime import date
from datetime import time as time_of_day
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

NANOUSD_PER_USD = 1_000_000_000


class Frozen(BaseModel):
    """What every value read from a card is: unchangeable, with no field nobody knows."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def nanousd_of(usd: object) -> int:
    """Dollars written as a decimal string → nano-dollars, exactly; ValueError where that is not whole."""
    if not isinstance(usd, str):
        raise ValueError(f'a price is a decimal string such as "3.00", got {usd!r}')
    try:
        nanousd = Decimal(usd) * NANOUSD_PER_USD
    except InvalidOperation as error:
        raise ValueError(f'a price is a decimal string such as "3.00", got {usd!r}') from error
    if not nanousd.is_finite() or nanousd < 0 or nanousd != nanousd.to_integral_value():
        raise ValueError(f"a price is at least 0 and a whole number of nano-dollars, got {usd!r} USD")
    return int(nanousd)


class Rates(Frozen):
    """Nano-dollars per million tokens. A rate that is None is one the provider does not price apart."""

    input_nanousd: Annotated[int, Field(ge=0)]
    output_nanousd: Annotated[int, Field(ge=0)]
    cache_read_nanousd: Annotated[int, Field(ge=0)] | None = None
    cache_write_nanousd: Annotated[int, Field(ge=0)] | None = None
    """Writes kept 5 minutes (or the provider's shortest time)."""
    cache_write_1h_nanousd: Annotated[int, Field(ge=0)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _dollars_become_nanodollars(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        return {
            (f"{key.removesuffix('_usd')}_nanousd" if key.endswith("_usd") else key): (
                nanousd_of(value) if key.endswith("_usd") else value
            )
            for key, value in data.items()
        }


class LongContext(Rates):
    """The rates of every token of a request whose input is longer than `above_input_tokens`."""

    above_input_tokens: Annotated[int, Field(gt=0)]


class Hours(Frozen):
    """A daily span in UTC, from `start` up to but not including `end`; it may pass midnight."""

    start: time_of_day
    end: time_of_day

    @model_validator(mode="after")
    def _is_a_span(self) -> Self:
        if self.start == self.end or self.start.tzinfo is not None or self.end.tzinfo is not None:
            raise ValueError(f"hours are two different UTC times without offset, got {self.start} to {self.end}")
        return self

    def contains(self, moment: time_of_day) -> bool:
        """Whether this naive UTC time of day lies in the span."""
        if self.start < self.end:
            return self.start <= moment < self.end
        return moment >= self.start or moment < self.end


class Price(Rates):
    """What tokens cost from a UTC day on; a past price is never edited, a new dated one is added."""

    effective: date | None = None
    """First UTC day. None: the source names none, the price holds until a dated one follows it."""
    source: str
    """A URL, or `genai-prices <version>: <provider>/<model>`."""
    checked: date
    hours_utc: Hours | None = None
    """None: the price of the whole day, save the hours that another price of the same day names."""
    batch_discount: Annotated[Decimal, Field(ge=0, le=1)] | None = None
    """Share taken off every rate by the provider's batch interface."""
    long_context: LongContext | None = None
