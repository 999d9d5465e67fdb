"""The documentation site: ``nox -s docs`` builds it. The pages also read well without it."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Mapping
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

project = "async-session-store"
release = async_session_store.__version__
author = "async-session-store contributors"
copyright = author  # noqa: A001  # Sphinx's name for it
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
nitpicky = True
nitpick_ignore = [
    ("py:class", "datetime"),  # of a named tuple, which keeps it as text
    ("py:class", "Memory"),
    ("py:class", "Message"),
    ("py:class", "T"),
    ("py:class", "anyio.from_thread.BlockingPortal"),
    ("py:class", "redis.asyncio.client.Redis"),
]

myst_heading_anchors = 4  # the links between pages name headings as GitHub does

autodoc_default_options = {"members": True, "exclude-members": "model_config"}
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 80

html_theme = "furo"
html_title = "async-session-store"
html_copy_source = False
html_theme_options = {
    "source_repository": REPOSITORY,
    "source_branch": "main",
    "source_directory": "docs/",
}

# A search for "wait" should not have to load every page's source again.
html_show_sourcelink = False

GUARANTEES = "explanation/guarantees"
GUARANTEE = r"[A-Z][0-9]+a?"
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


def name(of: str, module: str = "builtins") -> type:
    """Return a type that only serves to be named in a signature."""
    return type(of, (), {"__module__": module})


SHOWN: dict[str, object] = {  # what signatures show instead of names that users cannot import
    "Text": str,
    "TextMapping": Mapping[str, str],
    "TimeToLive": name("TimeToLive", "async_session_store"),  # else all that it stands for
    "WaitBlock": AbstractAsyncContextManager,
    "SyncWaitBlock": AbstractContextManager,
    "_I": name("Message"),
    "_I_co": name("Message"),
    "_JsonObject": Mapping[str, object],
    "_M": name("Memory"),
    "_ScopeText": str,
    "_T": name("T"),
}
ANNOTATED = (  # the modules whose annotations hold these names, or that autodoc cannot evaluate
    "_new_waits",
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
    """Let annotations show what a user has to know. autodoc evaluates them, after this."""
    importlib.import_module("async_session_store.testing")  # it makes models: not after this
    for module_name in ANNOTATED:
        module = importlib.import_module(f"async_session_store.{module_name}")
        vars(module).update({name: SHOWN[name] for name in SHOWN.keys() & vars(module).keys()})
        for kind in vars(module).values():
            if isinstance(kind, type) and kind.__module__ == module.__name__:
                # autodoc fails where a base class has annotations for type checkers only.
                kind.__annotations__ = get_type_hints(kind)
        analyzer = ModuleAnalyzer.for_module(module.__name__)
        analyzer.analyze()
        analyzer.overloads.clear()  # they differ in whether None may come back, as the text says


def simplify_signature(
    _app: Sphinx,
    _what: str,
    name: str,
    value: object,
    _options: object,
    arguments: str | None,
    returned: str | None,
) -> tuple[str | None, str | None]:
    """Hide constructors that are not for users, and show a model's as type checkers see it."""
    if isinstance(value, type):
        if issubclass(value, Enum) or name.rpartition(".")[2] in MADE_BY_A_STORE:
            return "", None
        if issubclass(value, BaseModel):
            return f"({written_constructor(value)})", None
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


def link_names(
    _app: Sphinx,
    what: str,
    _name: str,
    _value: object,
    _options: object,
    lines: list[str],
) -> None:
    """Link the guarantees and public names in a docstring.

    A guarantee that does not exist fails the build.
    """
    ids = rf"\({GUARANTEE}(?:(?:, | to ){GUARANTEE})*\)"
    public = "|".join(async_session_store.__all__)
    for number, line in enumerate(lines):
        linked = re.sub(ids, lambda found: re.sub(GUARANTEE, r":ref:`\g<0>`", found[0]), line)
        lines[number] = re.sub(rf"``({public})``", r":py:obj:`~async_session_store.\1`", linked)
    if what in {"attribute", "property"}:
        lines[:0] = [
            "..",
            "",
        ]  # a comment: of the first line, napoleon parses a type before a colon


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
    app.connect("missing-reference", link_standard_library)
    app.connect("source-read", link_repository)
