"""A trained model as people use it: a folder that needs neither the run nor the data it came from.

`pack` (packing.py) takes the judged weights of a trial's best epoch out of its checkpoint, validates them once more and writes
the folder: `model.json` (manifest.py), the whole network's weights, and with onnx_model.py the same as ONNX. `load_package`
(network.py) reads it back as a network that predicts as validation did, to the last bit on CPU. images.py turns what stands
on a command line into images; predicting.py sends them through. Nothing is imported here, so that the manifest is read without
torch.
"""
