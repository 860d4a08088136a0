"""What files hold, and how they are cut."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest
import trained as corpus
from av.stream import Disposition

from extractors.contract import Clip, DecodeError, MissingMediaError
from manifests import Manifest
from pipeline.engine.plan import Takes
from pipeline.predicting.predictor import usual_length
from pipeline.predicting.recordings import Cutting, Look, PredictError, Recording, recording_of


def look(path: Path) -> Recording:
    return recording_of(path, Look().extract(Clip("x", audio=path)))


def test_a_file_has_sound_picture_or_both(tmp_path: Path) -> None:
    label = corpus.CLASSES[0]
    both = look(corpus.film(tmp_path / "both.mkv", label, 0))
    mute = look(corpus.film(tmp_path / "mute.mkv", label, 0, voice=False))
    heard = look(
        corpus.clip_makers.write_clip(tmp_path / "heard.mka", sound=[(0, corpus.sound(label, 2, 0))])
    )
    assert [(r.sound, r.picture) for r in (both, mute, heard)] == [(True, True), (False, True), (True, False)]
    assert both.seconds == pytest.approx(corpus.SECONDS, abs=0.1)
    assert heard.seconds == pytest.approx(2.0, abs=0.1)
    assert both.clip((None, None)).video == both.path and both.clip((None, None)).audio is None
    assert heard.clip((1.0, 2.0)) == Clip("recording", None, heard.path, 1.0, 2.0)


def test_a_header_that_states_no_length_is_measured(tmp_path: Path) -> None:
    """As browsers record: WebM that was written to a stream."""
    path = corpus.clip_makers.write_clip(
        tmp_path / "live.webm",
        10,
        fps=5,
        codec="libvpx",
        container_options={"live": "1"},
    )
    with av.open(str(path)) as container:
        assert container.duration is None
    assert look(path).seconds == pytest.approx(2.0, abs=0.25)


@pytest.mark.parametrize(
    "content",
    [b"", b"not media", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", b"ffconcat version 1.0\nfile x.mp4\n"],
)
def test_what_is_no_media_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    with pytest.raises(DecodeError, match=r"clip\.mp4"):
        look(path)


def test_a_network_address_is_no_file() -> None:
    with pytest.raises(DecodeError, match="no such file"):
        look(Path("http://127.0.0.1/clip.mp4"))


def test_a_file_without_sound_and_picture_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.ts"
    with av.open(str(path), "w", format="mpegts") as container:
        stream = container.add_data_stream("bin_data")
        packet = av.Packet(b"hello" * 40)
        packet.stream, packet.pts, packet.dts, packet.duration = stream, 0, 0, 1000
        packet.time_base = Fraction(1, 1000)
        container.mux(packet)
    with pytest.raises(MissingMediaError, match="neither sound nor picture"):
        look(path)


def test_short_recordings_are_one_window() -> None:
    assert Cutting(3.7).spans(9.9) == [(None, None)]
    assert Cutting(30.0).spans(59.0) == [(None, None)]  # not twice as long as the clips that heads know
    assert Cutting(3.7, window=20.0).spans(15.0) == [(None, None)]


@pytest.mark.parametrize("seconds", [10.5, 12.0, 14.8, 60.0, 61.3])
@pytest.mark.parametrize("hop", [None, 1.0, 4.0])
def test_windows_cover_a_long_recording(seconds: float, hop: float | None) -> None:
    spans = np.array(Cutting(4.0, hop=hop).spans(seconds), dtype=np.float64)
    assert spans[0, 0] == 0
    assert spans[-1, 1] == pytest.approx(seconds, abs=0.2)  # a rest of a twentieth is left
    assert (spans[:, 1] <= seconds + 1e-6).all()
    np.testing.assert_allclose(spans[:, 1] - spans[:, 0], 4.0, atol=2e-3)
    assert (np.diff(spans[:, 0]) > 0).all()
    assert (np.diff(spans[:, 0]) <= (hop or 2.0) + 2e-3).all()


def test_a_window_that_is_asked_for_cuts_short_recordings_too() -> None:
    assert Cutting(4.0, window=1.0, hop=1.0).spans(3.0) == [(0.0, 1.0), (1.0, 2.0), (2.0, 3.0)]
    assert Cutting(1.0, hop=2.0).spans(3.0) == [(0.0, 1.0), (2.0, 3.0)]


def test_a_cover_is_no_picture(tmp_path: Path) -> None:
    heard = corpus.clip_makers.write_clip(
        tmp_path / "heard.wav", sound=[(0, corpus.sound(corpus.CLASSES[0], 2, 0))], sound_codec="pcm_s16le"
    )
    path = tmp_path / "album.m4a"
    with av.open(str(heard)) as source, av.open(str(path), "w", format="mp4") as made:
        sound = made.add_stream("aac", rate=corpus.RATE)
        cover = made.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 32, 32, "yuvj420p"
        cover.disposition = Disposition.attached_pic
        for frame in source.decode(audio=0):
            made.mux(sound.encode(frame))
        made.mux(sound.encode(None))
        picture = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
        made.mux(cover.encode(picture.reformat(format="yuvj420p")))
        made.mux(cover.encode(None))
    found = look(path)
    assert (found.sound, found.picture) == (True, False)


def test_what_lies_between_windows_is_known() -> None:
    def unseen(cutting: Cutting, seconds: float) -> float:
        return cutting.unseen(cutting.spans(seconds), seconds)

    assert unseen(Cutting(4.0), 20.0) == unseen(Cutting(4.0), 3.0) == 0
    assert unseen(Cutting(4.0, window=1.0, hop=5.0), 20.0) == pytest.approx(15 / 20)  # the last at 19 to 20 s
    assert unseen(Cutting(4.0, window=2.0, hop=3.0), 20.0) == pytest.approx(6 / 20)
    assert unseen(Cutting(4.0, window=2.0, hop=10.0), 3.9454) == 0  # the last ends at 3.945 s


def test_clips_that_are_too_short_for_windows_do_not_decide_their_length() -> None:
    def usual(*seconds: float) -> tuple[float, str]:
        ids = [str(i) for i in range(len(seconds))]
        frame = pd.DataFrame({"clip_id": ids, "subject": ids, "duration": seconds})
        return usual_length(Takes(Manifest(frame), Path("/corpus")))

    assert usual(1.0, 2.0, 6.0) == (2.0, "the median length of the corpus' clips")
    assert usual(0.004, 0.02, 0.02) == (0.1, "the shortest there are, though the corpus' clips are shorter")
    assert len(Cutting(usual(0.02)[0]).spans(20.0)) == 200


def test_windows_and_hops_of_no_use_are_refused() -> None:
    with pytest.raises(PredictError, match=r"window of 0\.01 s; expected at least 0\.1 s"):
        Cutting(4.0, window=0.01)
    with pytest.raises(PredictError, match="hop of nan s"):
        Cutting(4.0, hop=float("nan"))
    with pytest.raises(
        PredictError, match="19999 windows; at most 10000 are looked at: choose a larger --hop"
    ):
        Cutting(4.0, window=1.0).spans(10_000.0)
