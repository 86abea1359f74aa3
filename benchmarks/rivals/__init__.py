"""The rivals, each written as its experts would."""
