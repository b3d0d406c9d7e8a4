import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsinit.control import wire


@given(st.lists(st.binary(max_size=50).filter(lambda part: b"\0" not in part), max_size=8), st.data())
def test_messages_come_out_whole_however_the_stream_is_cut(messages: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(message + b"\0" for message in messages)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    frames = wire.Frames(100)
    received = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        received += frames.feed(stream[start:end])
    assert received == messages


def test_a_message_of_exactly_the_limit_passes_and_one_byte_more_does_not() -> None:
    assert wire.Frames(10).feed(b"x" * 10 + b"\0") == [b"x" * 10]
    with pytest.raises(wire.WireError, match="more than 10 bytes"):
        wire.Frames(10).feed(b"x" * 11 + b"\0")


def test_an_endless_message_is_refused_before_it_ends() -> None:
    frames = wire.Frames(10)
    frames.feed(b"x" * 10)
    with pytest.raises(wire.WireError):
        frames.feed(b"x")


@pytest.mark.parametrize("message", [b"", b"{", b"[]", b"{}", b'{"method": 1}', b'{"method": "\xff"}', b"\xff"])
def test_what_is_no_call_does_not_decode(message: bytes) -> None:
    with pytest.raises(wire.WireError):
        wire.decode_call(message)


def test_a_call_decodes_with_its_flags_and_undecoded_parameters() -> None:
    call = wire.decode_call(b'{"method": "a.B", "parameters": {"x": [1]}, "more": true, "unknown": 1}')
    assert (call.method, call.more, call.oneway) == ("a.B", True, False)
    assert msgspec.json.decode(call.parameters) == {"x": [1]}


def test_encoding_and_decoding_are_inverse() -> None:
    reply = wire.Reply(parameters=wire.raw({"a": "\0"}), continues=True)
    encoded = wire.encode(reply)
    assert encoded.endswith(b"\0")
    assert encoded.count(b"\0") == 1
    assert wire.decode_reply(encoded[:-1]) == reply
