"""The commands that make one call each."""

from __future__ import annotations

from typing import Any

import click

from carevalidate_async._commands.command import (
    ENVIRONMENT,
    HOST,
    JSON,
    PATIENCE,
    command,
    open_care,
    open_planocore,
    takes,
)
from carevalidate_async._commands.manual import CARE, PLANOCORE, WRONG, Manual
from carevalidate_async._commands.one_call import one_call

_INPUT = click.option(
    "--input",
    "source",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    metavar="FILE",
    help="JSON object with the fields, - for standard input: what is personal or secret does not "
    "show in the list of processes there.",
)
_INPUT_FILE = {"--input FILE": "A JSON object; options given beside it win."}
_VENDOR = {
    "Where it goes": ("--sandbox", "--base-url", "--environment"),
    "Patience": ("--attempt-timeout", "--deadline", "--max-attempts"),
}


def _statuses(done: str) -> dict[int, str]:
    return {
        0: done,
        1: "the call failed, or its answer could not be shown",
        2: WRONG,
        130: "interrupted: it may have been carried out",
    }


@click.command(
    cls=Manual,
    groups={
        "The payment": ("--amount", "--method", "--email", "--phone", "--input"),
        **_VENDOR,
    },
    environment=CARE,
    files=_INPUT_FILE,
    statuses=_statuses("the intent is there"),
    examples={
        "Have somebody pay in the browser": "carevalidate intent --amount 1.15 --method card "
        "\\\n    --email payer@example.com",
        "Keep the payer's data out of the list of processes": "carevalidate intent --input "
        "intent.json --json",
    },
    see_also=("case-payment", "confirm"),
)
@click.option("--amount", help="US dollars, such as 1.15.")
@click.option("--method", multiple=True, help="Such as card, klarna, affirm; may be repeated.")
@click.option("--email", help="Of the payer.")
@click.option("--phone", help="Of the payer.")
@takes(_INPUT, *HOST, ENVIRONMENT, *PATIENCE, JSON)
@command
def intent(
    amount: str | None,
    method: tuple[str, ...],
    email: str | None,
    phone: str | None,
    **options: Any,  # noqa: ANN401 - click's options
) -> int:
    """
    Create a payment intent and print its secret.

    The secret is a credential: hand it to the payer's browser, and keep it nowhere.
    """
    from carevalidate_async.carevalidate import CREATE_PAYMENT_INTENT

    metadata = {"email": email, "phone": phone} if email or phone else None
    fields = {"amount": amount, "payment_method_types": method or None, "metadata": metadata}
    return one_call(CREATE_PAYMENT_INTENT, options, fields, connect=open_care)


@click.command(
    cls=Manual,
    groups={
        "The payment": (
            *("--amount", "--description", "--product-id", "--status", "--idempotency-key"),
            *("--preauthorize", "--input"),
        ),
        **_VENDOR,
    },
    environment=CARE,
    files=_INPUT_FILE,
    statuses=_statuses("it is on record"),
    examples={
        "Record what is to be paid": "carevalidate case-payment "
        "8770c116-4729-48bb-af44-c0e39e085a34 \\\n    --amount 100 --description 'First visit'",
        "The same again, recorded once": "carevalidate case-payment "
        "8770c116-4729-48bb-af44-c0e39e085a34 \\\n    --input payment.json --idempotency-key "
        "visit-17",
    },
    see_also=("intent", "confirm"),
)
@click.argument("case_id")
@click.option("--amount", help="US dollars, such as 100.")
@click.option("--description", help="For people.")
@click.option("--product-id", help="UUID of the product.")
@click.option("--status", help="Such as UNPAID, which the vendor takes by default.")
@click.option("--idempotency-key", help="Under one key it is recorded once. Default: a new one.")
@click.option(
    "--preauthorize/--no-preauthorize",
    default=None,
    help="Have Stripe hold the amount, to be captured later.",
)
@takes(_INPUT, *HOST, ENVIRONMENT, *PATIENCE, JSON)
@command
def case_payment(case_id: str, **options: Any) -> int:  # noqa: ANN401 - click's options
    """
    Create a payment for the case with the UUID CASE_ID.
    """
    from carevalidate_async.carevalidate import CREATE_CASE_PAYMENT

    names = ("amount", "description", "product_id", "status", "idempotency_key", "preauthorize")
    fields = {name: options[name] for name in names}
    return one_call(CREATE_CASE_PAYMENT, options, fields, connect=open_care, before=(case_id,))


@click.command(
    cls=Manual,
    short_help="Set a user's saved payment method and address.",
    groups={
        "The user": (
            *("--email", "--stripe-setup-id", "--nmi-payment-token", "--address-line1"),
            *("--address-line2", "--city", "--state", "--country", "--postal-code", "--input"),
        ),
        **_VENDOR,
    },
    environment=CARE,
    files=_INPUT_FILE,
    statuses=_statuses("it is set"),
    examples={
        "All of it from a file": "carevalidate update-user --input user.json",
        "The same, but for one field": "carevalidate update-user --input user.json --city Boulder",
    },
    see_also=("update-payment-method",),
)
@click.option("--email", help="Of the user.")
@click.option("--stripe-setup-id", help="Id of the Stripe setup intent.")
@click.option("--nmi-payment-token", help="Payment token of NMI; better in --input.")
@click.option("--address-line1", help="Street and number.")
@click.option("--address-line2", help="Apartment or suite.")
@click.option("--city", help="Of the shipping address.")
@click.option("--state", help="Such as DC.")
@click.option("--country", help="Such as US.")
@click.option("--postal-code", help="Of the shipping address.")
@takes(_INPUT, *HOST, ENVIRONMENT, *PATIENCE, JSON)
@command
def update_user(**options: Any) -> int:  # noqa: ANN401 - click's options
    """
    Set a user's saved payment method and shipping address.

    What stands on the command line shows in the list of processes; --input keeps it out of there.
    """
    import attrs

    from carevalidate_async.carevalidate import UPDATE_USER_PAYMENT
    from carevalidate_async.models import ShippingAddress

    names = ("email", "stripe_setup_id", "nmi_payment_token")
    address = {f.name: options[f.name] for f in attrs.fields(ShippingAddress)}
    given = {name: value for name, value in address.items() if value is not None}
    fields = {**{name: options[name] for name in names}, "shipping_address": given or None}
    return one_call(UPDATE_USER_PAYMENT, options, fields, connect=open_care)


@click.command(
    cls=Manual,
    groups={
        "The payment method": (
            *("--active", "--name-on-card", "--exp-month", "--exp-year", "--street", "--street2"),
            *("--city", "--province-iso", "--postal-code", "--input"),
        ),
        "The answer": ("--application", "--view", "--application-view", "--session-view"),
        **_VENDOR,
        "Where it goes": ("--sandbox", "--base-url"),
    },
    environment=PLANOCORE,
    files=_INPUT_FILE,
    statuses=_statuses("it is changed"),
    examples={
        "A card that was renewed": "carevalidate update-payment-method 42 --exp-month 5 "
        "--exp-year 2030",
        "A card that is not to be used": "carevalidate update-payment-method 42 --inactive --json",
    },
    see_also=("update-user",),
)
@click.argument("payment_method_id", type=int, metavar="ID")
@click.option("--active/--inactive", default=None, help="Whether the card can be used.")
@click.option("--name-on-card", help="As it is printed there.")
@click.option("--exp-month", type=int, metavar="MONTH", help="1 to 12.")
@click.option("--exp-year", type=int, metavar="YEAR", help="Four digits.")
@click.option("--street", help="Of the billing address.")
@click.option("--street2", help="Its second line.")
@click.option("--city", help="Of the billing address.")
@click.option("--province-iso", help="Such as us_co.")
@click.option("--postal-code", help="Of the billing address.")
@click.option("--application", help="Such as planoauth, planoorder, planox2.")
@click.option("--view", help="Of the payment method to be returned.")
@click.option("--application-view", help="Of the application to be returned.")
@click.option("--session-view", help="Of the session to be returned.")
@takes(_INPUT, *HOST, *PATIENCE, JSON)
@command
def update_payment_method(payment_method_id: int, **options: Any) -> int:  # noqa: ANN401 - click's
    """
    Change details of planocore's payment method ID.

    What is not given is not sent, and so stays as it is.
    """
    import attrs

    from carevalidate_async.models import PaymentMethodUpdate
    from carevalidate_async.planocore import UPDATE_PAYMENT_METHOD

    fields = {f.name: options[f.name] for f in attrs.fields(PaymentMethodUpdate)}
    views = {name: options[name] for name in ("view", "application_view", "session_view")}
    return one_call(
        UPDATE_PAYMENT_METHOD,
        options,
        fields,
        connect=open_planocore,
        before=(payment_method_id,),
        **views,
    )
