"""What a category must say to be drawn."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np

from patchshift.data.demo.canvas import Canvas
from patchshift.data.demo.photograph import Light, Surface


class Layout(Protocol):
    """All that is random about one defect-free photograph of a category, so it can be rendered again, changed."""

    @property
    def light(self) -> Light:
        """The lamp."""
        ...


L = TypeVar("L", bound=Layout)


@dataclass(frozen=True)
class Category(Generic[L]):
    """A product: how to draw it, and what can be wrong with it.

    draw: chooses a layout.
    render: the surface of a layout; draws no random numbers.
    defects: name -> function of the layout and its sound surface, giving the defective surface.
    """

    draw: Callable[[Canvas, np.random.Generator], L]
    render: Callable[[L], Surface]
    defects: Mapping[str, Callable[[L, Surface, np.random.Generator], Surface]]
