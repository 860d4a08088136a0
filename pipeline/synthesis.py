"""A small audio-visual corpus that a program makes: drawn faces that talk with synthesised voices.

It has the layout and the names of RAVDESS, real mp4 files (h264 and AAC), and the parameters of every face
as OpenFace-format CSV. Face and voice both carry the class, each imperfectly: some classes share a face,
others share a voice, and takes differ.
"""

import csv
import io
from concurrent.futures import as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.signal import lfilter

from extractors.openface import AU_COLUMNS
from manifests.ravdess import EMOTIONS
from pipeline.files import publish
from pipeline.processes import worker_pool
from pipeline.progress import Meter

FPS, SECONDS, SIZE, RATE = 25, 2.2, 160, 16000

# What a class does to the face, as action units in 0..5. Neutral and calm, fearful and surprised, angry and
# disgust lie close together: the voice must tell them apart.
_FACES: dict[str, dict[str, float]] = {
    "neutral": {},
    "calm": {"AU12": 0.5, "AU45": 0.3},
    "happy": {"AU06": 2.6, "AU12": 3.4, "AU25": 2.0},
    "sad": {"AU01": 2.4, "AU04": 1.6, "AU15": 2.8, "AU17": 1.4},
    "angry": {"AU04": 3.2, "AU07": 2.4, "AU23": 2.2, "AU25": 0.6},
    "fearful": {"AU01": 2.8, "AU02": 2.0, "AU05": 2.8, "AU20": 1.6, "AU25": 2.2},
    "disgust": {"AU04": 2.4, "AU07": 2.0, "AU09": 1.6, "AU10": 1.4, "AU25": 0.8},
    "surprised": {"AU01": 2.6, "AU02": 2.8, "AU05": 2.6, "AU25": 2.8, "AU26": 2.6},
}

# What a class does to the voice: semitones above the speaker's pitch, semitones of range, syllables per
# second, level in dB, and darkness (share of each harmonic lost per octave). Happy and surprised, sad and
# disgust, neutral and disgust lie close together: the face must tell them apart.
_VOICES: dict[str, tuple[float, float, float, float, float]] = {
    "neutral": (0.0, 1.5, 4.0, -20.0, 0.55),
    "calm": (-2.5, 1.0, 2.8, -26.0, 0.70),
    "happy": (5.0, 5.0, 5.2, -15.0, 0.40),
    "sad": (-1.5, 1.2, 3.0, -24.0, 0.65),
    "angry": (3.5, 3.0, 5.0, -9.0, 0.25),
    "fearful": (7.5, 2.0, 6.2, -17.0, 0.45),
    "disgust": (-1.0, 2.0, 3.4, -20.0, 0.55),
    "surprised": (6.0, 5.5, 4.8, -14.0, 0.40),
}
_FACE_NOISE, _VOICE_NOISE = 1.0, 1.0


@dataclass(frozen=True)
class Take:
    """One clip to be made."""

    emotion: int
    statement: int
    actor: int
    seed: int

    @property
    def stem(self) -> str:
        """Its RAVDESS name."""
        return f"01-01-{self.emotion + 1:02d}-01-{self.statement:02d}-01-{self.actor:02d}"


def write_corpus(folder: Path, *, actors: int = 8, seed: int = 0, workers: int = 2) -> int:
    """Write the corpus; clips that are there already stay.

    Args:
        folder: The corpus root.
        actors: How many speakers, with two takes of each class.
        seed: Of everything that is drawn.
        workers: Processes.

    Returns:
        How many clips the corpus has.
    """
    takes = [
        Take(emotion, statement, actor, seed)
        for actor in range(1, actors + 1)
        for emotion in range(len(EMOTIONS))
        for statement in (1, 2)
    ]
    publish(
        folder / "SYNTHETIC.md",
        b"These clips are synthetic: drawn faces and synthesised voices, made by affectstack's demo.\n",
    )
    todo = [t for t in takes if not video_path(folder, t).is_file()]
    with Meter("  clips", len(todo), "clips") as meter, worker_pool(workers) as pool:
        for future in as_completed([pool.submit(write_take, folder, t) for t in todo]):
            future.result()
            meter.add(1)
    return len(takes)


def video_path(folder: Path, take: Take) -> Path:
    """Return where a clip lies."""
    return folder / f"Actor_{take.actor:02d}" / f"{take.stem}.mp4"


def write_take(folder: Path, take: Take) -> None:
    """Write one clip: the OpenFace table first, the video last."""
    rng = np.random.default_rng([take.seed, take.actor, take.emotion, take.statement])
    speaker = np.random.default_rng([take.seed, take.actor])
    units = action_units(EMOTIONS[take.emotion], rng)
    sound = voice(EMOTIONS[take.emotion], speaker.uniform(100, 220), rng)
    frames = draw(units, skin=speaker.uniform(0.55, 0.95), width=speaker.uniform(0.85, 1.1), sound=sound)
    publish(folder / "openface" / f"{take.stem}.csv", openface_csv(units, rng))
    _write_video(video_path(folder, take), frames, sound)


def action_units(emotion: str, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return `[T, 35]` action units in OpenFace's order: a rise to an apex, with noise of the take."""
    frames = round(FPS * SECONDS)
    target = np.array([_FACES[emotion].get(name[:4], 0.0) for name in AU_COLUMNS[:17]])
    strength = rng.uniform(0.55, 1.1)
    apex = np.clip(strength * target + rng.normal(0, _FACE_NOISE, len(target)), 0, 5)
    rise = 1 / (1 + np.exp(-(np.arange(frames) - rng.uniform(5, 14)) / 3))
    intensities = np.clip(rise[:, None] * apex + rng.normal(0, 0.15, (frames, 17)), 0, 5)
    presences = np.zeros((frames, 18))
    for column, name in enumerate(AU_COLUMNS[17:]):
        if f"{name[:4]}_r" in AU_COLUMNS:
            presences[:, column] = intensities[:, AU_COLUMNS.index(f"{name[:4]}_r")] > 1.0
    return np.hstack([intensities, presences])


def openface_csv(units: NDArray[np.float64], rng: np.random.Generator) -> bytes:
    """Return action units as OpenFace writes them: blanks after the commas, one row per frame."""
    text = io.StringIO()
    header = ["frame", "timestamp", "confidence", "success", *AU_COLUMNS]
    text.write(", ".join(header) + "\n")
    writer = csv.writer(text, lineterminator="\n")
    for i, row in enumerate(units):
        confidence = round(float(np.clip(rng.normal(0.96, 0.02), 0, 1)), 3)
        writer.writerow([i + 1, round(i / FPS, 3), confidence, 1, *np.round(row, 2)])
    return text.getvalue().encode()


def voice(emotion: str, pitch: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return `[N]` samples of syllables: harmonics under an envelope, through the formants of vowels.

    Args:
        emotion: The class.
        pitch: The speaker's own, in Hz.
        rng: Of the take.
    """
    shift, spread, tempo, level, dark = _VOICES[emotion]
    shift += rng.normal(0, 1.6 * _VOICE_NOISE)
    spread *= np.exp(rng.normal(0, 0.25 * _VOICE_NOISE))
    tempo *= np.exp(rng.normal(0, 0.14 * _VOICE_NOISE))
    level += rng.normal(0, 2.5 * _VOICE_NOISE)
    dark = float(np.clip(dark + rng.normal(0, 0.08 * _VOICE_NOISE), 0.1, 0.9))
    time = np.arange(round(RATE * SECONDS)) / RATE
    melody = np.sin(2 * np.pi * rng.uniform(0.4, 0.9) * time + rng.uniform(0, 6))
    frequency = pitch * 2 ** ((shift + spread * melody) / 12)
    phase = 2 * np.pi * np.cumsum(frequency) / RATE
    source = np.zeros_like(time)
    for harmonic in range(1, 24):
        audible = harmonic * frequency < 0.45 * RATE
        source += audible * (1 - dark) ** np.log2(harmonic) * np.sin(harmonic * phase) / harmonic
    source += rng.normal(0, 0.02, len(time))
    envelope = np.clip(np.sin(np.pi * tempo * time) ** 2 - 0.08, 0, None)
    envelope *= np.minimum(1, np.minimum(time, SECONDS - time) / 0.12)
    out = _through_vowels(source, rng) * envelope
    out *= 10 ** (level / 20) / max(np.sqrt(np.mean(out**2)), 1e-9)
    return np.clip(out, -0.99, 0.99).astype(np.float32)


def draw(
    units: NDArray[np.float64], *, skin: float, width: float, sound: NDArray[np.float32]
) -> list[NDArray[np.uint8]]:
    """Return `[SIZE, SIZE, 3]` frames of a cartoon face that moves its action units and talks."""
    frames = []
    per_frame = RATE // FPS
    for i, row in enumerate(units):
        heard = sound[i * per_frame : (i + 1) * per_frame]
        talking = min(1.0, 6 * float(np.sqrt(np.mean(heard**2)))) if len(heard) else 0.0
        frames.append(_face(dict(zip(AU_COLUMNS[:17], row, strict=False)), skin, width, talking))
    return frames


def _face(au: dict[str, float], skin: float, width: float, talking: float) -> NDArray[np.uint8]:
    image = Image.new("RGB", (SIZE, SIZE), (38, 52, 66))
    pen = ImageDraw.Draw(image)
    tone = (round(255 * skin), round(215 * skin), round(185 * skin))
    half = 52 * width
    pen.ellipse((80 - half, 14, 80 + half, 150), fill=tone)
    dark = (40, 28, 24)
    for side in (-1, 1):
        x = 80 + side * 22
        opening = np.clip(
            7 + 1.6 * au["AU05_r"] - 1.3 * au["AU07_r"] - 1.2 * au["AU06_r"] - au["AU45_r"], 1, 14
        )
        pen.ellipse((x - 11, 66 - opening, x + 11, 66 + opening), fill="white")
        pen.ellipse((x - 4, 66 - min(opening, 4), x + 4, 66 + min(opening, 4)), fill=dark)
        inner = 48 - 2.6 * au["AU01_r"] + 2.6 * au["AU04_r"]
        outer = 48 - 2.6 * au["AU02_r"] + 0.8 * au["AU04_r"]
        pen.line((x - side * 13, inner, x + side * 13, outer), fill=dark, width=4)
    wrinkle = au["AU09_r"] + au["AU10_r"]
    pen.line((80, 72, 80, 94 - 1.5 * wrinkle), fill=(120, 80, 70), width=2 + round(wrinkle / 2))
    reach = 20 + 1.6 * au["AU20_r"] + 1.2 * au["AU12_r"] - 1.6 * au["AU23_r"]
    corner = 118 - 3.2 * au["AU12_r"] + 3.2 * au["AU15_r"]
    gap = 2 + 2.0 * au["AU25_r"] + 3.0 * au["AU26_r"] + 6 * talking
    middle = 118 - 0.8 * au["AU17_r"]
    mouth = [(80 - reach, corner), (80, middle - gap / 2), (80 + reach, corner), (80, middle + gap)]
    pen.polygon(mouth, fill=(120, 30, 40), outline=dark)
    return np.asarray(image)


def _through_vowels(source: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Filter stretches of a source through the first two formants of random vowels."""
    vowels = [(730, 1090), (270, 2290), (300, 870), (530, 1840), (570, 840)]
    pieces = np.array_split(source, 6)
    out = []
    for piece in pieces:
        for formant in vowels[rng.integers(len(vowels))]:
            radius = np.exp(-np.pi * 90 / RATE)
            angle = 2 * np.pi * formant / RATE
            piece = lfilter([1 - radius], [1, -2 * radius * np.cos(angle), radius**2], piece)
        out.append(piece)
    return np.concatenate(out)


def _write_video(path: Path, frames: list[NDArray[np.uint8]], sound: NDArray[np.float32]) -> None:
    from moviepy import ImageSequenceClip
    from moviepy.audio.AudioClip import AudioArrayClip

    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.partial.mp4")
    stereo = np.repeat(sound[:, None], 2, axis=1)
    clip = ImageSequenceClip(frames, fps=FPS).with_audio(AudioArrayClip(stereo, fps=RATE))
    clip.write_videofile(
        str(partial),
        codec="libx264",
        audio_codec="aac",
        audio_fps=RATE,
        preset="veryfast",
        temp_audiofile=str(path.with_name(f".{path.stem}.partial.m4a")),
        remove_temp=True,
        logger=None,
    )
    clip.close()
    partial.replace(path)
