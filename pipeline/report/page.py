"""Pages that need nothing besides themselves: templates, and figures in the colours of the page."""

import io
import re
from collections.abc import Sequence
from typing import Any

import matplotlib
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Colours that figures are drawn in, and the page's own in their place: light or dark, as the reader has it.
INK, SOFT, BAR, FUSED, CHANCE = "#1d2733", "#5b6876", "#8fa7bf", "#1f5f8b", "#b3402a"
SERIES = ("#c2701c", "#3f8f5b", "#8a5fb5", "#b0405f", "#5f7f2f", "#2f8f9f", "#8f6f2f", "#4f5f9f")
_VARIABLES = {INK: "--ink", SOFT: "--soft", BAR: "--bar", FUSED: "--fused", CHANCE: "--chance"}
# Text stays text, so that figures can be read aloud and searched; ids do not depend on the time.
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "affectstack",
    "font.size": 9,
    "font.family": "sans-serif",
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
}


def render(template: str, /, **values: Any) -> str:
    """Return a page.

    Args:
        template: A file of `pipeline/templates`.
        values: What it names; text is escaped.
    """
    environment = Environment(
        loader=PackageLoader("pipeline"),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda share: f"{100 * share:.1f}"
    return environment.get_template(template).render(**values)


def style() -> Any:
    """Return a context in which figures for pages are drawn."""
    return matplotlib.rc_context(_STYLE)


def plain_names(names: Sequence[str]) -> list[str]:
    """Return names that matplotlib does not take for formulas."""
    return [name.replace("$", r"\$") for name in names]


def bare(axes: Axes) -> None:
    """Leave out the frame above and to the right."""
    axes.spines[["top", "right"]].set_visible(False)


def svg(figure: Figure, title: str) -> Markup:
    """Return a figure as an SVG element.

    Args:
        figure: Drawn within `style`.
        title: What it shows, for those who cannot see it.
    """
    text = io.StringIO()
    metadata: dict[str, Any] = {"Date": None, "Creator": None}
    figure.savefig(text, format="svg", transparent=True, metadata=metadata)
    drawn = text.getvalue()
    # Matplotlib escapes the labels that it draws; everything before the svg element is for files.
    drawn = re.sub(r"<metadata>.*?</metadata>\s*", "", drawn[drawn.index("<svg") :], flags=re.DOTALL)
    for colour, name in _VARIABLES.items():
        drawn = drawn.replace(colour, f"var({name})")
    label = Markup.escape(title)
    return Markup(drawn.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1))  # noqa: S704
