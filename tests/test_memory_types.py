"""N6, F8: what a flow remembers, and what errors about it may say."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Annotated, Any

import pytest
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, computed_field, field_validator
from typing_extensions import TypedDict

from async_session_store import AsyncSessionStore, FlowMemoryError, InvalidInputError
from async_session_store._memory import _memory_type, memory_type
from async_session_store.backends.memory import MemoryBackend
from async_session_store.testing.contract.builders import CTX
from async_session_store.testing.contract.turn_builders import Message

SECRET = "secret-4242"  # what no error may show


class Model(BaseModel):
    pizza: str | None = None
    count: int = Field(default=0, alias="how_many")


class Child(Model):
    """A subclass with the fields of its parent."""


class Judging(BaseModel):
    pizza: str = ""

    @field_validator("pizza")
    @classmethod
    def _judge(cls, value: str) -> str:
        if value == SECRET:
            raise ValueError(f"{value} is no pizza")
        return value


@dataclass
class Plain:
    pizza: str | None = None
    count: int = 0
    toppings: list[str] = field(default_factory=list)


class Loose(TypedDict, total=False):
    pizza: str | None
    count: int


class Failing(BaseModel):
    def __init__(self) -> None:
        raise ValueError(SECRET)


KINDS = [Model, Child, Plain, Loose, dict[str, Any]]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_n6_memory_reads_back_as_written(kind: type[Any]) -> None:
    memory = memory_type(kind)
    text = memory.write("order", memory.new())
    assert memory.read("order", text) == memory.new()
    assert memory_type(kind) is memory


class Generated(BaseModel):
    model_config = ConfigDict(alias_generator=str.upper, serialize_by_alias=True, extra="forbid")

    count: int = 0


class Chosen(BaseModel):
    count: int = Field(default=0, validation_alias=AliasChoices("how_many", "number"))


class Outer(BaseModel):
    count: int = Field(default=0, validation_alias="a", serialization_alias="b")
    model: Model = Model()


class Computing(BaseModel):
    model_config = ConfigDict(extra="forbid")

    count: int = 0

    @computed_field
    @property
    def twice(self) -> int:
        return 2 * self.count


@pytest.mark.parametrize("kind", [Model, Child, Generated, Chosen, Outer, Computing], ids=str)
def test_n6_a_field_is_remembered_whatever_its_alias(kind: type[Any]) -> None:
    memory = memory_type(kind)
    written = memory.new()
    written.count = 5
    if kind is Outer:
        written.model.count = 6
    assert memory.read("order", memory.write("order", written)) == written


def test_n6_a_peer_may_have_written_by_alias() -> None:
    assert memory_type(Model).read("order", '{"how_many": 5}').count == 5


@pytest.mark.parametrize(
    ("kind", "text", "at"),
    [
        (Model, {"pizza": [SECRET]}, "pizza"),
        (Model, {"how_many": SECRET}, "how_many"),
        (Child, {"pizza": [SECRET]}, "pizza"),
        (Judging, {"pizza": SECRET}, "pizza"),
        (Plain, {"pizza": {SECRET: 1}}, "pizza"),
        (Plain, {"toppings": [{"pizza": SECRET}]}, "toppings"),
        (Loose, {"count": SECRET}, "count"),
        (dict[str, int], {SECRET: SECRET}, None),
        (list[int], [SECRET], None),
    ],
    ids=str,
)
def test_n6_f8_an_error_names_a_field_of_the_type_and_nothing_else(
    kind: type[Any], text: object, at: str | None
) -> None:
    with pytest.raises(FlowMemoryError) as caught:
        memory_type(kind).read("order", json.dumps(text))
    assert (caught.value.flow, caught.value.field) == ("order", at)
    shown = [str(caught.value), caught.value.__cause__, caught.value.__context__]
    assert SECRET not in repr(shown)


@pytest.mark.parametrize(
    ("kind", "memory"),
    [
        (Model, Model.model_construct(pizza=[SECRET])),  # type: ignore[arg-type]
        (Plain, Plain(pizza=[SECRET])),  # type: ignore[arg-type]
        (Loose, {"count": SECRET}),
        (dict[str, Any], {SECRET: object()}),
        (dict[str, Any], object()),
        (Model, Failing),
        (Model, {"pizza": SECRET}),
    ],
    ids=["model", "dataclass", "typed dict", "item", "another type", "another class", "dict"],
)
def test_n6_f8_memory_that_would_not_read_back_is_not_written(
    kind: type[Any], memory: object
) -> None:
    with pytest.raises(FlowMemoryError) as caught:
        memory_type(kind).write("order", memory)
    shown = [str(caught.value), caught.value.__cause__, caught.value.__context__]
    assert SECRET not in repr(shown)


class Needy(BaseModel):
    pizza: str


class Required(TypedDict):
    pizza: str


class Failing(BaseModel):
    def __init__(self) -> None:
        raise ValueError(SECRET)


UNUSABLE = [Needy, Required, Failing, object, "Model", None, 7]


@pytest.mark.parametrize("kind", [*UNUSABLE, Annotated[Model, {}]], ids=str)
def test_n6_a_type_that_has_no_default_is_refused(kind: Any) -> None:
    with pytest.raises(InvalidInputError, match="memory") as caught:
        memory_type(kind)
    shown = [str(caught.value), caught.value.__cause__, caught.value.__context__]
    assert SECRET not in repr(shown)


class Unknown:
    """A class that pydantic cannot validate."""


def test_n6_an_error_of_pydantic_about_a_type_is_named() -> None:
    with pytest.raises(InvalidInputError, match="generate pydantic-core schema for"):
        memory_type(Unknown)


@pytest.mark.anyio
async def test_n6_memory_stays_readable_when_its_type_was_forgotten() -> None:
    """A type may be evicted by many others, or cached twice by two threads."""
    async with (
        AsyncSessionStore(MemoryBackend()) as store,
        store.turn(CTX, Message(), flow="order", memory=Plain) as turn,
    ):
        turn.memory.pizza = "funghi"
        _memory_type.cache_clear()
        assert turn.memory_as(Plain) is turn.memory
