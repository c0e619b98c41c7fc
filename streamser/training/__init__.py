"""Train and measure the fused model: corpora, manifest, loop, cross-validation, report.

Born here: a manifest of labelled utterances (``corpora``, ``manifest``), a checkpoint (``train``),
its calibration (``validation``), and figures with intervals over speakers, of one model or of a
whole grid (``crossval``).
"""
