"""Arms: which extra sequences join the training data; a new arm is one file in this folder."""
