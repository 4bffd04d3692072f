"""What a browser may ask for in the address of the catalogue."""

from typing import Annotated

from msgspec import Meta

from tollgate.console.model import CatalogueOrder, CatalogueQuestion
from tollgate.infra.web import Body

_PAGES_MAX = 10_000


class CatalogueParameters(Body, kw_only=True, frozen=True):
    """The fields of the search form. One that is left blank, as forms send it, restricts nothing."""

    q: str = ""
    provider: str = ""
    modality: str = ""
    parameter: str = ""
    sort: CatalogueOrder = CatalogueOrder.NAME
    page: Annotated[int, Meta(ge=1, le=_PAGES_MAX)] = 1

    def question(self) -> CatalogueQuestion:
        return CatalogueQuestion(
            text=self.q.strip() or None,
            provider=self.provider or None,
            modality=self.modality or None,
            parameter=self.parameter or None,
            sort=self.sort,
            page=self.page,
        )
