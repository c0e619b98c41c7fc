"""The fused multi-task model: encoders, bridge-token fusion, heads, checkpoint. Needs torch."""
