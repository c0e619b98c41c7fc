"""Train the model that ships in the package, its parts apart and then together."""
