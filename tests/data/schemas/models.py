"""Pydantic models of three answers that apps ask for; the JSON files beside are their schemas."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field


class Section(BaseModel):
    """One part of a post."""

    heading: str = Field(max_length=90)
    points: list[str] = Field(min_length=1, max_length=6)
    words: int = Field(ge=50, le=800)


class BlogOutline(BaseModel):
    """What a post will say, before it is written."""

    title: str = Field(min_length=5, max_length=120)
    slug: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=80)
    audience: Literal["beginners", "practitioners", "decision makers"]
    summary: str
    sections: list[Section] = Field(min_length=2, max_length=8)
    tags: list[str] = Field(default_factory=list, max_length=8)


class Goal(BaseModel):
    """Something a persona wants, and what belongs to it."""

    text: str
    parts: list[Goal] = Field(default_factory=list, max_length=3)


class Persona(BaseModel):
    """An invented customer."""

    name: str = Field(max_length=60)
    age: int = Field(ge=18, le=99)
    email: str | None = Field(default=None, json_schema_extra={"format": "email"})
    traits: dict[str, float] = Field(max_length=6)
    channel: Literal["web", "e-mail", "Telefon", "店舗"]
    goals: list[Goal] = Field(min_length=1, max_length=4)


class FeedbackScore(BaseModel):
    """A reader's message, graded."""

    sentiment: Literal["negative", "neutral", "positive"]
    score: float = Field(ge=0, le=1)
    urgent: bool
    topics: list[Literal["price", "quality", "delivery", "support", "other"]] = Field(max_length=3)
    quote: str | None = Field(default=None, max_length=200)


MODELS: dict[str, type[BaseModel]] = {
    "blog_outline": BlogOutline,
    "persona": Persona,
    "feedback_score": FeedbackScore,
}
