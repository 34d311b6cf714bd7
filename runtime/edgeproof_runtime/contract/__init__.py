"""The input contract and the preprocessing that it defines."""
