"""Validation errors in words that a user can act on."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from kpmodels.errors import nearest


def describe(error: ValidationError, model: type[BaseModel]) -> str:
    """One line per problem: the key, what is wrong, and the nearest valid key or value."""
    return "; ".join(_describe_one(problem, model) for problem in error.errors())


def _describe_one(problem: Any, model: type[BaseModel]) -> str:
    location = [str(part) for part in problem["loc"]]
    owner, path = _walk(model, location[:-1])
    key = ".".join([*path, *location[-1:]])
    if problem["type"] == "extra_forbidden" and owner is not None:
        return f"unknown key {key}: {nearest(location[-1], owner.model_fields)}"
    context = problem.get("ctx", {})
    if problem["type"] == "union_tag_invalid":
        valid = [name.strip(" '") for name in context["expected_tags"].split(",")]
        return f"{key}.kind: unknown {context['tag']!r}: {nearest(str(context['tag']), valid)}"
    if problem["type"] == "literal_error":
        valid = [name.strip(" '") for name in context["expected"].replace(" or ", ",").split(",")]
        return f"{key}: unknown value {problem['input']!r}: {nearest(str(problem['input']), valid)}"
    return f"{key}: {problem['msg']} (got {problem['input']!r})"


def _walk(model: type[BaseModel], location: list[str]) -> tuple[type[BaseModel] | None, list[str]]:
    """The model that owns the last part of a location, and the location without pydantic's union tags."""
    owner: type[BaseModel] | None = model
    path: list[str] = []
    candidates: list[type[BaseModel]] = []
    for part in location:
        tagged = [c for c in candidates if c.model_fields["kind"].default == part]
        if tagged:
            owner, candidates = tagged[0], []
            continue
        path.append(part)
        field = owner.model_fields.get(part) if owner else None
        if field is None:
            return None, path
        options = [field.annotation, *get_args(field.annotation)]
        models = [c for c in options if isinstance(c, type) and issubclass(c, BaseModel)]
        candidates = models if len(models) > 1 else []
        owner = models[0] if len(models) == 1 else None
    return owner, path
