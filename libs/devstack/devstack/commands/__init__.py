"""One module per command of `dataforge`; each holds a Typer called `app`."""
