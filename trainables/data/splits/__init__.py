"""Splits into training and validation images: stratified by class, with long tails and nested fractions (`by_class.py`), with
groups kept whole (`by_group.py`), by quantiles of a number (`by_number.py`).
"""
