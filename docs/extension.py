"""Readable signatures and links for the documentation site, which Sphinx's extensions lack.

The sources need no markup for them: docstrings mention guarantees and public names as plain text,
and pages link to files of the repository by their paths.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from enum import Enum
from typing import get_type_hints

from docutils import nodes
from pydantic import BaseModel
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.pycode import ModuleAnalyzer

import async_session_store

REPOSITORY = "https://github.com/greentic-ai/async-session-store"

GUARANTEES = "explanation/guarantees"
GUARANTEE = r"[A-Z][0-9]+a?"
CITATION = rf"\({GUARANTEE}(?:(?:, | to |–|; ){GUARANTEE})*\)"  # noqa: RUF001  # pages write a dash
STANDARD_LIBRARY = ("collections.abc", "contextlib", "datetime", "os")
MADE_BY_A_STORE = (  # or by you, for a protocol: their constructors are not shown
    "ExpiredWaits",
    "Incoming",
    "ResumedWait",
    "SyncExpiredWaits",
    "SyncWaitClaim",
    "Turn",
    "WaitClaim",
)


def named(name: str, module: str = "builtins") -> type:
    """Return a type that only serves to be named in a signature."""
    return type(name, (), {"__module__": module})


SHOWN: dict[str, object] = {  # what signatures show instead of names that users cannot import
    "Text": str,
    "SessionRecords": AsyncIterator[async_session_store.SessionRecord],
    "TextMapping": Mapping[str, str],
    "TimeToLive": named("TimeToLive", "async_session_store"),  # otherwise the whole union is shown
    "WaitBlock": AbstractAsyncContextManager,
    "SyncWaitBlock": AbstractContextManager,
    "_I": named("Message"),
    "_I_co": named("Message"),
    "_JsonObject": Mapping[str, object],
    "_M": named("Memory"),
    "_ScopeText": str,
    "_T": named("T"),
}
ANNOTATED = (  # the modules whose annotations hold these names, or that autodoc cannot evaluate
    "_new_waits",
    "_operators",
    "_store",
    "abc",
    "explanations",
    "greentic._envelope",
    "greentic._records",
    "greentic._settings",
    "models",
    "sync",
    "turns",
)


def simplify_annotations() -> None:
    """Replace names in annotations by what users have to know, before autodoc evaluates them."""
    # Importing this module builds models from the annotations, so do it before they change.
    importlib.import_module("async_session_store.testing")
    for module_name in ANNOTATED:
        module = importlib.import_module(f"async_session_store.{module_name}")
        vars(module).update({alias: SHOWN[alias] for alias in SHOWN.keys() & vars(module).keys()})
        for kind in vars(module).values():
            if isinstance(kind, type) and kind.__module__ == module.__name__:
                # autodoc fails where a base class has annotations for type checkers only.
                kind.__annotations__ = get_type_hints(kind)
        analyzer = ModuleAnalyzer.for_module(module.__name__)
        analyzer.analyze()
        # Overloads differ only in whether the result may be None, which the docstring says.
        analyzer.overloads.clear()


def simplify_signature(
    _app: Sphinx,
    _what: str,
    name: str,
    value: object,
    _options: object,
    arguments: str | None,
    returned: str | None,
) -> tuple[str | None, str | None]:
    """Hide constructors that are not for users, and show a model's as a type checker sees it."""
    if isinstance(value, type):
        if issubclass(value, Enum) or name.rpartition(".")[2] in MADE_BY_A_STORE:
            return "", None
        if issubclass(value, BaseModel):
            return f"({written_constructor(value)})", None
    if arguments is not None:
        arguments = re.sub(r"<built-in function (\w+)>", r"time.\1", arguments)  # clocks
    if returned is not None:  # of two overloads, show the one that includes None
        returned = re.sub(r"^(~contextlib\.\w+)\[.*\] \| \1", r"\1", returned)
    return arguments, returned


def written_constructor(model: type[BaseModel]) -> str:
    """Return the parameters that the source declares for type checkers; pydantic has its own."""
    tree = ast.parse(inspect.getsource(model))
    (constructor,) = (
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name == "__init__"
    )
    text = ast.unparse(constructor.args).removeprefix("self, ")
    text = text.replace("Mapping[", "~collections.abc.Mapping[")
    ours = "|".join(async_session_store.__all__)
    return re.sub(rf"\b({ours})\b", r"~async_session_store.\1", text)


def link_standard_library(
    _app: Sphinx, _env: BuildEnvironment, node: pending_xref, content: nodes.Node
) -> nodes.reference | None:
    """Link to Python's documentation without its inventory, for which there may be no network."""
    target: str = node["reftarget"]
    module = target.rpartition(".")[0]
    if module not in STANDARD_LIBRARY:
        return None
    page = f"https://docs.python.org/3/library/{module}.html#{target}"
    return nodes.reference("", "", content, refuri=page, internal=False)


def label_guarantees(app: Sphinx, page: nodes.document) -> None:
    """Make each guarantee a target of references, by its id."""
    if app.env.docname != GUARANTEES:
        return
    labels = app.env.domains.standard_domain
    for item in page.findall(nodes.list_item):
        for bold in item.findall(nodes.strong):
            if re.fullmatch(GUARANTEE, bold.astext()):
                anchor = bold.astext().lower()
                item["ids"].append(anchor)
                labels.note_hyperlink_target(anchor, GUARANTEES, anchor, bold.astext())


def link_guarantees(app: Sphinx, page: nodes.document) -> None:
    """Link the guarantees that a page cites. One that does not exist fails the build."""
    for text in list(page.findall(nodes.Text)):
        is_prose = not isinstance(text.parent, (nodes.literal, nodes.literal_block))
        if is_prose and re.search(CITATION, text):
            text.parent.replace(text, list(with_links(text, app.env.docname)))


def with_links(text: str, page: str) -> Iterator[nodes.Node]:
    """Cut a text at its citations, and turn their ids into references."""
    for part in re.split(f"({CITATION})", text):
        if not re.fullmatch(CITATION, part):
            yield nodes.Text(part)
            continue
        for piece in re.split(f"({GUARANTEE})", part):
            if re.fullmatch(GUARANTEE, piece):
                target = {"reftype": "ref", "reftarget": piece.lower(), "refdoc": page}
                yield pending_xref(
                    "", nodes.inline("", piece), refdomain="std", refexplicit=True, **target
                )
            else:
                yield nodes.Text(piece)


def link_names(
    _app: Sphinx,
    what: str,
    _name: str,
    _value: object,
    _options: object,
    lines: list[str],
) -> None:
    """Link the public names in a docstring."""
    public = "|".join(async_session_store.__all__)
    for number, line in enumerate(lines):
        lines[number] = re.sub(rf"``({public})``", r":py:obj:`~async_session_store.\1`", line)
    if what in {"attribute", "property"}:
        # napoleon would take what is before a colon in the first line for a type, so the first line
        # is an empty comment.
        lines[:0] = ["..", ""]


def link_repository(_app: Sphinx, page: str, source: list[str]) -> None:
    """Let links to files outside of this folder lead to the repository."""
    out = r"\]\(" + re.escape("../") * (page.count("/") + 1) + r"(?!\.)"
    source[0] = re.sub(out, f"]({REPOSITORY}/blob/main/", source[0])


def setup(app: Sphinx) -> None:
    """Connect the functions above."""
    simplify_annotations()
    app.connect("autodoc-process-docstring", link_names, priority=400)  # before napoleon
    app.connect("autodoc-process-signature", simplify_signature)
    app.connect("doctree-read", label_guarantees)
    app.connect("doctree-read", link_guarantees)
    app.connect("missing-reference", link_standard_library)
    app.connect("source-read", link_repository)
