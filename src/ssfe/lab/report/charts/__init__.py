"""Charts as small SVG: text and lines that follow the page's colours, light or dark, with the numbers as tooltips."""
