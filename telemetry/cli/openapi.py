"""`telemetry openapi`: the contract, for those who generate clients, tests or pages from it."""

from pathlib import Path

import click

from telemetry.cli import output
from webapi.document import document, written


@click.command()
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="A file to write instead of stdout.")
@click.option("--json", "as_json", is_flag=True, help="On one line; with --out, say in JSON what was written.")
def openapi(out: Path | None, as_json: bool) -> None:
    """Write the API's OpenAPI 3.1 document. Needs no database and no server, and reads no setting.

    \b
    telemetry openapi --out openapi.json
    openapi-python-client generate --path openapi.json
    """
    if out is None:
        output.json(document()) if as_json else click.echo(written(), nl=False)
        return
    text = written()
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise click.UsageError(f"cannot write {out}: {error.strerror}; name another file with --out") from None
    if as_json:
        output.json({"wrote": str(out), "bytes": len(text.encode())})
    else:
        click.echo(f"wrote {out}")
