"""The commands."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from typer.core import TyperCommand

_Command = TypeVar("_Command", bound=Callable[..., None])
ARGUMENTS = "gact.arguments"
"""Where a context holds the arguments of a script."""

_FACTORY = """

A factory is a function of yours. With this one in plans.py, write plans:factory.

\b
def factory():
    model = nn.Sequential(nn.Linear(784, 1024), nn.GELU(), nn.Linear(1024, 9))
    batch = torch.randn(256, 784), torch.randint(0, 9, (256,))
    loss_fn = nn.CrossEntropyLoss()  # of outputs and targets
    return model, batch, loss_fn

A loss_fn may be of the model and the batch too. Without one the model takes the whole batch and returns a loss.
"""
"""What the help of a command says of factories."""
_JSON = typer.Option("--json", help="Print JSON instead.")

app = typer.Typer(
    name="gact",
    help="Activation-compressed training for PyTorch: the tensors that autograd saves for backward, in a few bits.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _tells_of_factories(command: _Command) -> _Command:
    """Adds to the help of a command what a factory is."""
    command.__doc__ = inspect.cleandoc(command.__doc__ or "") + _FACTORY
    return command


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    """Activation-compressed training for PyTorch: the tensors that autograd saves for backward, in a few bits."""
    if version:
        from .. import __version__

        typer.echo(f"gact {__version__}")
        raise typer.Exit


@app.command()
def demo(
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Trainings of each network in each way; 3 by default.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the training images; 5 by default.")] = None,
    output: Annotated[Path, typer.Option(help="Picture to write: png, svg, pdf.")] = Path("gact-demo.png"),
    quick: Annotated[bool, typer.Option("--quick", help="One seed and one epoch, unless said otherwise.")] = False,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Train two small networks on handwritten digits: plainly and at 8, 4 and 2 bits.

    Prints one table of memory, time and accuracy and writes a picture of the losses and of the memory over a step.
    """
    from .demo import run_demo

    run_demo(seeds=seeds or (1 if quick else 3), epochs=epochs or (1 if quick else 5), output=output, as_json=as_json)


@app.command()
def sensitivity(
    network: Annotated[str, typer.Argument(help="Which demo network: convolutional or transformer.")] = "convolutional",
    bits: Annotated[float, typer.Option(min=1, max=8, help="Average width of a code.")] = 4,
    steps: Annotated[int, typer.Option(min=0, help="Steps of training before.")] = 20,
    rounds: Annotated[int, typer.Option(min=1, help="Roundings averaged for each site.")] = 8,
    plot: Annotated[Path | None, typer.Option(help="Scatter plot to write: png, svg, pdf.")] = None,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Compare the gradient noise predicted for each saved tensor with the noise that its rounding alone makes."""
    from .sensitivity import run_sensitivity

    run_sensitivity(network, bits, steps, rounds, plot, as_json)


@app.command()
def doctor(as_json: Annotated[bool, _JSON] = False) -> None:
    """Say what is installed, which kernels run and why, and test them for a second.

    The exit status is 1 if the self-test fails.
    """
    from .doctor import run_doctor

    raise typer.Exit(run_doctor(as_json))


@app.command(
    help="Predict what training would take in every way, without running it, and choose the fastest that fits."
    + _FACTORY
)
def plan(
    factory: Annotated[str, typer.Argument(help="package.module:function, returns (model, batch[, loss_fn]).")],
    memory: Annotated[str | None, typer.Option(help='What a step may take: "8 GiB".')] = None,
    device: Annotated[str | None, typer.Option(help="T4, L4, A100, A100-80GB or H100 instead.")] = None,
    bits: Annotated[int, typer.Option(min=1, max=8, help="Width of codes.")] = 4,
    optimizer_bytes: Annotated[float, typer.Option(min=0, help="Optimizer state per parameter: 8 for Adam.")] = 8.0,
    offload: Annotated[str | None, typer.Option(help="Directory that codes may be moved to.")] = None,
    sizes: Annotated[bool, typer.Option(help="Look for the largest batch and sequence.")] = True,
    save: Annotated[Path | None, typer.Option(help="File to write, for gact.Plan.load(FILE).apply(model).")] = None,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Predict what training would take in every way, without running it, and choose the fastest that fits."""
    from .plan import run_plan

    run_plan(factory, memory, device, bits, optimizer_bytes, offload, sizes, save, as_json)


class _TakesScript(TyperCommand):
    """A command whose options come before a script: what follows the script is the script's."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        at = next((at for at, each in enumerate(args) if each.endswith(".py")), len(args))
        ctx.meta[ARGUMENTS] = args[at + 1 :]
        return super().parse_args(ctx, args[: at + 1])


@app.command(cls=_TakesScript)
@_tells_of_factories
def profile(
    context: typer.Context,
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET",
            help="train.py [its arguments], or package.module:function that returns (model, batch[, loss_fn]).",
        ),
    ],
    bits: Annotated[float, typer.Option(min=1, max=8, help="Average width of a code.")] = 4,
    optimizer: Annotated[
        bool, typer.Option(help="With a step of AdamW, and its state, where a function makes the model.")
    ] = True,
    html: Annotated[Path | None, typer.Option(help="Page to write: the step in both ways, and what is kept.")] = None,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Run a training step plainly and compressed, and say what its memory comes to and what sets the peak.

    A script runs twice up to its fourth optimizer step, as it is; options for gact stand before it.
    """
    from .profile import run_profile

    run_profile(target, context.meta[ARGUMENTS], bits, optimizer, html, as_json)


bench = typer.Typer(help="Measurements of this machine.", no_args_is_help=True)
app.add_typer(bench, name="bench")


@bench.callback()
def bench_root() -> None:
    """Measurements of this machine."""


@bench.command("max-batch")
@_tells_of_factories
def max_batch(
    factory: Annotated[str, typer.Argument(help="package.module:function(batch), returns (model, batch[, loss_fn]).")],
    limit: Annotated[str, typer.Option(help="Memory that the process may have.")] = "2 GiB",
    level: Annotated[list[str] | None, typer.Option(help="Level to try; all by default.")] = None,
    bits: Annotated[int, typer.Option(min=1, max=8, help="Width of codes.")] = 4,
    start: Annotated[int, typer.Option(min=1, help="Batch to begin with; a small one is best.")] = 1,
    optimizer: Annotated[str, typer.Option(help="adamw or sgd.")] = "adamw",
    scratch: Annotated[str | None, typer.Option(help="Directory on a disk for the codes of L2.")] = None,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Find the largest batch that really trains within a limit of memory, by trying, for each level.

    Here the factory takes the size of the batch.
    """
    from .max_batch import run_max_batch

    run_max_batch(factory, limit, level, bits, start, optimizer, scratch, as_json)
