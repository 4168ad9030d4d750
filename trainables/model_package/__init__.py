"""A trained model as people use it: a self-contained folder that needs neither the run nor the data it came from.

`pack` (write_package.py) takes the best epoch's weights out of a trial's checkpoint, validates them once more and writes
`model.json` (manifest.py), the network's weights, and on request ONNX (onnx_model.py). `load_package` (network.py) reads it back
and predicts exactly as validation did, to the last bit on CPU. `input_images.py` turns command-line arguments into images;
`predict.py` classifies them. Nothing is imported here, so that the manifest is read without torch.
"""
