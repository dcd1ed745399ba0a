"""The figures of the report page, drawn with Plotly from plain values."""
