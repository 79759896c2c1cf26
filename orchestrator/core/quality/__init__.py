"""How good an answer is: checks of its form, and one calibrated probability."""
