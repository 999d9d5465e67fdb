"""Reading a platform's payload: each value is checked, and each error names its field.

No error shows a value. A field that is null counts as absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, cast

from typing_extensions import Self

from async_session_store._unicode import encoded
from async_session_store.errors import InvalidInputError

_MAX_ID_BYTES: Final = 1024
_MAX_ID_BITS: Final = 64


def identifier(field: str, value: object) -> str:
    """Return an id as text. It must be a non-empty string or an integer."""
    if isinstance(value, int) and not isinstance(value, bool):
        if value.bit_length() > _MAX_ID_BITS:
            raise InvalidInputError(f"{field}: must have at most {_MAX_ID_BITS} bits")
        return str(int(value))
    if not isinstance(value, str):
        raise InvalidInputError(f"{field}: must be a string or an integer")
    if not 0 < len(encoded(field, value)) <= _MAX_ID_BYTES:
        raise InvalidInputError(f"{field}: must not be empty, and at most {_MAX_ID_BYTES} bytes")
    return value


class Payload:
    """A JSON object, and the path of the field that holds it."""

    def __init__(self, field: str, value: object) -> None:
        if not isinstance(value, Mapping):
            raise InvalidInputError(f"{field}: must be a JSON object")
        self._field = field
        self.values = cast("Mapping[str, object]", value)

    def refusal(self, name: str, rule: str) -> InvalidInputError:
        """Return the error for an unusable field."""
        return InvalidInputError(f"{self._name(name)}: {rule}")

    def has(self, name: str) -> bool:
        return self.values.get(name) is not None

    def id(self, name: str) -> str:
        """Return a required id."""
        return identifier(self._name(name), self._required(name))

    def optional_id(self, name: str) -> str | None:
        """Return an id, or None if it is absent or empty."""
        return None if self.values.get(name) in (None, "") else self.id(name)

    def text(self, name: str) -> str | None:
        """Return a text, or None if it is absent or empty."""
        value = self.values.get(name)
        if value is None:
            return None
        if not isinstance(value, str):
            raise self.refusal(name, "must be a string")
        encoded(self._name(name), value)
        return value or None

    def flag(self, name: str) -> bool:
        """Return a boolean; False if it is absent."""
        value = self.values.get(name)
        if value is None or isinstance(value, bool):
            return bool(value)
        raise self.refusal(name, "must be true or false")

    def part(self, name: str) -> Self:
        """Return a required object."""
        return type(self)(self._name(name), self._required(name))

    def optional_part(self, name: str) -> Self | None:
        return self.part(name) if self.has(name) else None

    def parts(self, name: str) -> list[Self]:
        """Return the objects in a list; an empty list if it is absent."""
        items = self.values.get(name)
        if items is None:
            return []
        if not isinstance(items, list):
            raise self.refusal(name, "must be a list")
        numbered = enumerate(cast("list[object]", items))
        return [type(self)(f"{self._name(name)}[{index}]", item) for index, item in numbered]

    def first_id(self, name: str) -> str | None:
        """Return the first id in a list, or None if the list is absent or empty."""
        items = self.values.get(name)
        if items is None or items == []:
            return None
        if not isinstance(items, list):
            raise self.refusal(name, "must be a list")
        return identifier(f"{self._name(name)}[0]", cast("list[object]", items)[0])

    def _required(self, name: str) -> object:
        value = self.values.get(name)
        if value is None:
            raise self.refusal(name, "is missing")
        return value

    def _name(self, name: str) -> str:
        return f"{self._field}.{name}"
