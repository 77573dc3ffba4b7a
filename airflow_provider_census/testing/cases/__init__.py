"""The cases of the contract, by what they are about."""
