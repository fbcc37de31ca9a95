"""`durable notebook run|export|sync`"""

import click


@click.group("notebook")
def command() -> None:
    """x"""
