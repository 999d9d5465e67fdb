"""The base of the wire types: validated text, and immutable models that keep unknown fields."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Container, Generator, Iterator, Mapping, Sized
from dataclasses import fields
from functools import cached_property, partial
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, NoReturn, TypeVar, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError, core_schema
from typing_extensions import Self, override

LARGEST_ESCAPE: Final = 6  # bytes of JSON for one character, as in \u001f
_PUNCTUATION: Final = 6  # bytes of quotes, brackets, comma and colon around one value
_NULL_SIZE: Final = 5  # bytes of null and a comma
_NAMES_CEILING: Final = 512  # bytes of the names of all fields of the largest model

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_V = TypeVar("_V")


def give_text(value: object) -> str:
    """Return an error text for a value that should be a ``str``, without quoting the value."""
    kind = type(value).__name__
    if isinstance(value, bytes):
        return f"give a text, not a value of type {kind}; convert it with .decode()"
    hint = "; convert it with str(...)" if isinstance(value, int) else ""
    return f"give a text, not a value of type {kind}{hint}"


class ErrorText:
    """Annotation that sets the error text for values that a type refuses, at no cost to valid ones.

    Pydantic's own texts describe the value that it got, not what to write instead.
    """

    def __init__(self, text: str) -> None:
        self._text = text

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.custom_error_schema(
            handler(source), custom_error_type="wrong_value", custom_error_message=self._text
        )


class ValidatedText(str):
    """A ``str`` that holds only text that its class accepts."""

    __slots__ = ()
    rule: ClassVar[str]

    def __new__(cls, value: str) -> Self:
        if type(value) is cls:
            return value
        if not isinstance(value, str) or not cls.accepts(value):
            refusal = cls._refusal() if isinstance(value, str) else _not_text()
            details = InitErrorDetails(type=refusal, input=value)
            raise ValidationError.from_exception_data(cls.__name__, [details], hide_input=True)
        return super().__new__(cls, value)

    @classmethod
    def accepts(cls, value: str) -> bool:
        """Return whether the text obeys the class's rule."""
        raise NotImplementedError

    @classmethod
    def _refusal(cls) -> PydanticCustomError:
        return PydanticCustomError("text_refused", "{rule}", {"rule": cls.rule})

    @classmethod
    def _from_text(cls, value: str) -> Self:
        if not cls.accepts(value):
            raise cls._refusal()
        return super().__new__(cls, value)

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        text = core_schema.custom_error_schema(
            core_schema.str_schema(),
            custom_error_type=_NOT_TEXT,
            custom_error_message=_GIVE_TEXT,
        )
        return core_schema.no_info_after_validator_function(cls._validator(), text)

    @classmethod
    def _validator(cls) -> Callable[[str], Self]:
        return cls._from_text


_NOT_TEXT: Final = "not_text"
_GIVE_TEXT: Final = "give a text; convert a number with str(...)"


def _not_text() -> PydanticCustomError:
    return PydanticCustomError(_NOT_TEXT, _GIVE_TEXT)


class Hidden:
    """The placeholder in a repr for a value that may be private, such as ``<12 chars>``."""

    __slots__ = ("_shown",)

    def __init__(self, value: object) -> None:
        self._shown = f"<{_described(value)}>"

    @override
    def __repr__(self) -> str:
        return self._shown


def _described(value: object) -> str:
    if isinstance(value, ValidatedText):
        return "present"
    if isinstance(value, str):
        return f"{len(value)} chars"
    if isinstance(value, Sized):
        return "1 entry" if len(value) == 1 else f"{len(value)} entries"
    return type(value).__name__


def repr_of_fields(value: DataclassInstance, shown: Container[str]) -> str:
    """Return the repr of a dataclass.

    Leave out None and what has its default value, and hide all fields but those ``shown``.
    """
    given = [(field, getattr(value, field.name)) for field in fields(value)]
    parts = [
        f"{field.name}={one!r}" if field.name in shown else f"{field.name}={Hidden(one)!r}"
        for field, one in given
        if one is not None and one != field.default
    ]
    return f"{type(value).__name__}({', '.join(parts)})"


class FrozenDict(dict[str, _V]):
    """A dict that cannot be changed. It is a ``dict``, so that JSON encoders take it as it is."""

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise TypeError("this mapping is part of an immutable model; build a new model instead")

    __setitem__ = __delitem__ = __ior__ = cast("Any", _refuse)
    clear = pop = popitem = setdefault = update = cast("Any", _refuse)

    def __hash__(self) -> int:  # type: ignore[override]  # dict's is None, because it is mutable
        return hash(frozenset(self.items()))

    def __reduce__(self) -> tuple[type[Self], tuple[dict[str, _V]]]:
        return type(self), (dict(self),)


# A length constraint makes pydantic check that the text is valid Unicode (no lone surrogates).
Text = Annotated[str, StringConstraints(min_length=0)]
TextMapping = Annotated[Mapping[Text, Text], AfterValidator(FrozenDict)]

_is_none = partial(operator.is_, None)


def optional() -> Any:
    """Declare a field that is left out of the JSON when it is None."""
    return Field(default=None, exclude_if=_is_none)


def optional_mapping() -> Any:
    """Declare a field that is left out of the JSON when it is empty."""
    return Field(default=FrozenDict[str](), exclude_if=operator.not_)


class WireModel(BaseModel, frozen=True):
    """An immutable model. Keeps unknown fields that come from JSON; refuses them from Python."""

    _shown: ClassVar[frozenset[str]] = frozenset()
    """Fields whose values the repr shows, besides those that are models. Others may be private."""

    is_validated: ClassVar[bool] = False
    """Set to True on an instance that was validated."""

    is_constructed: ClassVar[bool] = False
    """Set to True on an instance that was built bypassing validation."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        frozen=True, extra="allow", hide_input_in_errors=True
    )

    @model_validator(mode="after")
    def _finish_once(self, info: ValidationInfo) -> Self:
        """Finish a new model. Pydantic calls this again if it becomes a field of another model."""
        if self.is_constructed:
            rule = "was built bypassing validation; use its constructor"
            raise PydanticCustomError("bypassed_validation", rule)
        if not self.is_validated:
            self._finish(from_python=info.mode == "python")
            vars(self)["is_validated"] = True
        return self

    def _finish(self, *, from_python: bool) -> None:
        """Check the rules that concern several fields."""
        unknown = self.__pydantic_extra__
        if not unknown:
            return
        if from_python:
            names = ", ".join(map(repr, sorted(unknown)))
            raise PydanticCustomError("unknown_field", "has no field {names}", {"names": names})
        object.__setattr__(self, "__pydantic_extra__", _freeze(unknown))

    @override
    def __repr_args__(self) -> Iterator[tuple[str, object]]:
        """Yield the parts of the repr, which may end up in a log (F8)."""
        for name in type(self).__pydantic_fields__:
            value = vars(self).get(name)
            if value is None or value == {}:
                continue
            is_shown = name in self._shown and isinstance(value, (str, int))
            yield name, value if is_shown or isinstance(value, WireModel) else Hidden(value)
        for name, value in (self.__pydantic_extra__ or {}).items():
            yield name, Hidden(value)

    @override
    def __iter__(self) -> Generator[tuple[str, Any], None, None]:
        for name in type(self).model_fields:
            yield name, getattr(self, name)
        yield from (self.model_extra or {}).items()

    @classmethod
    @override
    def model_construct(cls, _fields_set: set[str] | None = None, **values: object) -> Self:
        """Build a model bypassing validation. Neither another model nor a store accepts it.

        Unknown fields are dropped: they could imitate the attributes that only validation sets.
        """
        model = super().model_construct(_fields_set, **values)
        object.__setattr__(model, "__pydantic_extra__", {})
        vars(model)["is_constructed"] = True
        return model

    @cached_property
    def size_ceiling(self) -> int:
        """Upper bound on the size of this model's JSON, in bytes, found without encoding it."""
        values = vars(self)
        size = _NAMES_CEILING + _size_ceiling(self.model_extra or None)
        for name in type(self).__pydantic_fields__:  # model_fields takes four times as long
            size += _size_ceiling(values[name])
        return size

    @cached_property
    def encoded(self) -> bytes:
        """This model's JSON. Raises ``PydanticSerializationError`` if a field has a wrong type."""
        return self.__pydantic_serializer__.to_json(self, warnings="error")

    @override
    def model_copy(self, *, update: Mapping[str, object] | None = None, deep: bool = False) -> Self:
        """Return a copy with ``update`` applied and validated like a constructor's arguments.

        Unknown fields that came from storage are kept. Raises pydantic's ``ValidationError``.
        """
        if not update:
            return super().model_copy(deep=deep)
        copied = type(self).model_validate({**self._kept_fields(update), **update})
        object.__setattr__(copied, "__pydantic_extra__", self.__pydantic_extra__)
        return copied

    def _kept_fields(self, update: Mapping[str, object]) -> dict[str, object]:
        """Return the fields of this model that ``update`` does not change."""
        known = self.model_fields_set & set(type(self).model_fields) - update.keys()
        return {name: getattr(self, name) for name in known}

    if not TYPE_CHECKING:

        def copy(self, *, update=None, deep=False):
            """Call ``model_copy``. Pydantic's deprecated ``copy`` would skip validation."""
            return self.model_copy(update=update, deep=deep)


def _freeze(value: object) -> object:
    """Return parsed JSON as an immutable value."""
    if isinstance(value, dict):
        items = cast("dict[str, object]", value).items()
        return FrozenDict({name: _freeze(item) for name, item in items})
    if isinstance(value, list):
        return tuple(map(_freeze, cast("list[object]", value)))
    if isinstance(value, float) and not math.isfinite(value):
        raise PydanticCustomError("not_finite", "holds a number that is not finite")
    return value


def _size_ceiling(value: object) -> int:
    if value is None:
        return _NULL_SIZE
    if isinstance(value, str):
        return len(value) * LARGEST_ESCAPE + _PUNCTUATION
    if isinstance(value, WireModel):
        return value.size_ceiling
    if isinstance(value, Mapping):
        items = cast("Mapping[str, object]", value).items()
        return _PUNCTUATION + sum(_size_ceiling(name) + _size_ceiling(item) for name, item in items)
    if isinstance(value, tuple):
        return _PUNCTUATION + sum(map(_size_ceiling, cast("tuple[object, ...]", value)))
    return len(repr(value)) + _PUNCTUATION
