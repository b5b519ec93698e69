"""The command line: the group, and its commands."""

from __future__ import annotations

import click

from carevalidate_async._commands import single
from carevalidate_async._commands.collect import collect
from carevalidate_async._commands.completion import completion
from carevalidate_async._commands.confirm import confirm
from carevalidate_async._commands.dead_letter import dead_letter
from carevalidate_async._commands.enqueue import enqueue
from carevalidate_async._commands.export import export
from carevalidate_async._commands.manual import (
    BROKER_URL,
    CARE,
    PLANOCORE,
    REDIS_URL,
    ManualGroup,
)
from carevalidate_async._commands.sandbox import sandbox
from carevalidate_async._commands.settle import settle
from carevalidate_async._commands.status import status
from carevalidate_async._commands.worker import worker


@click.group(
    cls=ManualGroup,
    chapters={
        "A file of payments": ("confirm", "status", "export", "settle"),
        "A file and many machines": ("enqueue", "worker", "collect", "dead-letter"),
        "Single calls": ("intent", "case-payment", "update-user", "update-payment-method"),
        "Helps": ("sandbox", "completion"),
    },
    environment={**CARE, **PLANOCORE, **BROKER_URL, **REDIS_URL},
    statuses={
        0: "what was asked for is done, and on record",
        1: "not all of it is; what is not, is told",
        2: "the command, its configuration, its input or the API key is wrong; the help of each "
        "command says what that means for payments",
        130: "interrupted",
    },
    examples={
        "Try it, without an account": "carevalidate confirm payments.csv --sandbox",
        "What a command takes": "carevalidate confirm --help",
    },
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="carevalidate-async")
def cli() -> None:
    """
    Confirm payments at CareValidate, each exactly once.

    The API key is read from CAREVALIDATE_API_KEY, planocore's token from PLANOCORE_TOKEN. What
    people read goes to standard error, results go to standard output.
    """


for _command in (
    confirm,
    status,
    export,
    settle,
    enqueue,
    worker,
    collect,
    dead_letter,
    single.intent,
    single.case_payment,
    single.update_user,
    single.update_payment_method,
    sandbox,
    completion,
):
    cli.add_command(_command)
