"""What docs/counting.md says of images and tools holds by the rules that providers publish."""

import json
import math
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollgate.gateway import tokenizer
from tollgate.gateway.estimates import IMAGE_LIKELY, IMAGE_MOST

SIZES = st.tuples(st.integers(1, 8000), st.integers(1, 8000))


def openai_tiles(width: int, height: int) -> int:
    """High detail: fit into 2048 by 2048, shrink the shorter side to 768; 170 for each 512 by 512, and 85."""
    width, height = shrunk(width, height, 2048 / max(width, height))
    width, height = shrunk(width, height, 768 / min(width, height))
    return 85 + 170 * math.ceil(width / 512) * math.ceil(height / 512)


def openai_patches(width: int, height: int, most: int = 1536) -> int:
    """A token for each 32 by 32; an image that needs more than 1,536, or 2,500, is shrunk until it does not."""
    return min(math.ceil(width / 32) * math.ceil(height / 32), most)


def anthropic_patches(width: int, height: int, longest: int, most: int) -> int:
    """A token for each 28 by 28; an image with a longer side, or of more tokens, is shrunk until it has neither."""
    width, height = shrunk(width, height, longest / max(width, height))
    return min(math.ceil(width / 28) * math.ceil(height / 28), most)


def gemini_tiles(width: int, height: int) -> int:
    """258 for a small image, and for each tile of a larger one; a tile is two thirds of the shorter side, to 768."""
    if max(width, height) <= 384:
        return 258
    side = min(max(min(width, height) * 2 // 3, 256), 768)
    return 258 * math.ceil(width / side) * math.ceil(height / side)


def shrunk(width: int, height: int, scale: float) -> tuple[int, int]:
    """Never enlarged, and never to nothing."""
    scale = min(scale, 1)
    return max(round(width * scale), 1), max(round(height * scale), 1)


@given(SIZES)
def test_an_image_likely_counts_for_no_less_than_most_models_take(size: tuple[int, int]) -> None:
    assert max(openai_tiles(*size), openai_patches(*size), anthropic_patches(*size, 1568, 1568)) <= IMAGE_LIKELY


@given(SIZES)
def test_an_image_counts_at_most_for_what_the_models_take_that_see_most(size: tuple[int, int]) -> None:
    nano, claude = 2.46 * openai_patches(*size), anthropic_patches(*size, 2576, 4784)
    assert max(math.ceil(nano), openai_patches(*size, most=2500), claude) <= IMAGE_MOST


def test_the_published_examples_come_out() -> None:
    assert (openai_tiles(1024, 1024), openai_tiles(2048, 4096), openai_patches(1024, 1024)) == (765, 1105, 1024)
    assert [anthropic_patches(*size, 1568, 1568) for size in ((200, 200), (1000, 1000), (1092, 1092))] == [
        64, 1296, 1521,
    ]  # fmt: skip
    assert (anthropic_patches(1920, 1080, 2576, 4784), anthropic_patches(3840, 2160, 2576, 4784)) == (2691, 4784)
    assert (gemini_tiles(384, 384), gemini_tiles(960, 540)) == (258, 6 * 258)


@pytest.mark.parametrize("size", [(1024, 768), (1080, 1920), (1152, 768), (768, 768), (640, 480), (1200, 630)])
def test_an_image_likely_counts_for_no_less_than_gemini_publishes_for_usual_ones(size: tuple[int, int]) -> None:
    assert gemini_tiles(*size) <= IMAGE_LIKELY


def tool(name: str, description: str, /, **properties: Mapping[str, Any]) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "required": [*properties]}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


WEATHER = tool(
    "get_current_weather",
    "Get the current weather in a given location",
    location={"type": "string", "description": "The city and state, e.g. San Francisco, CA"},
    unit={"type": "string", "description": "The unit of temperature to return", "enum": ["celsius", "fahrenheit"]},
)
TOOLS = {
    "the cookbook's": [WEATHER],
    "none with arguments": [tool("now", "")],
    "terse": [tool("f", "g", x={"type": "string", "description": ""})],
    "wordy": [tool("search", "Searches the archive. " * 40, query={"type": "string", "description": "Words. " * 60})],
    "several": [
        WEATHER,
        tool("search", "Search", query={"type": "string", "description": "Words"}),
        tool("now", "Time"),
    ],
}


@pytest.mark.parametrize("tools", TOOLS)
@pytest.mark.parametrize("encoding", ["o200k_base", "cl100k_base"])
async def test_tools_count_for_no_less_than_openai_publishes(tools: str, encoding: str) -> None:
    counted = await tokenizer.count(json.dumps(TOOLS[tools], separators=(",", ":")), encoding)
    assert counted >= await cookbook(TOOLS[tools], encoding)


async def test_a_tool_of_nothing_but_choices_counts_for_no_less_than_half() -> None:
    """A choice is two tokens of JSON and four of what OpenAI makes of it."""
    tools = [tool("set", "", to={"type": "string", "description": "", "enum": [*map(str, range(400))]})]
    counted = await tokenizer.count(json.dumps(tools, separators=(",", ":")), "o200k_base")
    told = await cookbook(tools, "o200k_base")
    assert told / 2 < counted < told


async def cookbook(tools: list[dict[str, Any]], encoding: str) -> int:
    """OpenAI's cookbook, "How to count tokens with tiktoken", part 7."""
    tokens = 12
    for function in (tool["function"] for tool in tools):
        tokens += 7 if encoding == "o200k_base" else 10
        tokens += await tokenizer.count(f"{function['name']}:{function['description'].rstrip('.')}", encoding)
        properties = function["parameters"]["properties"]
        tokens += 3 if properties else 0
        for name, schema in properties.items():
            choices = schema.get("enum", ())
            tokens += 3 + (-3 if choices else 0) + 3 * len(choices)
            for choice in choices:
                tokens += await tokenizer.count(choice, encoding)
            description = schema["description"].rstrip(".")
            tokens += await tokenizer.count(f"{name}:{schema['type']}:{description}", encoding)
    return tokens
