"""The report as one HTML file that opens offline: tables, heat maps, curves, pictures and meshes that turn."""

from __future__ import annotations
