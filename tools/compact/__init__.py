"""Train the model that ships in the package, its parts apart and then together.

Born here: the folder ``streamser/assets/models/compact``, by ``make compact``: the encoder of words
first, then Whisper's layers as ONNX, then the network and its calibration.
"""
