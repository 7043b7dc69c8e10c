"""Tables and figures of published papers, made again on any data and set beside the printed numbers.

Stands above everything but the command line: it runs evaluations, similarities, refinements and adaptations, each once,
and lays out what came of them.
"""
