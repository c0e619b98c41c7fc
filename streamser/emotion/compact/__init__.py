"""The model that comes with the program: numpy and onnxruntime, neither torch nor a download.

Born here: the statistics of an utterance and what Whisper's lower layers make of it, heard as it
grows, and the prediction of voice and words together. ``tools/compact`` makes the weights;
``docs/compact.md`` says why it is built so.
"""
