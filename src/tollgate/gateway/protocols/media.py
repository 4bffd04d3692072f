"""Pictures, sound and files that come inside a request in one of OpenAI's formats: data URLs, and names of kinds."""

import re

from tollgate.gateway.neutral import Audio, Inline

FILE_TYPE = "application/pdf"
"""What a file is that comes without a media type: OpenAI reads no other kind."""
_AUDIO_TYPES = {"mp3": "audio/mpeg"}
_DATA_URL = re.compile(r"data:(?P<type>[^;,]+)(?:;[^,]*)?;\s*base64\s*,(?P<data>.*)", re.DOTALL | re.IGNORECASE)


def is_data_url(url: str) -> bool:
    """Whether the data is in the URL itself."""
    return url[:5].lower() == "data:"


def inline(url: str) -> Inline | None:
    """The data that a data URL holds; `None` if it is none, names no type, or holds it in another form than base64."""
    found = _DATA_URL.fullmatch(url)
    return None if found is None else Inline(found["type"], found["data"])


def sound(data: str, form: str) -> Audio:
    """Sound in one of the forms that OpenAI names: `mp3`, `wav`."""
    return Audio(Inline(_AUDIO_TYPES.get(form, f"audio/{form}"), data))
