"""Reading a platform's payload: each value is checked, and each error names its field.

No error shows a value. A field that is null counts as absent.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
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


def as_id(text: str) -> str | None:
    """Return a text that may be an id, or None if it is empty or too long for one."""
    return text if 0 < len(text.encode()) <= _MAX_ID_BYTES else None


def only_value(fields: tuple[tuple[str, str], ...]) -> str | None:
    """Return the value of a form with a single field, or None."""
    return fields[0][1] or None if len(fields) == 1 else None


def parsed(field: str, document: str) -> object:
    """Return the JSON in a text. Raises ``InvalidInputError`` naming the field."""
    with suppress(ValueError, RecursionError):  # they hold the text
        return json.loads(document)
    raise InvalidInputError(f"{field}: must be JSON")


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

    def named_parts(self) -> list[tuple[str, Self]]:
        """Return the objects in this one with their names, which are somebody's own.

        Errors do not show such a name.
        """
        names = self._own_names()
        return [(name, type(self)(self._name("*"), self.values[name])) for name in names]

    def named_values(self) -> tuple[tuple[str, str], ...]:
        """Return the texts, numbers and truth values in this object with their names.

        The names are somebody's own. A list gives its name several times; objects are left out.
        """
        return tuple(
            (name, text)
            for name in self._own_names()
            for item in _items(self.values[name])
            for text in _texts(self._name("*"), item)
        )

    def named_id(self, name: str) -> str | None:
        """Return an id whose name is somebody's own, or None if it is absent."""
        value = self.values.get(name)
        return None if value in (None, "") else identifier(self._name("*"), value)

    def id(self, name: str) -> str:
        """Return a required id."""
        return identifier(self._name(name), self._required(name))

    def optional_id(self, name: str) -> str | None:
        """Return an id, or None if it is absent or empty."""
        return None if self.values.get(name) in (None, "") else self.id(name)

    def correlation(self, name: str) -> str | None:
        """Return the id that a bot gave to a button, or None if it is absent or too long for one.

        Platforms allow a bot to put more into a button than an id may hold.
        """
        text = self.text(name)
        return None if text is None else as_id(text)

    def text(self, name: str) -> str | None:
        """Return a text, or None if it is absent or empty."""
        value = self.values.get(name)
        if value is None:
            return None
        if not isinstance(value, str):
            raise self.refusal(name, "must be a string")
        return self.checked_text(name, value)

    def checked_text(self, name: str, text: str) -> str | None:
        """Return a text that was found in a field, or None if it is empty."""
        encoded(self._name(name), text)
        return text or None

    def flag(self, name: str) -> bool:
        """Return a boolean; False if it is absent."""
        value = self.values.get(name)
        if value is None or isinstance(value, bool):
            return bool(value)
        raise self.refusal(name, "must be true or false")

    def has_bit(self, name: str, bit: int) -> bool:
        """Return whether a number that is a set of flags has a flag; False if it is absent."""
        value = self.values.get(name)
        if value is None:
            return False
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.refusal(name, "must be an integer")
        return bool(value & bit)

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a field's texts, numbers and truth values as text: one, or those in a list."""
        field = self._name(name)
        return tuple(text for item in _items(self.values.get(name)) for text in _texts(field, item))

    def part(self, name: str) -> Self:
        """Return a required object."""
        return type(self)(self._name(name), self._required(name))

    def optional_part(self, name: str) -> Self | None:
        return self.part(name) if self.has(name) else None

    def embedded_part(self, name: str) -> Self:
        """Return the object in a required field that holds it as a text of JSON."""
        field = self._name(name)
        return type(self)(field, parsed(field, self.text(name) or ""))

    def parts(self, name: str) -> list[Self]:
        """Return the objects in a list; an empty list if it is absent."""
        items = self.values.get(name)
        if items is None:
            return []
        if not isinstance(items, list):
            raise self.refusal(name, "must be a list")
        numbered = enumerate(cast("list[object]", items))
        return [type(self)(f"{self._name(name)}[{index}]", item) for index, item in numbered]

    def ids(self, name: str) -> tuple[str, ...]:
        """Return the ids in a list; an empty tuple if it is absent."""
        items = self.values.get(name)
        if items is None:
            return ()
        if not isinstance(items, list):
            raise self.refusal(name, "must be a list")
        numbered = enumerate(cast("list[object]", items))
        return tuple(identifier(f"{self._name(name)}[{index}]", item) for index, item in numbered)

    def _own_names(self) -> list[str]:
        for name in self.values:
            if not isinstance(name, str):
                raise InvalidInputError(f"{self._field}: must have text as names")
            encoded(self._name("*"), name)
        return [name for name in self.values if self.has(name)]

    def _required(self, name: str) -> object:
        value = self.values.get(name)
        if value is None:
            raise self.refusal(name, "is missing")
        return value

    def _name(self, name: str) -> str:
        return f"{self._field}.{name}"


def _items(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else [value]


def _texts(field: str, value: object) -> Iterator[str]:
    """Yield a text, number or truth value as text. Skip anything else."""
    if isinstance(value, bool):
        yield "true" if value else "false"
    elif isinstance(value, int):
        yield identifier(field, value)
    elif isinstance(value, float):
        yield repr(value)
    elif isinstance(value, str):
        encoded(field, value)
        yield value
