"""File formats, read into arrays: photographs (`images.py`), DICOM, NIfTI, NPZ, IDX and torchvision's data sets.
`file_decoder.py` picks the reader; `size_limits.py` refuses files that would unpack to more than memory holds.
"""
