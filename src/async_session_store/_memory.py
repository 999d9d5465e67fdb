"""What a flow remembers between its turns: read from the session's text, and written back."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Iterable
from contextlib import suppress
from functools import lru_cache, partial
from typing import Any, Final, Generic, TypeVar, cast

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.errors import PydanticUndefinedAnnotation, PydanticUserError

from async_session_store.errors import FlowMemoryError, InvalidInputError

_REMEMBERED_TYPES: Final = 256
# What pydantic raises for a type, and Python for a constructor. Anything else may be a signal
# handler's, and comes out as it is.
_UNFIT: Final = (PydanticUserError, PydanticUndefinedAnnotation, TypeError, ValueError)

_M = TypeVar("_M")


class MemoryType(Generic[_M]):
    """A type that pydantic can read from JSON and write to it. Raises ``InvalidInputError``.

    No error shows a value: it may be personal, and an error ends up in a log.
    """

    def __init__(self, kind: type[_M]) -> None:
        self.kind = kind
        problem = None
        try:
            adapter: TypeAdapter[_M] = TypeAdapter(kind)
            # An adapter's own methods take a microsecond longer, for arguments that we do not need.
            # Fields go by their names, whatever aliases are for: pydantic writes names and reads
            # aliases unless told otherwise, and so would forget what is in a field with an alias.
            self._from_json: Callable[[str | bytes], _M] = partial(
                adapter.validator.validate_json, by_alias=True, by_name=True
            )
            self._to_json = partial(
                adapter.serializer.to_json, by_alias=False, round_trip=True, warnings=False
            )
            self._fields = frozenset(_field_names(kind))
            self._from_json(self._to_json(kind()))
        except _UNFIT as error:
            code = error.code if isinstance(error, PydanticUserError) else None
            problem = type(error).__name__ + (f" ({code})" if code else "")
        if problem is not None:
            raise InvalidInputError(
                f"memory: {self.name}() must make a new flow's memory, which pydantic can write as "
                f"JSON and read back; that raised {problem}. Give each field a default"
            )

    @property
    def name(self) -> str:
        return getattr(self.kind, "__name__", str(self.kind))

    def new(self) -> _M:
        """Return the memory of a flow that begins."""
        return self.kind()

    def read(self, flow: str, text: str) -> _M:
        """Read a flow's memory. Raises ``FlowMemoryError``."""
        try:
            return self._from_json(text)
        except ValidationError as error:
            field, problem = self._first_problem(error)
        # Outside of the handler, as the driver's error holds the value.
        raise FlowMemoryError(flow, field, f"{problem}; it was not written as {self.name}")

    def write(self, flow: str, memory: _M) -> str:
        """Return a flow's memory as JSON that :meth:`read` reads. Raises ``FlowMemoryError``."""
        try:
            text = self._to_json(memory)
            self._from_json(text)
            return text.decode()
        except ValidationError as error:
            field, problem = self._first_problem(error)
        except _UNFIT as error:
            field, problem = None, f"pydantic raised {type(error).__name__}"
        raise FlowMemoryError(flow, field, f"{problem}; as JSON it would not fit {self.name}")

    def _first_problem(self, error: ValidationError) -> tuple[str | None, str]:
        """Return the field at fault, if it is one of the type's own, and what is wrong."""
        first = error.errors(include_input=False, include_context=False, include_url=False)[0]
        field = next(iter(first["loc"]), None)
        return (field if isinstance(field, str) and field in self._fields else None), first["type"]


@lru_cache(_REMEMBERED_TYPES)
def _memory_type(kind: Hashable) -> MemoryType[Any]:
    return MemoryType(cast("type[Any]", kind))


def memory_type(kind: type[_M]) -> MemoryType[_M]:
    """Return a type's reader and writer. Raises ``InvalidInputError`` if it cannot be one."""
    if callable(kind):
        with suppress(TypeError):  # the metadata of an ``Annotated`` may have no hash
            return cast("MemoryType[_M]", _memory_type(cast("Hashable", kind)))
    raise InvalidInputError("memory: give a type, such as a pydantic model or a dataclass")


def _field_names(kind: type[Any]) -> Iterable[str]:
    """Return the names that pydantic may call a field by."""
    for parent in getattr(kind, "__mro__", ()):
        yield from inspect.get_annotations(parent)
        if parent is not BaseModel and issubclass(parent, BaseModel):
            aliases = (field.validation_alias for field in parent.model_fields.values())
            yield from (alias for alias in aliases if isinstance(alias, str))
