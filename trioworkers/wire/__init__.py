"""Messages as bytes, and back: a closed table of tags over cattrs.

Nothing is ever imported, looked up or built by a name that comes from the wire: a tag is in the table or the bytes are refused.
Types are strict (a number is no string, a missing field is no ``None``), unknown fields are refused, and what cannot be told apart
on the other side (tuples, sets, dates, keys that are no strings, NaN) is refused at the sender. Round trip is identity.
"""

from __future__ import annotations

from .codec import Codec as Codec
from .serializer import Serializer as Serializer
