"""How the site is built: `.venv/bin/nox -s docs`, or `sphinx-build docs build/docs`."""

from __future__ import annotations

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent / "_ext"))

from carevalidate_async import __version__

project = "carevalidate-async"
author = "The carevalidate-async contributors"
version = release = __version__
project_copyright = author

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "myst_parser",
    "sphinx_click",
    "sphinx_copybutton",
    # Ours, in _ext:
    "docstrings",
    "names",
    "openapi_page",
    "outside",
    "commands",
]

exclude_patterns = ["_ext"]
nitpicky = True
# They turn the two dashes of an option into one.
smartquotes = False

# What a single pair of backquotes in a docstring means: names.py.
default_role = "name"
nitpick_ignore_regex = [
    # Libraries that have no inventory which could be had offline; their names say enough.
    ("py:.*", r"(aio_pika|aiohttp|aiokafka|click|fastapi|faststream|litestar|logging|nats)\b.*"),
    ("py:.*", r"(opentelemetry|prometheus_client|pytest|redis|starlette|structlog)\b.*"),
    # The same, as signatures have them that are not evaluated.
    ("py:class", r"(Kafka|Nats|Rabbit|Redis)Broker|JetStreamContext|Metric|Msg|Redis"),
    ("py:class", r"(App|Consumer|Stream)Config|HTTPConnection|Request|Scope|web\.\w+"),
    ("py:class", r"(Meter|Tracer)Provider"),
    ("py:obj", r"RetentionPolicy\..*"),
    # What a signature names and nobody is to make: type variables, and classes of private files.
    ("py:(class|obj)", r"(.*\.)?(\w*T|_\w+)"),
    ("py:(class|obj)", r"carevalidate_async\.(\w+\.)*_\w+\..*"),
    ("py:class", r"Client|Counts|Course|Operation|Queue|Secret|Settings|Summary|Transport"),
    # A header.
    ("py:obj", r"Location"),
]

myst_heading_anchors = 4
# A dollar is money, and a star in a table is one.
myst_enable_extensions = ["colon_fence"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_class_signature = "mixed"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 80
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_attr_annotations = True
napoleon_custom_sections = [("Yields", "returns_style")]
add_module_names = False
toc_object_entries_show_parents = "hide"

# The prompt of a console session, and what it prints, are not to be typed.
copybutton_prompt_text = r"\$ "
copybutton_prompt_is_regexp = True
copybutton_only_copy_prompt_lines = True

html_theme = "furo"
html_title = f"{project} {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False
# Dark code on a dark page; both pass WCAG AA (tests/test_site.py looks at the page, not at this).
pygments_style = "default"
pygments_dark_style = "monokai"
