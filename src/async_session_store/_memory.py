"""A flow's memory between its turns: parsed from the session's text, and written back as JSON."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Iterable
from contextlib import suppress
from functools import lru_cache, partial
from typing import Any, Final, Generic, TypeVar, cast, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.errors import PydanticErrorMixin, PydanticUndefinedAnnotation, PydanticUserError
from typing_extensions import is_typeddict

from async_session_store.errors import FlowMemoryError, InvalidInputError

_REMEMBERED_TYPES: Final = 256
# The errors that pydantic raises for an unusable type, and Python for a call without the arguments
# that a constructor needs. Anything else may come from a signal handler, and propagates unchanged.
_UNFIT: Final = (PydanticUserError, PydanticUndefinedAnnotation, TypeError, ValueError)

_M = TypeVar("_M")


class MemoryType(Generic[_M]):
    """A type that pydantic can parse from JSON and write as JSON.

    Raises ``InvalidInputError`` for any other type. No error shows a value, because values may be
    personal and errors end up in logs.
    """

    def __init__(self, kind: type[_M]) -> None:
        self.kind = kind
        checkable = isinstance(kind, type) and get_origin(kind) is None and not is_typeddict(kind)
        self._instances_of: type[object] = kind if checkable else object
        problem = None
        try:
            adapter: TypeAdapter[_M] = TypeAdapter(kind)
            # The adapter's own methods take a microsecond longer, for arguments we do not need.
            # Fields are written by name and read by name or alias. By default pydantic writes names
            # but reads aliases, so a field with an alias would lose its value.
            self._from_json: Callable[[str | bytes], _M] = partial(
                adapter.validator.validate_json, by_alias=True, by_name=True
            )
            self._to_json = partial(
                adapter.serializer.to_json, by_alias=False, round_trip=True, warnings=False
            )
            self._fields = frozenset(_field_names(kind))
            self._from_json(self._to_json(kind()))
        except _UNFIT as error:
            problem = type(error).__name__
            if isinstance(error, PydanticErrorMixin):  # describes the type, so it shows no value
                problem += f" ({error.message.partition('. ')[0].rstrip('.')})"
        # Raised outside the handler, so that the cause, which may hold a value, is not chained.
        if problem is not None:
            raise InvalidInputError(
                f"memory: {self.name}() must return the memory of a new flow, and pydantic must be "
                f"able to write it as JSON and read it back, but that raised {problem}. Give a "
                "pydantic model or a dataclass whose fields all have defaults, or a TypedDict with "
                "total=False"
            )

    @property
    def name(self) -> str:
        return getattr(self.kind, "__name__", str(self.kind))

    def new(self) -> _M:
        """Return the memory of a new flow."""
        return self.kind()

    def read(self, flow: str, text: str) -> _M:
        """Parse a flow's memory. Raises ``FlowMemoryError`` if it does not fit the type."""
        try:
            return self._from_json(text)
        except ValidationError as error:
            field, problem = self._first_problem(error)
        # Raised outside the handler, because pydantic's error holds the value.
        reason = (
            f"the stored memory does not fit {self.name} ({problem}); change the type or end the "
            "flow"
        )
        raise FlowMemoryError(flow, field, reason)

    def write(self, flow: str, memory: _M) -> str:
        """Return a flow's memory as JSON that :meth:`read` accepts.

        Raises ``FlowMemoryError`` if the memory is not a valid value of the type.
        """
        # pydantic would write an object of another class as {}, which parses as a new memory.
        if not isinstance(memory, self._instances_of):
            reason = f"give a value of type {self.name}, not {type(memory).__name__}"
            raise FlowMemoryError(flow, None, reason)
        try:
            text = self._to_json(memory)
            self._from_json(text)
            return text.decode()
        except ValidationError as error:
            field, problem = self._first_problem(error)
        except _UNFIT as error:
            field, problem = None, f"pydantic raised {type(error).__name__}"
        reason = (
            f"{self.name} could not read back the JSON of this memory ({problem}); set a valid "
            "value"
        )
        raise FlowMemoryError(flow, field, reason)

    def _first_problem(self, error: ValidationError) -> tuple[str | None, str]:
        """Return the field at fault and what is wrong with it.

        The field is None unless the type declares it: the key of a mapping may be personal too.
        """
        first = error.errors(include_input=False, include_context=False, include_url=False)[0]
        field = next(iter(first["loc"]), None)
        return (field if isinstance(field, str) and field in self._fields else None), first["type"]


@lru_cache(_REMEMBERED_TYPES)
def _memory_type(kind: Hashable) -> MemoryType[Any]:
    return MemoryType(cast("type[Any]", kind))


def memory_type(kind: type[_M]) -> MemoryType[_M]:
    """Return the :class:`MemoryType` of a type. Raises ``InvalidInputError`` if it is unusable."""
    if callable(kind):
        with suppress(TypeError):  # the metadata of an ``Annotated`` may have no hash
            return cast("MemoryType[_M]", _memory_type(cast("Hashable", kind)))
    raise InvalidInputError(
        "memory: give a type, such as a pydantic model or a dataclass, not a value of type "
        f"{type(kind).__name__}"
    )


def _field_names(kind: type[Any]) -> Iterable[str]:
    """Yield the names that pydantic may use for a field in an error."""
    for parent in getattr(kind, "__mro__", ()):
        yield from inspect.get_annotations(parent)
        if parent is not BaseModel and issubclass(parent, BaseModel):
            aliases = (field.validation_alias for field in parent.model_fields.values())
            yield from (alias for alias in aliases if isinstance(alias, str))
