"""Opening files that strangers made: what is no media is refused by name, and opens nothing else."""

import os
import random
import socket
import sys
from itertools import islice
from pathlib import Path

import av
import pytest
from clip_makers import cut, listening, openings, tone, write_clip

from extractors.audio import read_waveform, read_waveforms
from extractors.contract import ClipError, DecodeError
from extractors.media import duration, open_media, origin, refuse_cut_stream
from extractors.tape import Tape
from extractors.video import Resize, sample_frames

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63f8cfc0"
    "000003010100c9fe92ef0000000049454e44ae426082"
)
READERS = {
    "frames": lambda path: list(sample_frames(path, 0.04)),
    "sound": lambda path: read_waveform(path, 16000),
    "duration": duration,
}


@pytest.fixture(params=READERS)
def read(request: pytest.FixtureRequest) -> object:
    return READERS[request.param]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(b"", "empty", id="empty"),
        pytest.param(b"These are my notes.\n" * 40, "not media", id="text"),
        pytest.param(PNG, "a picture, a playlist or text", id="picture"),
        pytest.param(random.Random(0).randbytes(5000), "not media", id="random"),
        pytest.param(
            b"\x00\x00\x00\x20ftypisom\x00\x00\x02\x00isomiso2avc1mp41", "not media", id="head only"
        ),
    ],
)
def test_what_is_no_media_is_refused_by_name_and_reason(
    tmp_path: Path, read: object, content: bytes, reason: str
) -> None:
    path = tmp_path / "holiday.mp4"
    path.write_bytes(content)
    with pytest.raises(DecodeError, match=rf"^holiday\.mp4: .*{reason}"):
        read(path)  # type: ignore[operator]


def test_an_absent_file_is_named(tmp_path: Path, read: object) -> None:
    with pytest.raises(DecodeError, match=r"^gone\.mp4: no such file$"):
        read(tmp_path / "gone.mp4")  # type: ignore[operator]


def test_a_folder_is_no_file(tmp_path: Path, read: object) -> None:
    (tmp_path / "a.wav").mkdir()
    with pytest.raises(DecodeError, match=r"^a\.wav: is a folder$"):
        read(tmp_path / "a.wav")  # type: ignore[operator]


def test_a_name_that_is_too_long_for_the_system_is_refused(tmp_path: Path, read: object) -> None:
    with pytest.raises(DecodeError, match=r"^a{80}…: cannot be read \(File name too long\)$"):
        read(tmp_path / ("a" * 300 + ".wav"))  # type: ignore[operator]


def test_sound_that_goes_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"RIFF")
    monkeypatch.setattr("extractors.audio.refuse_no_file", Path.unlink)
    with pytest.raises(DecodeError, match=r"^a\.wav: cannot be read \(No such file or directory\)$"):
        read_waveforms(path, [16000], tape=Tape())


@pytest.mark.parametrize("share", [0.02, 0.5, 0.95])
def test_an_mp4_without_its_index_is_refused(tmp_path: Path, read: object, share: float) -> None:
    path = cut(write_clip(tmp_path / "clip.mp4", 25, sound=[(0, tone(1, 16000))]), share)
    with pytest.raises(DecodeError, match=r"^clip\.mp4: not media"):
        read(path)  # type: ignore[operator]


@pytest.mark.parametrize(
    "name", ["-i clip.mp4", "%d clip.mp4", "http:clip.mp4", "concat:a|b.mp4", "ü 🎬.mp4"]
)
def test_odd_file_names_are_only_names(tmp_path: Path, name: str) -> None:
    path = write_clip(tmp_path / "clip.mp4", 5).rename(tmp_path / name)
    assert len(list(sample_frames(path, 0.04))) == 5


PLAYLISTS = {
    "ffconcat": "ffconcat version 1.0\nfile {}\n",
    "m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{}\n#EXT-X-ENDLIST\n",
    "mpd": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period>'
    '<AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1"><BaseURL>{}</BaseURL>'
    "</Representation></AdaptationSet></Period></MPD>",
    "xspf": '<?xml version="1.0"?><playlist xmlns="http://xspf.org/ns/0/"><trackList><track><location>{}'
    "</location></track></trackList></playlist>",
    "url": "{}\n",
}


def no_socket(*args: object, **options: object) -> None:
    """Stand in for `socket.socket`; what FFmpeg opens itself, only a listener sees."""
    raise AssertionError("a socket was opened")


@pytest.mark.skipif(sys.platform != "linux", reason="watches files with inotify")
@pytest.mark.parametrize("kind", PLAYLISTS)
@pytest.mark.parametrize("named", ["clip.mp4", "clip.mkv", "clip.mp3", "clip.wav"])
def test_a_playlist_named_as_a_clip_never_opens_the_file_beside_it(
    tmp_path: Path, read: object, kind: str, named: str
) -> None:
    secret = write_clip(tmp_path / "secret.ts", 25, sound=[(0, tone(1, 16000))])
    path = tmp_path / named
    path.write_text(PLAYLISTS[kind].format("secret.ts"))
    with openings(secret) as seen, pytest.raises(DecodeError, match=rf"^{named}: "):
        read(path)  # type: ignore[operator]
    assert seen == [0]


@pytest.mark.skipif(sys.platform != "linux", reason="watches files with inotify")
def test_the_watch_for_openings_sees_what_ffmpeg_does_by_default(tmp_path: Path) -> None:
    secret = write_clip(tmp_path / "secret.ts", 25)
    path = tmp_path / "clip.mp4"
    path.write_text(PLAYLISTS["ffconcat"].format("secret.ts"))
    with openings(secret) as seen, av.open(str(path)) as container:
        assert next(container.decode(video=0)) is not None
    assert seen[0] > 0


@pytest.mark.parametrize("kind", PLAYLISTS)
@pytest.mark.parametrize("named", ["clip.mp4", "clip.m4a"])
def test_a_playlist_named_as_a_clip_opens_no_socket(
    tmp_path: Path, read: object, kind: str, named: str
) -> None:
    path = tmp_path / named
    with listening() as (port, callers), pytest.MonkeyPatch.context() as patch:
        path.write_text(PLAYLISTS[kind].format(f"http://127.0.0.1:{port}/secret.ts"))
        patch.setattr(socket, "socket", no_socket)
        with pytest.raises(DecodeError):
            read(path)  # type: ignore[operator]
    assert callers == []


def test_the_listener_sees_what_ffmpeg_calls_when_it_may(tmp_path: Path) -> None:
    path = tmp_path / "clip.m3u8"
    with listening() as (port, callers):
        path.write_text(PLAYLISTS["m3u8"].format(f"http://127.0.0.1:{port}/secret.ts"))
        with pytest.raises(av.error.FFmpegError):
            av.open(str(path), options={"protocol_whitelist": "file,http,tcp"}, timeout=2)
    assert callers


def test_duration_is_what_the_header_states(tmp_path: Path) -> None:
    assert duration(write_clip(tmp_path / "clip.mp4", 50)) == pytest.approx(2.0, abs=0.01)


def test_the_origin_is_where_the_first_stream_begins(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mkv", 10, shift=0.8)
    with open_media(path) as container:
        assert origin(container) == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("decoded", "stated", "refused"),
    [
        (9.9, 10.0, False),
        (9.4, 10.0, False),
        (8.9, 10.0, True),
        (0.2, 0.6, False),
        (0.0, 0.6, True),
        (1.0, None, False),
    ],
)
def test_a_stream_is_cut_if_half_a_second_and_a_tenth_are_missing(
    decoded: float, stated: float | None, refused: bool
) -> None:
    if not refused:
        refuse_cut_stream(Path("clip.mp4"), "video", decoded, stated)
        return
    with pytest.raises(
        DecodeError, match=rf"^clip\.mp4: video stops after {decoded:.2f} s of {stated:.2f} s$"
    ):
        refuse_cut_stream(Path("clip.mp4"), "video", decoded, stated)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi"])
def test_a_title_that_is_not_utf8_does_no_harm(tmp_path: Path, read: object, suffix: str) -> None:
    path = write_clip(
        tmp_path / f"clip.{suffix}", 10, codec="mpeg4", title="QQQQQQ", sound=[(0, tone(0.4, 16000))]
    )
    path.write_bytes(path.read_bytes().replace(b"QQQQQQ", "Müller".encode("latin-1")))
    assert read(path)  # type: ignore[operator]


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_damaged_bytes_give_frames_or_a_clip_error(tmp_path: Path, suffix: str) -> None:
    assert _failures_of_damage(tmp_path, suffix) == []


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["avi", "ts"])
def test_damaged_bytes_of_old_containers_give_frames_or_a_clip_error(tmp_path: Path, suffix: str) -> None:
    assert _failures_of_damage(tmp_path, suffix) == []


def _failures_of_damage(folder: Path, suffix: str) -> list[str]:
    codec = "mpeg4" if suffix == "avi" else "libx264"
    path = write_clip(folder / f"clip.{suffix}", 25, codec=codec, sound=[(0, tone(1, 16000))])
    whole, dice = path.read_bytes(), random.Random(0)
    found = []
    for _ in range(60):
        damaged = bytearray(whole)
        for _ in range(dice.choice([1, 3, 20, 200])):
            damaged[dice.randrange(len(damaged))] = dice.randrange(256)
        path.write_bytes(damaged)
        for name, read in (("frames", _some_frames), ("sound", READERS["sound"])):
            try:
                read(path)
            except ClipError:
                pass
            except Exception as error:
                found.append(f"{name}: {type(error).__name__}")
    return found


def _some_frames(path: Path) -> None:
    for _ in islice(sample_frames(path, 0.04, resize=Resize(32)), 200):
        pass


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_no_file_and_does_not_hang(tmp_path: Path, read: object) -> None:
    os.mkfifo(tmp_path / "clip.mp4")
    with pytest.raises(DecodeError, match="no such file"):
        read(tmp_path / "clip.mp4")  # type: ignore[operator]
