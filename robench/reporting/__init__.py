"""What a reader sees: tables, plots and the qualitative grid.

The submodules are imported by name (``from robench.reporting.tables import to_markdown``), so that importing the
package costs nothing.
"""
