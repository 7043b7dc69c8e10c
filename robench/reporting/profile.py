"""Where the time of a run went: a table in the terminal, a CSV file and a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from robench.engine.profile import BESIDE, Profile, read_profile

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TABLE, STEM = "profile.csv", "profile"
_MODEL_COLOUR, _OTHER_COLOUR = 0, 1


def print_profile(run: Path) -> None:
    """Print the table of a run.

    Raises:
        Mismatch: If its events are damaged.
    """
    from rich.console import Console
    from rich.table import Table

    profile = read_profile(run)
    table = Table("Stage", title=f"Where the time went: {profile.cells} cells on {profile.device or 'no device'}")
    for title in ("s", "ms a cell", "share"):
        table.add_column(title, justify="right")
    for row in profile.table():
        table.add_row(row["stage"], f"{row['seconds']:.2f}", f"{row['ms_per_cell']:.1f}", f"{row['share']:.1%}")
    console = Console()
    console.print(table)
    if profile.overhead is not None:
        console.print(
            f"Wall time {profile.wall_s:.1f} s = {profile.overhead:.2f} x the model's {profile.model_s:.1f} s."
        )


def write_profile(run: Path) -> list[Path]:
    """Write ``profile.csv`` and ``profile.png`` into the folder of a run, and return their paths.

    Raises:
        Mismatch: If its events are damaged.
        UsageError, EnvironmentNotReady: If a file cannot be written.
    """
    import pandas as pd

    from robench.io.files import write_text_atomic
    from robench.reporting.plots import save
    from robench.reporting.tables import defused

    profile = read_profile(run)
    table = pd.DataFrame(profile.table(), columns=["stage", "seconds", "ms_per_cell", "share"])
    table["stage"] = table["stage"].map(defused)  # a model may name stages of its own
    write_text_atomic(run / TABLE, table.to_csv(index=False, float_format="%.6g"))
    return [run / TABLE, *save(profile_plot(profile), run / STEM, ("png",))]


def profile_plot(profile: Profile) -> Figure:
    """Draw milliseconds a cell of each stage: the model's in one colour, what lies beside it in another."""
    from robench.reporting.plots import OKABE_ITO, ONE_COLUMN, SMALL, new_figure

    rows = profile.table()
    figure, (axes,) = new_figure(ONE_COLUMN, 0.6 + 0.22 * max(len(rows), 1))
    values = [row["ms_per_cell"] for row in rows]
    colours = [OKABE_ITO[_OTHER_COLOUR if row["stage"] in BESIDE else _MODEL_COLOUR] for row in rows]
    axes.barh(range(len(rows)), values, color=colours)
    for place, value in enumerate(values):
        axes.annotate(f"{value:.1f}", (value, place), (2, 0), textcoords="offset points", va="center", fontsize=SMALL)
    axes.set_yticks(range(len(rows)), [row["stage"] for row in rows])
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.set_xlabel("ms a cell (blue: the model)")
    return figure
