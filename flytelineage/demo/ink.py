"""What a picture is drawn with: colours for light and dark pages, shapes, letters.

The page has a ground of its own: a picture follows the reader's system, which may be
dark where the page around it is light.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

_COLOURS = {
    "flyte": "#8250df", "s3": "#2f8132", "gcs": "#3b78e7", "abs": "#0a7bd0", "file": "#8c7851",
    "bigquery": "#2f6fed", "snowflake": "#1e9fd6", "redshift": "#c2418c", "postgres": "#336791",
    "glue": "#b4531b", "athena": "#b4531b", "http": "#5b7083", "https": "#5b7083",
}  # fmt: skip
_SPARE_COLOURS = ("#c77700", "#0f8f83", "#c2418c", "#6b7f1e", "#b4531b", "#4f67c9")
"""For platforms without a colour of their own, in the order of their names."""

_LIGHT = """\
text { font-family: -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1f2328 }
.page { fill: #ffffff; stroke: #d1d9e0 }
.frame { fill: #f6f8fa; stroke: #d1d9e0 }
.card { fill: #ffffff; stroke: #b7c0c9 }
.task { fill: #dbeafe }
.rim { fill: none; stroke: #b7c0c9 }
.strong { font-weight: 600 }
.dim { fill: #59636e }
.end { text-anchor: end }
.over { paint-order: stroke; stroke: #f6f8fa; stroke-width: 4; stroke-linejoin: round }
.unknown { color: #59636e }
.way { fill: none; stroke: #6e7781; stroke-width: 1.3 }
.way.between { stroke: #0969da; stroke-width: 1.6 }
.definition { stroke-dasharray: 6 4 }
.order { stroke-dasharray: 1.5 3.5 }
.tip { fill: #6e7781 }
.tip.between { fill: #0969da }
"""
_DARK = """\
text { fill: #e6edf3 }
.page { fill: #0d1117; stroke: #3d444d }
.frame { fill: #151b23; stroke: #3d444d }
.card { fill: #212830; stroke: #565f69 }
.task { fill: #1f3a5f }
.rim { stroke: #565f69 }
.dim { fill: #9198a1 }
.over { stroke: #151b23 }
.unknown { color: #9198a1 }
.way { stroke: #8b949e }
.way.between { stroke: #58a6ff }
.tip { fill: #8b949e }
.tip.between { fill: #58a6ff }
"""

SHAPES = """\
<defs>
<marker id="tip" markerUnits="userSpaceOnUse" markerWidth="8" markerHeight="8" refX="7" refY="4" \
orient="auto"><path class="tip" d="M0 0.5L8 4L0 7.5z"/></marker>
<marker id="tip-between" markerUnits="userSpaceOnUse" markerWidth="8" markerHeight="8" refX="7" \
refY="4" orient="auto"><path class="tip between" d="M0 0.5L8 4L0 7.5z"/></marker>
<g id="table" stroke="currentColor" fill="none"><rect x="0.5" y="0.5" width="11" height="11" \
rx="1.5"/><path fill="currentColor" d="M1 1h10v3h-10z"/><path d="M1 7.7h10M4.5 4v7"/></g>
<g id="file" stroke="currentColor" fill="none"><path fill="currentColor" fill-opacity="0.2" \
d="M2 0.5h5l3 3v8h-8z"/><path d="M7 0.5v3h3M4 6.5h4M4 9h4"/></g>
</defs>"""
"""Tips of arrows; data whose columns are known, and other data; 12 by 12 pixels."""


def colours(platforms: Iterable[str]) -> dict[str, str]:
    """A colour for each platform; equal platforms give equal colours."""
    found: dict[str, str] = {}
    spare = 0
    for name in sorted(platforms):
        found[name] = _COLOURS.get(name) or _SPARE_COLOURS[spare % len(_SPARE_COLOURS)]
        spare += name not in _COLOURS
    return found


def style(icons: Mapping[str, str]) -> str:
    """The style sheet, with a class for the icons of each colour."""
    light = "".join(f".{name} {{ color: {colour} }}\n" for name, colour in icons.items())
    dark = "".join(f".{name} {{ color: {_lighter(colour)} }}\n" for name, colour in icons.items())
    at_night = f"@media (prefers-color-scheme: dark) {{\n{_DARK}{dark}}}\n"
    return f"<style>\n{_LIGHT}{light}{at_night}</style>"


def _lighter(colour: str) -> str:
    """Half way to white: what is read on a dark ground."""
    return "#" + "".join(f"{(int(colour[at : at + 2], 16) + 255) // 2:02x}" for at in (1, 3, 5))
