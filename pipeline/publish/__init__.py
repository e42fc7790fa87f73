"""A finished zoo as a dataset: the store itself, Parquet beside it, and a card, in a folder that can be uploaded as it is."""
