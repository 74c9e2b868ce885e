"""The loss around a network: directions, walks, surfaces, basins and their volumes, decision boundaries."""

from widemargin.landscape.basins import BasinRadii, basin_radii
from widemargin.landscape.between import Interpolation, loss_between
from widemargin.landscape.boundary import DecisionRegions, decision_regions
from widemargin.landscape.directions import Directions
from widemargin.landscape.embedding import embedded
from widemargin.landscape.plane import Plane, trajectory_plane
from widemargin.landscape.quadratic_volume import quadratic_volume
from widemargin.landscape.surface import Surface, loss_surface
from widemargin.landscape.volume import BasinVolume, basin_volume, basin_volumes
from widemargin.landscape.walk import Walk, loss_along, points_along, walk_coefficients

__all__ = [
    "BasinRadii",
    "BasinVolume",
    "DecisionRegions",
    "Directions",
    "Interpolation",
    "Plane",
    "Surface",
    "Walk",
    "basin_radii",
    "basin_volume",
    "basin_volumes",
    "decision_regions",
    "embedded",
    "loss_along",
    "loss_between",
    "loss_surface",
    "points_along",
    "quadratic_volume",
    "trajectory_plane",
    "walk_coefficients",
]
