"""The settings of the documentation site. ``nox -s docs`` builds it."""

from __future__ import annotations

import sys
from pathlib import Path

import async_session_store

sys.path.insert(0, str(Path(__file__).parent))

project = "async-session-store"
release = async_session_store.__version__
author = "async-session-store contributors"
copyright = author  # noqa: A001  # Sphinx's name for it
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "extension"]
exclude_patterns = ["_build"]
nitpicky = True
nitpick_ignore = [
    ("py:class", "datetime"),  # a named tuple keeps its annotations as strings
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
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = "async-session-store"
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_copy_source = False
html_theme_options = {
    "source_repository": "https://github.com/greentic-ai/async-session-store",
    "source_branch": "main",
    "source_directory": "docs/",
}
