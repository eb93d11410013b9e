"""Figures: each module has `draw(frames, style) -> Figure`, and draws one."""
