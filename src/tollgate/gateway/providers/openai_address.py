"""Where OpenAI's interfaces are at a provider, and how its key is presented: the same for all of its formats."""

from collections.abc import Mapping

from tollgate.catalog.model import Format, Provider
from tollgate.gateway.model import Access


def url(provider: Provider, access: Access, operation: str) -> str:
    """Azure serves the same interface below its resource's own address: https://learn.microsoft.com/azure/ai-foundry."""
    prefix = "/openai/v1" if provider.format is Format.AZURE_OPENAI else ""
    return access.base_url + prefix + operation


def headers(provider: Provider, access: Access) -> Mapping[str, str]:
    """What goes with a JSON body."""
    content = {"content-type": "application/json"}
    if access.credential is None:
        return content
    if provider.format is Format.AZURE_OPENAI:
        return {"api-key": access.credential, **content}
    return {"authorization": f"Bearer {access.credential}", **content}
