"""How good a model is, on sections it has not learnt from."""
