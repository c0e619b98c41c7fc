"""Train and measure the fused model: corpora, manifest, loop, cross-validation, report."""
