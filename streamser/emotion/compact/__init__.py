"""The model that comes with the program: numpy and onnxruntime, neither torch nor a download."""
