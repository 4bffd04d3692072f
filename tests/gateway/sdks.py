"""The real SDKs in the hands of one customer, and a model at a provider of each format."""

from typing import Any

from tests.gateway.answers import Saying, saying
from tests.gateway.installation import Customer, Installation, provider_of
from tests.gateway.matrix import FORMATS, PRICES, protocols_of

from tollgate.gateway.model import Wire

PROMPT = "What is the weather in Paris?"
USER: Any = [{"role": "user", "content": PROMPT}]
HELLO = Saying("Hello, wörld 🌍!")


class Sdks:
    """Both clients of one customer, and a model at a provider of each format."""

    def __init__(self, gateway: Installation, customer: Customer) -> None:
        self.gateway, self.customer = gateway, customer
        self.openai, self.anthropic = customer.client, customer.anthropic
        self._models: dict[Wire, str] = {}

    async def model(self, wire: Wire, *turns: Saying) -> str:
        """The model whose provider speaks this, and says this."""
        if wire not in self._models:
            self._models[wire] = await self.gateway.model(
                saying(wire, HELLO),
                prices=PRICES,
                format=FORMATS[wire],
                protocols=protocols_of(wire),
                credential="env:ACME_API_KEY",
            )
        model = self._models[wire]
        self.gateway.provider.behaviours[provider_of(model)] = saying(wire, *turns)
        self.gateway.provider.served.clear()
        return model

    def heard(self, wire: Wire) -> list[str]:
        """What reached the provider, call by call."""
        served = self.gateway.provider.served_by(provider_of(self._models[wire]))
        return [request.body.decode() for request in served]
