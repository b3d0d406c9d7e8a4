"""Varlink's wire format: JSON objects, each ended by a NUL, as both ends of the control socket see them.

No I/O. Nothing here trusts its input: a message has a size limit, and what doesn't decode raises.
"""

import msgspec

from nsinit.errors import NsinitError

# A call never needs more; a peer that sends more is broken or hostile.
CALL_LIMIT = 1 << 20
# Replies carry what the supervisor chose to say; the limit only keeps a confused client from filling its memory.
REPLY_LIMIT = 16 << 20

_NO_PARAMETERS = msgspec.Raw(b"{}")


class WireError(NsinitError):
    """The peer does not speak varlink, or not within its limits."""

    exit_code = 1


class Call(msgspec.Struct, frozen=True, omit_defaults=True):
    """A method call; `parameters` is decoded once the method is known."""

    method: str
    parameters: msgspec.Raw = _NO_PARAMETERS
    more: bool = False
    oneway: bool = False


class Reply(msgspec.Struct, frozen=True, omit_defaults=True):
    """A reply, or an error when `error` is its qualified name; `continues` announces another one."""

    parameters: msgspec.Raw = _NO_PARAMETERS
    continues: bool = False
    error: str | None = None


class Frames:
    """Cuts a byte stream into messages."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Add bytes; return the messages that are complete now, without their NUL.

        Raises:
            WireError: a message exceeds the limit.
        """
        *complete, rest = data.split(b"\0")
        messages = []
        for part in complete:
            self._append(part)
            messages.append(bytes(self._buffer))
            self._buffer.clear()
        self._append(rest)
        return messages

    def _append(self, part: bytes) -> None:
        self._buffer += part
        if len(self._buffer) > self._limit:
            raise WireError(f"a message on the control socket has more than {self._limit} bytes")


_call_decoder = msgspec.json.Decoder(Call)
_reply_decoder = msgspec.json.Decoder(Reply)
_encoder = msgspec.json.Encoder()


def decode_call(message: bytes) -> Call:
    """Raises WireError for anything that is no varlink call."""
    try:
        return _call_decoder.decode(message)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise WireError(f"a message on the control socket is no varlink call: {error}") from error


def decode_reply(message: bytes) -> Reply:
    """Raises WireError for anything that is no varlink reply."""
    try:
        return _reply_decoder.decode(message)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise WireError(f"the answer on the control socket is no varlink reply: {error}") from error


def encode(message: Call | Reply) -> bytes:
    """The message as it goes over the wire, with its NUL."""
    return _encoder.encode(message) + b"\0"


def raw(parameters: object) -> msgspec.Raw:
    """Parameters (a struct or a dict) as the JSON object that `Call` and `Reply` carry."""
    return msgspec.Raw(_encoder.encode(parameters))
