"""
What `--help` says of a command beside its options, as a page of a manual would.

A command gives its sections as data, so that tests can hold them against what the command does:
the variables that it reads, its files, its exit statuses and its examples, which are run.
"""

from __future__ import annotations

from textwrap import indent
from typing import TYPE_CHECKING, Any, TypeAlias

import click

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Rows: TypeAlias = "list[tuple[str, str]]"

TRANSPORT = {
    "CAREVALIDATE_TRANSPORT": "How requests are sent: auto, or session, which is aiohttp's own "
    "way. Default: auto.",
}
CARE = {
    "CAREVALIDATE_API_KEY": "The API key of the organization. No option takes it, since options "
    "show in the list of processes.",
    "CAREVALIDATE_BASE_URL": "Another origin, where neither --base-url nor --environment is given.",
    "CAREVALIDATE_ENVIRONMENT": "production or staging, where the above are not given. Default: "
    "production.",
    **TRANSPORT,
}
"""The variables of what calls CareValidate."""

PLANOCORE = {
    "PLANOCORE_TOKEN": "The token of planocore. No option takes it, since options show in the "
    "list of processes.",
    "PLANOCORE_BASE_URL": "Another origin, where --base-url is not given.",
    **TRANSPORT,
}
"""The variables of what calls planocore."""

BROKER_URL = {"CAREVALIDATE_BROKER": "The NATS server, where --broker is not given."}
"""The variable of what shares a job."""

REDIS_URL = {"CAREVALIDATE_REDIS": "The Redis server, where --redis is not given."}
"""The variable of what shares a rate."""

WRONG = "the command or its configuration is wrong, and nothing was sent"


class _Manual(click.Command):
    """
    A command whose help has all sections of a manual's page.

    Args:
        statuses: Exit statuses, and what each means.

        examples: Command lines that work, by what they do.

        environment: Variables that are read, and what for.

        files: What is read or written beside the arguments, and when.

        groups: Titles of groups of options, and the first name of each; the rest comes after them.

        see_also: Other commands.
    """

    def __init__(
        self,
        *args: Any,  # noqa: ANN401 - click's
        statuses: Mapping[int, str],
        examples: Mapping[str, str],
        environment: Mapping[str, str] | None = None,
        files: Mapping[str, str] | None = None,
        groups: Mapping[str, tuple[str, ...]] | None = None,
        see_also: Iterable[str] = (),
        **options: Any,  # noqa: ANN401 - click's
    ) -> None:
        self.statuses: dict[int, str] = dict(statuses)
        self.examples: dict[str, str] = dict(examples)
        self.environment: dict[str, str] = dict(environment or {})
        self.files: dict[str, str] = dict(files or {})
        self.groups: dict[str, tuple[str, ...]] = dict(groups or {})
        self.see_also: tuple[str, ...] = tuple(see_also)
        # For what makes a site of the help, and knows of click's own sections alone.
        options["epilog"] = self._epilog()
        super().__init__(*args, **options)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, group by group."""
        records = {
            param.opts[0]: record
            for param in self.get_params(ctx)
            if isinstance(param, click.Option)  # of arguments the synopsis and the text speak
            and (record := param.get_help_record(ctx)) is not None
        }
        for title, names in self.groups.items():
            with formatter.section(title):
                formatter.write_dl([records.pop(name) for name in names])
        with formatter.section("Other options" if self.groups else "Options"):
            formatter.write_dl(list(records.values()))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what comes after the options."""
        del ctx
        for title, rows in self._tables().items():
            with formatter.section(title):
                formatter.write_dl(rows)
        with formatter.section("Examples"):
            for purpose, line in self.examples.items():
                formatter.write_text(f"{purpose}:")
                # Not to be wrapped: it would not be one command any more.
                _write_lines(formatter, f"  $ {line}".replace("\n", "\n  "))
        if self.see_also:
            with formatter.section("See also"):
                _write_lines(formatter, "\n".join(self._others()))

    def _tables(self) -> dict[str, Rows]:
        tables: dict[str, Rows] = {
            "Environment": list(self.environment.items()),
            "Files": list(self.files.items()),
            "Exit status": [(str(status), text) for status, text in self.statuses.items()],
        }
        return {title: rows for title, rows in tables.items() if rows}

    def _others(self) -> list[str]:
        return [f"carevalidate {name}" for name in self.see_also]

    def _epilog(self) -> str:
        """Return all sections as reStructuredText, which the site is made of."""
        parts = []
        for title, rows in self._tables().items():
            parts += [f"**{title}**", *(f"``{name}``\n    {text}" for name, text in rows)]
        parts.append("**Examples**")
        for purpose, line in self.examples.items():
            parts += [f"{purpose}:", f".. code-block:: console\n\n{indent(f'$ {line}', '    ')}"]
        if self.see_also:
            parts += ["**See also**", ", ".join(f"``{name}``" for name in self._others())]
        return "\n\n".join(parts)


def _write_lines(formatter: click.HelpFormatter, text: str) -> None:
    for line in text.splitlines():
        formatter.write(f"{'':{formatter.current_indent}}{line}\n")


class Manual(_Manual):
    """A command with such a page."""


class ManualGroup(_Manual, click.Group):
    """
    A group with such a page.

    Args:
        chapters: Titles, and the names of the commands below each; every command stands in one.
    """

    def __init__(
        self,
        *args: Any,  # noqa: ANN401 - click's
        chapters: Mapping[str, tuple[str, ...]],
        **options: Any,  # noqa: ANN401 - click's
    ) -> None:
        self.chapters: dict[str, tuple[str, ...]] = dict(chapters)
        super().__init__(*args, **options)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, and then the commands."""
        _Manual.format_options(self, ctx, formatter)
        self.format_commands(ctx, formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands, chapter by chapter."""
        del ctx
        # All in one column: the names of a chapter alone would make another one.
        widest = max(map(len, self.commands))
        room = formatter.width - formatter.indent_increment - 2 - widest
        for title, names in self.chapters.items():
            with formatter.section(title):
                formatter.write_dl(
                    [
                        (f"{name:<{widest}}", self.commands[name].get_short_help_str(room))
                        for name in names
                    ]
                )
