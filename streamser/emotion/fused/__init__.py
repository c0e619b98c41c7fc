"""The fused multi-task model: encoders, bridge-token fusion, heads, checkpoint. Needs torch.

Born here: the network that ``streamser train`` teaches, the checkpoint it becomes, and the
``EmotionModel`` that runs one live. ``docs/model.md`` sets it beside the paper.
"""
