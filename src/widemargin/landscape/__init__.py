"""The loss around a network: directions, surfaces, basins, volumes, decision boundaries."""
